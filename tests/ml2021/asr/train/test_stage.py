"""Stage 5 goes on with what was trained by hand or by an earlier run, and never begins it anew unasked."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.train.__main__ import main
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.stage import CUTS, training_by_hand, training_stage
from ml2021.training.checkpoint import load_checkpoint


class Experiment:
    """Data as stages 2 and 4 leave it, a configuration, and the two ways to train."""

    def __init__(self, folder: Path, project: Path, cuts: Path, lang: Path, conf: str) -> None:
        self.data, self.exp, self.conf = folder / "data", folder / "exp", folder / "conf"
        self.asr = self.exp / "asr"
        for name, source in (("cuts", cuts), ("lang", lang)):
            with Stage(name, self.data / name, [], {}).work() as out:
                shutil.copytree(source, out, dirs_exist_ok=True)
        self.conf.mkdir()
        self.yaml = conf.replace("num_epochs: 2", "num_epochs: 1").replace("keep_epochs: 3", "keep_epochs: 4")
        (self.conf / "asr.yaml").write_text(self.yaml)
        self.stage_5 = project / "local" / "asr_train.py"

    def change(self, *values: tuple[str, str]) -> None:
        """Replace parts of asr.yaml as it was at first."""
        text = self.yaml
        for old, new in values:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (self.conf / "asr.yaml").write_text(text)

    def by_hand(self, *options: str) -> None:
        folders = ["--manifest-dir", str(self.data / "cuts"), "--lang-dir", str(self.data / "lang")]
        main(["--exp-dir", str(self.asr), *folders, "--conf", str(self.conf), *options])

    def run_sh(self, *options: str) -> None:
        folders = ["--conf", str(self.conf), "--data", str(self.data), "--exp", str(self.exp)]
        runpy.run_path(str(self.stage_5))["main"]([*folders, *options])

    def took_hours(self) -> None:
        for name in (".key", ".done"):
            if (self.asr / name).exists():
                content = json.loads((self.asr / name).read_text())
                (self.asr / name).write_text(json.dumps(content | {"worked": 9000.0}))

    def epochs(self) -> dict[str, int]:
        """When each epoch was written."""
        return {p.name: p.stat().st_mtime_ns for p in self.asr.glob("epoch-*.pt")}


@pytest.fixture
def experiment(tone_corpus, conf, project, tmp_path) -> Experiment:  # type: ignore[no-untyped-def]
    return Experiment(tmp_path, project, tone_corpus.cuts, tone_corpus.lang, (conf / "asr.yaml").read_text())


def test_a_training_by_hand_is_taken_over_and_goes_on(experiment: Experiment) -> None:
    e = experiment
    e.by_hand("--log-interval", "3", "--keep-last-k", "2")
    e.took_hours()
    first = e.epochs()
    e.run_sh()
    assert e.epochs() == first and (e.asr / ".done").is_file(), "nothing was trained again"

    e.took_hours()
    e.change(("base_lr: 0.03", "base_lr: 0.02"), ("log_interval: 1", "log_interval: 9"))
    with pytest.raises(
        DataError, match=r"2\.5 h of work.*: asr\.train\.base_lr was 0\.03 and is 0\.02\. To begin anew"
    ):
        e.run_sh()
    e.change(("save_every_n: 3", "save_every_n: 100"), ("num_buckets: 2", "num_buckets: 2\n    num_workers: 1"))
    done = (e.asr / ".done").stat().st_mtime_ns
    e.run_sh()
    assert (e.asr / ".done").stat().st_mtime_ns == done and e.epochs() == first

    e.change(("num_epochs: 1", "num_epochs: 2"))
    e.run_sh()
    assert e.epochs().keys() == {"epoch-1.pt", "epoch-2.pt"} and e.epochs()["epoch-1.pt"] == first["epoch-1.pt"]
    assert not list(e.exp.glob("asr.before-*"))


def test_a_folder_without_a_record_is_compared_by_its_configuration(experiment: Experiment) -> None:
    e = experiment
    e.by_hand()
    (e.asr / ".key").unlink()
    first, weights = e.epochs(), load_checkpoint(e.asr / "pretrained.pt")["model"]
    e.change(("warmup_steps: 5", "warmup_steps: 6"))
    with pytest.raises(DataError, match=r"asr\.train\.warmup_steps was 5 and is 6"):
        e.run_sh()
    e.change(("log_interval: 1", "log_interval: 2"))
    e.run_sh()
    again = load_checkpoint(e.asr / "pretrained.pt")["model"]
    assert e.epochs() == first and all(torch.equal(again[k], w) for k, w in weights.items())

    shutil.rmtree(e.asr)
    e.asr.mkdir()
    (e.asr / "epoch-1.pt").write_bytes(b"someone's")
    with pytest.raises(DataError, match="nothing in it says"):
        e.run_sh()
    assert (e.asr / "epoch-1.pt").read_bytes() == b"someone's"


def test_other_data_is_named(experiment: Experiment) -> None:
    e = experiment
    config = load_config(e.conf / "asr.yaml", "asr", AsrConfig)
    training_by_hand(e.data / "cuts", e.data / "lang", e.asr, config, None, ()).begin()
    (e.asr / "epoch-1.pt").touch()
    e.took_hours()
    content = json.loads((e.data / "cuts" / ".done").read_text())
    content["outputs"]["ml2021_cuts_train.jsonl.gz"] = "other"
    (e.data / "cuts" / ".done").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"data/cuts has other content \(ml2021_cuts_train\.jsonl\.gz\)"):
        e.run_sh()


def test_an_encoder_that_starts_at_random_is_not_frozen(experiment: Experiment) -> None:
    experiment.change(("asr:\n", "asr:\n  frozen_encoder_steps: 10\n"))
    with pytest.raises(ConfigError, match="frozen_encoder_steps is 10, but without init_encoder_from_aligner"):
        experiment.run_sh()


def test_units_count_by_hand_as_in_stage_5(experiment: Experiment) -> None:
    e = experiment
    with Stage("align", e.data / "aligned", [], {}).work() as out:
        (out / "aligner").mkdir()
        for name in ("pretrained.pt", "units.txt", "units.bpe.model", "config.json"):
            (out / "aligner" / name).write_text(name)
    config = load_config(e.conf / "asr.yaml", "asr", AsrConfig)
    modules, aligner = ("encoder_embed", "encoder"), e.data / "aligned" / "aligner" / "pretrained.pt"
    for uses_units in (False, True):
        chosen = replace(config, init_tokens_from_aligner=uses_units)
        files = ("aligner/pretrained.pt", *(["aligner/units*"] if uses_units else []))
        inputs = Input(e.data / "lang", 2), Input(e.data / "cuts", 4, CUTS)
        of_stage_5 = training_stage(inputs, e.asr, chosen, Input(e.data / "aligned", 3, files), modules)
        by_hand = training_by_hand(e.data / "cuts", e.data / "lang", e.asr, chosen, aligner, modules)
        initial = [stage.inputs[2] for stage in (of_stage_5, by_hand)]
        assert initial[0].files == initial[1].files and initial[0].path == initial[1].path
        assert len(initial[0].files) == 1 + uses_units
