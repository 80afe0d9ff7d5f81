"""COMET by its command: a stub, and, if installed, the real one with a tiny checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring import bleu
from ml2021.scoring.comet import COMMAND_VARIABLE, comet_score

SOURCES = ["我 們 訓 練 bert 模 型", "這 是 什 麼", "好"]
HYPOTHESES = ["We train a BERT model", "What is this?", ""]
REFERENCES = ["We train the BERT model.", "What's this", "Good"]
COMMAND = shutil.which(os.environ.get(COMMAND_VARIABLE, "comet-score"))

# Run by the interpreter next to comet-score: writes a COMET checkpoint with a tiny XLM-R and prints its score.
MAKE_CHECKPOINT = """
import sys, torch, yaml
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast
from comet import load_from_checkpoint
from comet.models import RegressionMetric

folder, texts = Path(sys.argv[1]), sys.argv[2:]
encoder = folder / "encoder"
names = ["<s>", "<pad>", "</s>", "<unk>", "\\u2581", *sorted({c for t in texts for c in t}), "<mask>"]
tokenizer = Tokenizer(models.Unigram([(n, -1.0) for n in names], unk_id=3))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
XLMRobertaTokenizerFast(tokenizer_object=tokenizer).save_pretrained(encoder)
XLMRobertaConfig(vocab_size=len(names), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                 intermediate_size=32, max_position_embeddings=130, type_vocab_size=1).save_pretrained(encoder)
torch.manual_seed(0)
options = dict(pretrained_model=str(encoder), hidden_sizes=[16], load_pretrained_weights=False, layer_norm=False)
model = RegressionMetric(**options)
for name, p in model.named_parameters():
    if p.dim() > 1:
        torch.nn.init.normal_(p, std=0.3)
(folder / "checkpoints").mkdir()
torch.save({"state_dict": model.state_dict(), "hyper_parameters": options, "pytorch-lightning_version": "2.0.0"},
           folder / "checkpoints" / "model.ckpt")
(folder / "hparams.yaml").write_text(yaml.safe_dump({"class_identifier": "regression_metric", **options}))
n = len(texts) // 3
rows = [{"src": texts[i], "mt": texts[n + i], "ref": texts[2 * n + i]} for i in range(n)]
loaded = load_from_checkpoint(str(folder / "checkpoints" / "model.ckpt")).eval()
print("EXPECTED", loaded.predict(rows, gpus=0, progress_bar=False).system_score)
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub of comet-score that records its input and prints -0.5; returns the checkpoint."""
    command = tmp_path / "comet-score"
    command.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
        f"while [ $# -gt 0 ]; do case $1 in -[str]) cp $2 {tmp_path}/input$1;; esac; shift; done\n"
        "echo Warning: 0.25\nprintf 'a file\\tscore: -0.5000\\n'\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv(COMMAND_VARIABLE, str(command))
    (tmp_path / "model.ckpt").touch()
    return tmp_path / "model.ckpt"


def test_command_gets_one_line_per_sentence(stub):
    assert comet_score([*SOURCES, "a"], [*HYPOTHESES, "two\nlines"], [*REFERENCES, "b"], stub) == -0.5
    assert f"--model {stub}" in stub.with_name("arguments").read_text()
    lines = {
        option: stub.with_name(f"input{option}").read_text(encoding="utf-8").split("\n")
        for option in ("-s", "-t", "-r")
    }
    assert lines["-s"] == ["我們訓練 bert 模型", "這是什麼", "好", "a", ""]
    assert lines["-t"] == [*HYPOTHESES, "two lines", ""] and lines["-r"] == [*REFERENCES, "b", ""]


def test_missing_command_or_checkpoint_is_logged(stub, monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO")
    assert comet_score(["a"], ["a"], ["a"], tmp_path / "none.ckpt") is None
    assert "no COMET: no checkpoint" in caplog.text
    monkeypatch.setenv(COMMAND_VARIABLE, str(tmp_path / "nowhere"))
    assert comet_score(["a"], ["a"], ["a"], stub) is None
    assert "no COMET: no command comet-score" in caplog.text
    with pytest.raises(DataError, match="1 sources, 2 hypotheses, 1 references"):
        comet_score(["a"], ["a", "b"], ["a"], stub)


def test_failure_is_reported_with_its_reason(stub):
    command = stub.with_name("comet-score")
    command.write_text("#!/bin/sh\necho much >&2\necho 'Exception: hparams.yaml is missing' >&2\nexit 1\n")
    with pytest.raises(DataError, match=r"exit code 1\): Exception: hparams.yaml is missing"):
        comet_score(["a"], ["a"], ["a"], stub)


def test_scorer_prints_comet(stub, tmp_path, capsys):
    for name, texts in (("ref", REFERENCES), ("hyp", HYPOTHESES), ("src", SOURCES)):
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    paths = [str(tmp_path / name) for name in ("ref", "hyp")]
    bleu.main([*paths, "--source", str(tmp_path / "src"), "--comet", str(stub)])
    assert "COMET -0.5000" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bleu.main([*paths, "--comet", str(stub)])


@pytest.mark.slow
@pytest.mark.skipif(COMMAND is None, reason=f"no comet-score on the PATH, and none that {COMMAND_VARIABLE} names")
def test_real_command_gives_the_score_of_its_package(tmp_path):
    assert COMMAND is not None
    python = Path(COMMAND).parent / "python"
    texts = [*("".join(s.split()) for s in SOURCES), *HYPOTHESES, *REFERENCES]
    texts[0] = "我們訓練 bert 模型"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        [str(python), "-c", MAKE_CHECKPOINT, str(tmp_path), *texts], capture_output=True, text=True, env=environment
    )
    assert process.returncode == 0, process.stderr[-2000:]
    expected = float(process.stdout.split("EXPECTED")[1])
    checkpoint = tmp_path / "checkpoints" / "model.ckpt"
    score = comet_score(SOURCES, HYPOTHESES, REFERENCES, checkpoint)
    assert score == pytest.approx(expected, abs=0.01)  # the command computes in half precision
    assert comet_score(SOURCES, REFERENCES[::-1], REFERENCES, checkpoint) != score
    (tmp_path / "hparams.yaml").unlink()
    with pytest.raises(DataError, match="hparams.yaml"):
        comet_score(SOURCES, HYPOTHESES, REFERENCES, checkpoint)
