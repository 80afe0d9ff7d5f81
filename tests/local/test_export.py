"""Stage 11 as run.sh runs it: both exports, their scores, and its error when an earlier stage is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lhotse
import numpy as np
import pytest
import soundfile
import torch

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.workflow.files import write_json, write_jsonl
from lhotse_prep.workflow.stage import Stage
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.mt.config import MtModelConfig
from ml2021.mt.model import build_model
from ml2021.mt.train import save_marian
from ml2021.mt.vocabulary import train_vocabulary
from ml2021.scoring.icefall_files import write_icefall_files
from ml2021.training.checkpoint import save_checkpoint
from tests.ml2021.asr.zipformers import TWO_STACKS

TEXT = "我 們 用 attention 來 做 機 器 學 習"


def make_folder(name: str, folder: Path, write: Callable[[Path], object]) -> None:
    """Make the folder of a finished stage."""
    with Stage(name, folder, [], {}).work() as out:
        write(out)


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The folders conf, data and exp with the files of stages 4 to 8, from untrained models."""
    root = tmp_path_factory.mktemp("run")
    data, exp = root / "data", root / "exp"
    (root / "conf").mkdir()
    for name in ("decode", "mt"):
        (root / "conf" / f"{name}.yaml").write_text("")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    cuts = []
    for i in range(4):
        soundfile.write(root / f"lecture-{i:04d}.wav", rng.normal(0, 0.1, 16_000), 16_000, subtype="FLOAT")
        cuts.append(lhotse.Recording.from_file(root / f"lecture-{i:04d}.wav").to_cut())
    make_folder(
        "windows", data / "cuts", lambda out: lhotse.CutSet.from_cuts(cuts).to_file(out / "ml2021_cuts_test.jsonl.gz")
    )

    def write_asr(out: Path) -> None:
        config = AsrConfig(model=TransducerConfig(encoder=TWO_STACKS, decoder_dim=32, joiner_dim=32))
        tokens = make_lang([TEXT], [], out / "lang", LangConfig(num_english_pieces=20))
        model = AsrModel(config.model, len(tokens))
        model.joiner.output_linear.bias.data[0] = 100.0  # nothing but blank
        save_checkpoint(out / "pretrained.pt", {"model": model.state_dict()})
        write_json(out / "config.json", to_mapping(config))

    make_folder("asr-train", exp / "asr", write_asr)
    pairs = [(cut.id, TEXT, "") for cut in cuts]
    make_folder(
        "asr-decode",
        exp / "asr" / "greedy_search",
        lambda out: write_icefall_files(out, "test", "epoch-1-avg-1", "greedy_search", pairs),
    )
    row = {"id": "lecture-0", "lecture": "lecture", "source": TEXT, "target": "We do ML.", "score": 1, "first_token": 0}
    make_folder("bitext", data / "bitext", lambda out: write_jsonl(out / "test.jsonl", [row]))

    def write_mt(out: Path) -> None:
        vocabulary = train_vocabulary(["我們用attention來做機器學習"] * 9, ["We do ML."] * 9, 50, out / "vocabulary")
        config = MtModelConfig(
            d_model=16, num_heads=2, feedforward_dim=32, num_encoder_layers=1, num_decoder_layers=1, max_positions=512
        )
        save_marian(build_model(config, len(vocabulary)).eval(), vocabulary, out / "marian")

    make_folder("mt-train", exp / "mt", write_mt)
    return root / "conf", data, exp


def run_stage(project: Path, conf: Path, data: Path, exp: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "local/export.py", "--conf", str(conf), "--data", str(data), "--exp", str(exp)]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_both_exports_are_written_and_checked(project: Path, run_dirs: tuple[Path, Path, Path]) -> None:
    result = run_stage(project, *run_dirs)
    assert result.returncode == 0, result.stderr
    out = run_dirs[2] / "export"
    scores = json.loads((out / "scores.json").read_text())
    assert scores["sherpa_num_cuts"] == 4 and scores["sherpa_same_percent"] == 100
    assert scores["sherpa_mer"] == scores["sherpa_our_mer"] == 100  # blanks only: all tokens deleted
    assert scores["ctranslate2_num_sentences"] == 1
    assert sorted(p.name for p in (out / "sherpa-onnx").iterdir()) == [
        "README.md",
        "bpe.vocab",
        "decoder.int8.onnx",
        "decoder.onnx",
        "encoder.int8.onnx",
        "encoder.onnx",
        "joiner.int8.onnx",
        "joiner.onnx",
        "pretrained.pt",
        "tokens.txt",
    ]
    card = (out / "sherpa-onnx" / "README.md").read_text(encoding="utf-8")
    assert "| sherpa-onnx, float32, greedy_search | 4 | 100.00 |" in card and "| encoder.int8.onnx |" in card
    assert (out / "ctranslate2" / "model.bin").is_file()
    again = run_stage(project, *run_dirs)
    assert again.returncode == 0 and "up to date" in again.stderr


def test_missing_decoding_names_its_stage(project: Path, run_dirs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    conf, data, _ = run_dirs
    (tmp_path / "asr").mkdir()
    (tmp_path / "asr" / ".done").write_text('{"key": "", "seconds": 1, "outputs": {}}')
    result = run_stage(project, conf, data, tmp_path)
    assert result.returncode == 1
    assert "greedy_search" in result.stderr and "--stage 6" in result.stderr and "Traceback" not in result.stderr
