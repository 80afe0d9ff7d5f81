"""Batches: each cut once an epoch, a function of seed and epoch, text and features of the same cut together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.errors import DataError
from lhotse_prep.features import fbank_extractor
from ml2021.asr.datamodule import AsrDataModule
from ml2021.config import AsrDataConfig

NUM_CUTS = 12


@pytest.fixture(scope="module")
def cuts_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cuts of two supervisions each, 0.5 to 1.6 s long; the text says which cut it is."""
    folder = tmp_path_factory.mktemp("cuts")
    rng = np.random.default_rng(0)
    sf.write(folder / "x.wav", rng.uniform(-0.1, 0.1, 20 * 16000), 16000)
    recording = Recording("x", [AudioSource("file", [0], str(folder / "x.wav"))], 16000, 20 * 16000, 20.0)
    cuts = []
    for i in range(NUM_CUTS):
        duration = round(0.5 + 0.1 * i, 2)
        halves = [
            SupervisionSegment(f"{i}{k}", "x", s, round(duration / 2 - 0.1, 3), text=f"{k} {i}")
            for k, s in (("a", 0.1), ("b", duration / 2))
        ]
        cuts.append(MonoCut(f"x-{i:04d}", 1.5 * i, duration, 0, supervisions=halves, recording=recording))
    stored = CutSet.from_cuts(cuts).compute_and_store_features(fbank_extractor(), str(folder / "feats"))
    for part in ("train", "test"):
        stored.to_file(folder / f"ml2021_cuts_{part}.jsonl.gz")
    return folder


def texts(batches: list[dict]) -> list[str]:
    return [text for b in batches for text in b["supervisions"]["text"]]


def test_each_cut_once_an_epoch_in_an_order_of_its_own(cuts_dir: Path) -> None:
    data = AsrDataModule(cuts_dir, AsrDataConfig(max_duration=3.0, num_buckets=2), seed=1)
    first, again, second = (list(data.train_batches(epoch)) for epoch in (1, 1, 2))
    assert sorted(texts(first)) == sorted(f"a {i} b {i}" for i in range(NUM_CUTS)) == sorted(texts(second))
    assert texts(first) == texts(again) and texts(first) != texts(second)
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(first, again))  # masks too
    assert data.num_train_batches(1) == len(first) > 1


def test_cuts_of_other_speeds_are_trained_on_too(cuts_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "ml2021_cuts_train.jsonl.gz").write_bytes((cuts_dir / "ml2021_cuts_train.jsonl.gz").read_bytes())
    faster = CutSet.from_file(cuts_dir / "ml2021_cuts_train.jsonl.gz").drop_features().perturb_speed(1.1)
    faster = faster.compute_and_store_features(fbank_extractor(), str(tmp_path / "feats"))
    faster.to_file(tmp_path / "ml2021_cuts_train_sp1.1.jsonl.gz")
    batches = AsrDataModule(tmp_path, AsrDataConfig(max_duration=3.0), seed=1).train_batches(1)
    assert sorted(texts(list(batches))) == sorted(f"a {i} b {i}" for i in range(NUM_CUTS) for _ in range(2))


def test_text_belongs_to_its_features_and_spans_the_cut(cuts_dir: Path) -> None:
    data = AsrDataModule(cuts_dir, AsrDataConfig(), seed=1)
    for batch in data.eval_batches("test", max_duration=4.0):
        supervisions = batch["supervisions"]
        for row, index in enumerate(supervisions["sequence_idx"].tolist()):
            cut = supervisions["cut"][row]
            assert supervisions["text"][row] == " ".join(f"{k} {int(cut.id[2:])}" for k in "ab")
            num_frames = int(supervisions["num_frames"][row])
            assert int(supervisions["start_frame"][row]) == 0 and num_frames == cut.num_frames
            assert torch.allclose(batch["inputs"][index, :num_frames], torch.from_numpy(cut.load_features()))


def test_missing_cuts_name_their_stage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 4"):
        list(AsrDataModule(tmp_path, AsrDataConfig(), seed=1).eval_batches("dev", 10.0))
