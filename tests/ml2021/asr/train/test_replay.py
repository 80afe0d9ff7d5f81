"""Replay of other windows: by weights, the train part once an epoch, on through the other data, exact on resume."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.train.config import AsrConfig, AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.options import config_of, parse_arguments
from ml2021.asr.train.stage import training_by_hand
from ml2021.asr.train.train import train_recogniser
from ml2021.training.checkpoint import load_checkpoint
from tests.ml2021.asr.conftest import write_tones


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two manifests, of 300 and of 5 windows; ids begin with their names."""
    folder = tmp_path_factory.mktemp("others")
    for name, num_cuts in (("many", 300), ("few", 5)):
        write_tones(folder, name, num_cuts, seed=num_cuts)
    return str(folder / "ml2021_cuts_many.jsonl.gz"), str(folder / "ml2021_cuts_few.jsonl.gz")


@pytest.fixture(scope="module")
def many_windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_tones(folder, "train", 200, seed=1)
    write_tones(folder, "dev", 2, seed=2)
    return folder


def with_replay(config: AsrDataConfig, cuts: tuple[str, ...], *weights: float) -> AsrDataConfig:
    return replace(config, mux_cuts=cuts, mux_weights=weights)


def ids(data: AsrDataModule, epoch: int) -> list[str]:
    return [cut.id for batch in data.train_plan(epoch) for cut in batch]


def kinds(cut_ids: list[str]) -> Counter[str]:
    return Counter(i.partition("-")[0] for i in cut_ids)


def test_windows_are_drawn_by_weight_and_those_of_train_once(many_windows: Path, others: tuple[str, str]) -> None:
    data = AsrDataModule(many_windows, with_replay(AsrDataConfig(max_duration=9.0), others, 0.5, 0.2), seed=1)
    epochs = [ids(data, epoch) for epoch in (1, 2, 3)]
    for drawn in epochs:
        of_train = [i for i in drawn if i.startswith("train")]
        assert len(of_train) == len(set(of_train)) == 200
        count = kinds(drawn)  # of 200 draws each: means 100 and 40, deviations of about 12 and 7
        assert 60 < count["many"] < 140 and 18 < count["few"] < 62
        assert count["few"] > 5 and len({i for i in drawn if i.startswith("few")}) == 5  # over and over
    assert epochs[0] != epochs[1]
    again = AsrDataModule(many_windows, with_replay(AsrDataConfig(max_duration=9.0), others, 0.5, 0.2), seed=1)
    assert [ids(again, epoch) for epoch in (3, 1)] == [epochs[2], epochs[0]]
    other_seed = AsrDataModule(many_windows, with_replay(AsrDataConfig(max_duration=9.0), others, 0.5, 0.2), seed=2)
    assert ids(other_seed, 1) != epochs[0]


def test_epochs_go_through_the_other_data(many_windows: Path, others: tuple[str, str]) -> None:
    data = AsrDataModule(many_windows, with_replay(AsrDataConfig(max_duration=9.0), others[:1], 0.5), seed=1)
    for epoch, start in ((1, 0), (2, 100), (3, 200), (4, 0)):  # 100 of the 300 are expected in an epoch
        drawn = sorted(int(i[5:]) for i in ids(data, epoch) if i.startswith("many"))
        assert drawn == sorted((start + k) % 300 for k in range(len(drawn)))
    mixed = sum(len(kinds([c.id for c in batch])) > 1 for batch in data.train_plan(1))
    assert mixed > 5


