"""icefall's own scripts on this recipe's cuts and tokens. Tests with a checkout need ICEFALL_ROOT."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.windows import decode_cuts
from ml2021.asr.icefall.bpe_model import num_with_other_ids, require_same_ids, sentencepiece_model
from ml2021.asr.icefall.checkout import RECIPE, find_checkout
from ml2021.asr.icefall.config import IcefallConfig
from ml2021.asr.icefall.decode import decode_with_icefall
from ml2021.asr.icefall.options import NEEDED, as_icefall_trains, differences
from ml2021.asr.icefall.train import train_with_icefall
from ml2021.asr.model.load import load_model
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import TrainOptions
from ml2021.scoring.texts import read_texts
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.learning_rate import learning_rate

needs_icefall = pytest.mark.skipif("ICEFALL_ROOT" not in os.environ, reason="ICEFALL_ROOT is not set")


def test_sentencepiece_gives_the_ids_of_the_tokens(tone_corpus) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    model = sentencepiece_model(tokens)
    require_same_ids(model, tokens, ["一 二 三", "model", "一 model data 二", "data model 八"])
    with pytest.raises(DataError, match="min_char_count"):
        require_same_ids(model, tokens, ["一 龍 二"])
    assert num_with_other_ids(model, tokens, ["一 二", "一 龍 二", "model", "龍"]) == 2


def test_values_without_an_icefall_option_are_listed(config: AsrConfig) -> None:
    config = replace(config, model=replace(config.model, use_cr_ctc=True))
    config = replace(config, train=replace(config.train, lr_scale_modules=("encoder",), lr_scales=(0.5,)))
    assert as_icefall_trains(config).train.lr_scale_modules == ()
    listed = differences(config, as_icefall_trains(config))
    assert "model.use_cr_ctc False (asr.yaml has True)" in listed
    assert "model.rnnt_type regular (asr.yaml has modified)" in listed
    assert as_icefall_trains(as_icefall_trains(config)) == as_icefall_trains(config)


def test_unusable_checkouts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICEFALL_ROOT", raising=False)
    with pytest.raises(ConfigError, match="ICEFALL_ROOT is not set: git clone"):
        find_checkout(NEEDED)
    monkeypatch.setenv("ICEFALL_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match=r"has no .*train.py: git clone"):
        find_checkout(NEEDED)
    (tmp_path / RECIPE).mkdir(parents=True)
    for script, names in NEEDED.items():
        (tmp_path / RECIPE / f"{script}.py").write_text("".join(f'"--{n}"\n' for n in names if n != "use-ctc"))
    with pytest.raises(ConfigError, match="too old: its train.py has no option --use-ctc"):
        find_checkout(NEEDED)
    (tmp_path / RECIPE / "train.py").write_text("".join(f'"--{n}"\n' for n in NEEDED["train"]))
    with pytest.raises(ConfigError, match="icefall cannot run in .*No module named.*ICEFALL_PYTHON"):
        find_checkout(NEEDED)
    monkeypatch.setenv("ICEFALL_PYTHON", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="does not run"):
        find_checkout(NEEDED)


def test_checkout_of_conf_is_used_if_the_environment_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ICEFALL_ROOT", raising=False)
    monkeypatch.delenv("ICEFALL_PYTHON", raising=False)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "asr.yaml").write_text(f"icefall: {{root: {tmp_path}/icefall, python: {tmp_path}/python}}\n")
    config = load_config(tmp_path / "conf" / "asr.yaml", "icefall", IcefallConfig)
    with pytest.raises(ConfigError, match=r"asr.yaml: icefall.root .*/icefall has no .*train.py: git clone"):
        find_checkout(NEEDED, config)
    (tmp_path / "icefall" / RECIPE).mkdir(parents=True)
    for script, names in NEEDED.items():
        (tmp_path / "icefall" / RECIPE / f"{script}.py").write_text("".join(f'"--{n}"\n' for n in names))
    with pytest.raises(ConfigError, match=f"{tmp_path}/python does not run"):
        find_checkout(NEEDED, config)
    monkeypatch.setenv("ICEFALL_PYTHON", str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=f"{tmp_path}/other does not run"):
        find_checkout(NEEDED, config)
    monkeypatch.setenv("ICEFALL_ROOT", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigError, match="ICEFALL_ROOT=.*/elsewhere has no"):
        find_checkout(NEEDED, config)


class RecordedDecoder:
    """In the place of a checkout: its decode.py gave these lines of each test set."""

    def __init__(self, recogs: dict[str, str]) -> None:
        self.recogs = recogs

    def run(self, script: str, options: dict[str, Any]) -> None:
        assert script == "decode"
        folder = options["exp-dir"] / options["decoding-method"]
        folder.mkdir()
        for name, lines in self.recogs.items():
            (folder / f"recogs-{name}-greedy_search.txt").write_text(lines)


ONE_WINDOW = "a-0000:\tref=['一', '二']\na-0000:\thyp=['一']\n"


@pytest.mark.parametrize("dev", [{}, {"test-other": ""}])
def test_a_dev_part_without_windows_is_left_out(trained, tone_corpus, tmp_path: Path, dev: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "out").mkdir()
    checkout: Any = RecordedDecoder({"test-clean": ONE_WINDOW} | dev)
    rates = decode_with_icefall(checkout, trained, tone_corpus.cuts, tmp_path / "out", DecodeConfig())
    assert {part: rate.total.percent for part, rate in rates.items()} == {"test": 50.0}
    with pytest.raises(DataError, match="icefall decoded no window: the test part has none in .*cuts"):
        decode_with_icefall(RecordedDecoder({}), trained, tone_corpus.cuts, tmp_path, DecodeConfig())  # type: ignore[arg-type]


@needs_icefall
def test_learning_rate_is_that_of_icefall_and_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with its Eden, with the arguments and the order of calls of its train.py."""
    root = Path(os.environ["ICEFALL_ROOT"])
    source = (root / RECIPE / "train.py").read_text(encoding="utf-8")
    assert "Eden(optimizer, params.lr_batches, params.lr_epochs, warmup_start=0.1)" in source
    monkeypatch.syspath_prepend(str(root))
    spec = importlib.util.spec_from_file_location("icefall_optim", root / RECIPE / "optim.py")
    assert spec is not None and spec.loader is not None
    optim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(optim)
    theirs = optim.Eden(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.045), 7500.0, 3.5, warmup_start=0.1)
    config = as_icefall_trains(AsrConfig(train=TrainConfig(num_epochs=5, base_lr=0.045))).train
    assert config.warmup_start == TrainConfig().warmup_start == 0.1
    for step in range(1000):
        if step % 200 == 0:
            theirs.step_epoch(step // 200)
        theirs.step_batch(step + 1)
        assert learning_rate(config, step, 1000) == pytest.approx(theirs.get_last_lr()[0])


@needs_icefall
@pytest.mark.slow
def test_both_decoders_agree_on_models_of_both_trainers(tone_corpus, trained, one_epoch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A model trained by icefall and one of ours give the same tokens with its decode.py and with our search."""
    checkout = find_checkout(NEEDED)
    train_with_icefall(checkout, tone_corpus.cuts, tone_corpus.lang, tmp_path / "asr", one_epoch, TrainOptions())
    assert {"epoch-1.pt", "pretrained.pt", "config.json", "lang", "log"} <= {
        p.name for p in (tmp_path / "asr").iterdir()
    }
    write_test_part(tone_corpus.cuts)
    for name, exp_dir in (("icefall", tmp_path / "asr"), ("ours", trained)):
        out = tmp_path / f"decoded-{name}"
        out.mkdir()
        config = DecodeConfig(max_duration=0.1)  # one window per batch: no padding, which only our model masks
        decode_with_icefall(checkout, exp_dir, tone_corpus.cuts, out, config)
        theirs = read_texts(next(out.glob("recogs-test-*.txt")), "hyp")
        model, tokens = load_model(exp_dir)
        ours = {cut: text for cut, _, text in decode_cuts(model, tokens, tone_corpus.cuts, "test", config)}
        assert any(ours.values())
        for cut, text in ours.items():  # sentencepiece writes <unk> and spaces between scripts differently
            assert "".join(theirs[cut].replace("⁇", "<unk>").split()) == "".join(text.split())


@needs_icefall
@pytest.mark.slow
def test_icefall_resumes_after_the_last_complete_epoch(tone_corpus, one_epoch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    checkout = find_checkout(NEEDED)
    steps = []
    for num_epochs in (1, 2):
        config = replace(one_epoch, train=replace(one_epoch.train, num_epochs=num_epochs))
        train_with_icefall(checkout, tone_corpus.cuts, tone_corpus.lang, tmp_path, config, TrainOptions())
        steps.append(load_checkpoint(tmp_path / f"epoch-{num_epochs}.pt")["batch_idx_train"])
    assert steps[1] == 2 * steps[0] > 0
    log = "".join(p.read_text() for p in sorted((tmp_path / "log").iterdir()))
    assert log.count("Training started") == 2 and log.count("Epoch 1, batch 0") == log.count("Epoch 2, batch 0") == 1


def write_test_part(cuts: Path) -> None:
    """Use the dev windows as the test part."""
    path = cuts / "ml2021_cuts_test.jsonl.gz"
    if not path.is_file():
        path.write_bytes((cuts / "ml2021_cuts_dev.jsonl.gz").read_bytes())