def test_mixing_is_lazy(tone_corpus, others: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Of the large manifest only what an epoch needs is read, once its windows are counted."""
    data = AsrDataModule(tone_corpus.cuts, with_replay(AsrDataConfig(), others[:1], 0.25), seed=1)
    data.describe()
    read = []
    monkeypatch.setattr("ml2021.asr.train.replay.open_windows", lambda path, needs: _counted(path, needs, read))
    assert kinds(ids(data, 1))["train"] == 24
    assert 1 <= len(read) < 60


def _counted(path: Path, needs: str, read: list[str]):  # type: ignore[no-untyped-def]
    from lhotse_prep.windows.read import open_windows

    return open_windows(path, needs).map(lambda cut: read.append(cut.id) or cut)


def test_training_goes_on_exactly_inside_an_epoch(  # type: ignore[no-untyped-def]
    tone_corpus, others: tuple[str, str], one_epoch: AsrConfig, tmp_path: Path
) -> None:
    config = replace(
        one_epoch,
        data=with_replay(one_epoch.data, others, 0.5, 0.25),
        train=replace(one_epoch.train, num_epochs=2, save_every_n=4, keep_last_k=9, scan_worst_batches=False),
    )
    kept = tmp_path / "again"
    kept.mkdir()

    def keep(path: Path) -> None:
        if path.name.startswith("checkpoint-"):
            (kept / path.name).write_bytes(path.read_bytes())
        path.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml2021.training.trainer.remove_checkpoint", keep)
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "whole", config)
    inside = max(kept.glob("checkpoint-*.pt"), key=lambda p: int(p.stem.rpartition("-")[2]))
    sampler = load_checkpoint(inside)["sampler"]
    assert sampler["epoch"] == 2 and sampler["batches_done"] > 0
    saved = inside.read_bytes()
    (kept / "epoch-1.pt").write_bytes((tmp_path / "whole" / "epoch-1.pt").read_bytes())
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, kept, config)
    a, b = (load_checkpoint(folder / "epoch-2.pt") for folder in (tmp_path / "whole", kept))
    assert a["batch_idx_train"] == b["batch_idx_train"]
    assert all(torch.equal(a["model"][k], b["model"][k]) for k in a["model"])
    other = replace(config, data=with_replay(config.data, others, 0.5, 0.3))
    for path in kept.glob("epoch-*.pt"):
        path.unlink()
    inside.write_bytes(saved)
    with pytest.raises(DataError, match=r"mux weights 0\.5:0\.25, .* now .* mux weights 0\.5:0\.3"):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, kept, other)
    with pytest.raises(DataError, match=r"mux cuts: then 305 cuts, .* now 300 cuts"):
        less = replace(config, data=with_replay(config.data, others[:1], 0.5))
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, kept, less)


def test_what_is_not_there_is_refused(tone_corpus, others: tuple[str, str], conf: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="mux_weights must have a weight for each of the 2 files"):
        AsrDataConfig(mux_cuts=others, mux_weights=(1.0,))
    with pytest.raises(ConfigError, match="mux_weights must be > 0"):
        AsrDataConfig(mux_cuts=others, mux_weights=(1.0, 0.0))
    data = AsrDataModule(tone_corpus.cuts, with_replay(AsrDataConfig(), ("no.jsonl.gz",), 1.0), seed=1)
    with pytest.raises(DataError, match=r"no no\.jsonl\.gz; data\.mux_cuts must name CutSet files"):
        data.describe()
    (tmp_path / "empty.jsonl").touch()
    data = AsrDataModule(tone_corpus.cuts, with_replay(AsrDataConfig(), (str(tmp_path / "empty.jsonl"),), 1.0), seed=1)
    with pytest.raises(DataError, match=r"empty\.jsonl has no windows with text; take it out of data\.mux_cuts"):
        ids(data, 1)
    arguments = ["--exp-dir", str(tmp_path / "exp"), "--cuts", str(tone_corpus.cuts), "--lang-dir"]
    arguments += [str(tone_corpus.lang), "--conf", str(conf)]
    config = config_of(parse_arguments([*arguments, "--mux-cuts", ",".join(others), "--mux-weights", "0.5,2"]))
    assert (config.data.mux_cuts, config.data.mux_weights) == (others, (0.5, 2.0))
    stage = training_by_hand(tone_corpus.cuts, tone_corpus.lang, tmp_path / "exp", config, None, ())
    assert {i.path for i in stage.record.inputs} >= set(others)
