"""Batches: each cut once per epoch, determined by seed and epoch, with the text and features of the same cut."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.data import AsrDataModule

NUM_CUTS = 12


@pytest.fixture(scope="module")
def cuts_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cuts of 0.5 to 1.6 s with two supervisions each, whose texts name the cut."""
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


def train_batches(data: AsrDataModule, epoch: int, first: int = 0) -> list[dict]:
    """Load the batches of an epoch from number `first` on."""
    return list(data.load_train(islice(enumerate(data.train_plan(epoch)), first, None), epoch))


def test_command_in_a_manifest_is_not_executed(cuts_dir: Path, tmp_path: Path) -> None:
    sources = [AudioSource("command", [0], f"touch {tmp_path}/ran; cat {cuts_dir}/x.wav")]
    recording = Recording("x", sources, 16000, 20 * 16000, 20.0)
    supervision = SupervisionSegment("s", "x", 0.0, 1.0, text="a")
    cuts = CutSet.from_cuts([MonoCut("x-0", 0.0, 1.0, 0, supervisions=[supervision], recording=recording)])
    cuts.to_file(tmp_path / "ml2021_cuts_test.jsonl.gz")
    data = AsrDataModule(tmp_path, AsrDataConfig(on_the_fly_feats=True), seed=1)
    with pytest.raises(DataError, match="line 1, recording x: its audio source is of type 'command'"):
        list(data.eval_batches("test", 10.0))
    assert not (tmp_path / "ran").exists()


def test_each_cut_occurs_once_per_epoch_in_another_order(cuts_dir: Path) -> None:
    data = AsrDataModule(cuts_dir, AsrDataConfig(max_duration=3.0, num_buckets=2), seed=1)
    first, again, second = (train_batches(data, epoch) for epoch in (1, 1, 2))
    assert sorted(texts(first)) == sorted(f"a {i} b {i}" for i in range(NUM_CUTS)) == sorted(texts(second))
    assert texts(first) == texts(again) and texts(first) != texts(second)
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(first, again))  # masks too
    assert len(first) > 1
    assert all(b["ids"] == [f"x-{int(t.split()[1]):04d}" for t in b["supervisions"]["text"]] for b in first)


def test_cuts_of_other_speeds_are_trained_on_too(cuts_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "ml2021_cuts_train.jsonl.gz").write_bytes((cuts_dir / "ml2021_cuts_train.jsonl.gz").read_bytes())
    faster = CutSet.from_file(cuts_dir / "ml2021_cuts_train.jsonl.gz").drop_features().perturb_speed(1.1)
    faster = faster.compute_and_store_features(fbank_extractor(), str(tmp_path / "feats"))
    faster.to_file(tmp_path / "ml2021_cuts_train_sp1.1.jsonl.gz")
    batches = train_batches(AsrDataModule(tmp_path, AsrDataConfig(max_duration=3.0), seed=1), 1)
    assert sorted(texts(batches)) == sorted(f"a {i} b {i}" for i in range(NUM_CUTS) for _ in range(2))


def write_many_cuts(folder: Path, num_cuts: int) -> None:
    """Cuts without features at three speeds, more than the sampler's buffer holds."""
    for speed in ("", "_sp0.9", "_sp1.1"):
        with gzip.open(folder / f"ml2021_cuts_train{speed}.jsonl.gz", "wt", compresslevel=1) as f:
            for i in range(num_cuts):
                supervision = {"id": f"s{i}", "recording_id": "x", "start": 0.0, "duration": 1.0, "text": "a"}
                cut = {"id": f"{i}{speed}", "start": 0.0, "duration": 1.0 + i % 7, "channel": 0, "type": "MonoCut"}
                f.write(json.dumps(cut | {"supervisions": [supervision]}) + "\n")


def test_speeds_are_mixed_over_an_epoch_that_is_larger_than_the_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One set after the other, the sampler sees only the first speed at first and only the last at last."""
    monkeypatch.setattr("ml2021.asr.train.data.BUFFER_SIZE", 400)
    num_cuts = 700
    write_many_cuts(tmp_path, num_cuts)
    data = AsrDataModule(tmp_path, AsrDataConfig(max_duration=20.0), seed=3)
    plans = {epoch: [[c.id for c in batch] for batch in data.train_plan(epoch)] for epoch in (1, 2)}
    assert plans[1] != plans[2]
    for epoch, plan in plans.items():
        again = AsrDataModule(tmp_path, AsrDataConfig(max_duration=20.0), seed=3).train_plan(epoch)
        assert [[c.id for c in batch] for batch in again] == plan, "a resumed training has the same batches"
        ids = [i for batch in plan for i in batch]
        assert len(ids) == len(set(ids)) == 3 * num_cuts
        speeds = [i.partition("_")[2] for i in ids]
        for tenth in (speeds[i : i + len(ids) // 10] for i in range(0, len(ids), len(ids) // 10)):
            for speed in ("", "sp0.9", "sp1.1"):
                assert 0.2 < tenth.count(speed) / len(tenth) < 0.47
        mixed = sum(len({i.partition("_")[2] for i in batch}) > 1 for batch in plan)
        assert mixed > 0.8 * len(plan)


def test_a_speed_that_stage_4_has_made_is_not_made_again(cuts_dir: Path, tmp_path: Path) -> None:
    for speed in ("", "_sp0.9"):
        copy = tmp_path / f"ml2021_cuts_train{speed}.jsonl.gz"
        copy.write_bytes((cuts_dir / "ml2021_cuts_train.jsonl.gz").read_bytes())
    config = unmasked(on_the_fly_feats=True, speed_factors=(0.9, 1.1))
    with pytest.raises(ConfigError, match=r"has windows at speed 0\.9 already .*data\.speed_factors"):
        AsrDataModule(tmp_path, config, seed=1).train_cuts()


def test_noises_without_a_noise_are_refused(cuts_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.jsonl").touch()
    data = AsrDataModule(cuts_dir, unmasked(noise_cuts=str(tmp_path / "noise.jsonl")), seed=1)
    with pytest.raises(DataError, match=r"noise\.jsonl has no cuts"):
        train_batches(data, 1)


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


def unmasked(**values: object) -> AsrDataConfig:
    """A configuration with small batches and no augmentation."""
    plain = SpecAugmentConfig(time_warp_factor=0, num_frame_masks=0, num_feature_masks=0)
    return AsrDataConfig(max_duration=3.0, num_buckets=2, spec_augment=plain, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def noise(cuts_dir: Path) -> str:
    """A CutSet of two noises with features."""
    rng = np.random.default_rng(1)
    cuts = []
    for i in range(2):
        path = cuts_dir / f"noise{i}.wav"
        sf.write(path, rng.uniform(-0.5, 0.5, 16000), 16000)
        cuts.append(Recording(f"n{i}", [AudioSource("file", [0], str(path))], 16000, 16000, 1.0).to_cut())
    stored = CutSet.from_cuts(cuts).compute_and_store_features(fbank_extractor(), str(cuts_dir / "noise_feats"))
    stored.to_file(cuts_dir / "noise.jsonl.gz")
    return str(cuts_dir / "noise.jsonl.gz")


def test_two_views_follow_from_seed_epoch_and_number_too(cuts_dir: Path) -> None:
    config = AsrDataConfig(max_duration=4.0, num_buckets=2, spec_augment=SpecAugmentConfig(time_warp_factor=10))
    one = train_batches(AsrDataModule(cuts_dir, config, seed=1), 2)
    two = train_batches(AsrDataModule(cuts_dir, config, seed=1, two_views=True), 2)
    later = train_batches(AsrDataModule(cuts_dir, replace(config, num_workers=1), seed=1, two_views=True), 2, first=2)
    for a, b in zip(one, two, strict=True):
        assert a["ids"] == b["ids"] and texts([a]) == texts([b])
        num_rows, *shape = a["inputs"].shape
        assert b["inputs"].shape == (2 * num_rows, *shape)
    assert all(torch.equal(a["inputs"], b["inputs"]) for a, b in zip(two[2:], later, strict=True))
    plain = AsrDataModule(cuts_dir, config, seed=1, two_views=True).eval_batches("test", 4.0)
    assert all(len(b["inputs"]) == len(b["ids"]) for b in plain)


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_workers_and_a_later_start_do_not_change_batches(cuts_dir: Path, noise: str, on_the_fly: bool) -> None:
    """Seed, epoch and number of a batch determine its noise, masks, time warp and speed."""
    values: dict = {"noise_cuts": noise, "on_the_fly_feats": on_the_fly}
    if on_the_fly:
        values["speed_factors"] = (0.9, 1.1)
    augment = SpecAugmentConfig(time_warp_factor=10)
    config = AsrDataConfig(max_duration=4.0, num_buckets=2, spec_augment=augment, **values)
    whole = train_batches(AsrDataModule(cuts_dir, config, seed=1), 2)
    later = train_batches(AsrDataModule(cuts_dir, replace(config, num_workers=2), seed=1), 2, first=2)
    assert len(later) == len(whole) - 2 > 1
    for a, b in zip(whole[2:], later, strict=True):
        assert a["ids"] == b["ids"] and torch.equal(a["inputs"], b["inputs"])


def test_features_on_the_fly_equal_stored_ones(cuts_dir: Path) -> None:
    stored = train_batches(AsrDataModule(cuts_dir, unmasked(), seed=1), 1)
    computed = train_batches(AsrDataModule(cuts_dir, unmasked(on_the_fly_feats=True), seed=1), 1)
    for a, b in zip(stored, computed, strict=True):
        assert a["ids"] == b["ids"]
        for row, n in enumerate(a["supervisions"]["num_frames"].tolist()):
            n -= 2  # the last frames differ: a single cut is mirrored at its end, in a batch silence follows
            torch.testing.assert_close(a["inputs"][row, :n], b["inputs"][row, :n], atol=0.1, rtol=0.01)


def test_two_speeds_on_the_fly_give_every_cut_three_times(cuts_dir: Path) -> None:
    config = unmasked(on_the_fly_feats=True, speed_factors=(0.9, 1.1))
    batches = train_batches(AsrDataModule(cuts_dir, config, seed=1), 1)
    assert sorted(texts(batches)) == sorted(f"a {i} b {i}" for i in range(NUM_CUTS) for _ in range(3))
    lens = {i: n for b in batches for i, n in zip(b["ids"], b["supervisions"]["num_frames"].tolist())}
    assert lens["x-0011"] == 160 and abs(lens["x-0011_sp0.9"] - 178) <= 1 and abs(lens["x-0011_sp1.1"] - 145) <= 1
    with pytest.raises(ConfigError, match="on_the_fly_feats"):
        unmasked(speed_factors=(0.9,))


def test_noise_is_mixed_in_with_the_given_probability(cuts_dir: Path, noise: str) -> None:
    def energies(config: AsrDataConfig) -> dict[str, float]:
        data = AsrDataModule(cuts_dir, config, seed=1)
        return {
            cut_id: float(b["inputs"][row, : int(b["supervisions"]["num_frames"][row])].mean())
            for epoch in (1, 2, 3)
            for b in train_batches(data, epoch)
            for row, cut_id in enumerate(f"{epoch} {i}" for i in b["ids"])
        }

    plain = energies(unmasked())
    for probability, at_least, at_most in ((1.0, 1.0, 1.0), (0.5, 0.25, 0.75), (0.0, 0.0, 0.0)):
        loud = energies(unmasked(noise_cuts=noise, noise_snr=(0.0, 3.0), noise_probability=probability))
        louder = sum(loud[k] > plain[k] + 0.1 for k in plain)
        assert at_least * len(plain) <= louder <= at_most * len(plain), (probability, louder)
        assert all(loud[k] > plain[k] - 1e-3 for k in plain)


def test_missing_noise_is_named(cuts_dir: Path) -> None:
    with pytest.raises(DataError, match="no noise .*nowhere"):
        train_batches(AsrDataModule(cuts_dir, unmasked(noise_cuts="/nowhere.jsonl.gz"), seed=1), 1)


def test_description_changes_with_text_and_times(cuts_dir: Path, tmp_path: Path) -> None:
    cuts = CutSet.from_file(cuts_dir / "ml2021_cuts_train.jsonl.gz").to_eager()

    def described(changed: CutSet) -> str:
        changed.to_file(tmp_path / "ml2021_cuts_train.jsonl.gz")
        return AsrDataModule(tmp_path, AsrDataConfig(), seed=1).describe()["train cuts"]

    def with_text(text: str) -> CutSet:
        first = cuts[0].map_supervisions(lambda s: replace(s, text=text))
        return CutSet.from_cuts([first, *list(cuts)[1:]])

    same, again = described(cuts), described(cuts)
    assert same == again and same.startswith("12 cuts, 0.00 h, sha256 ")
    assert len({same, described(with_text("other")), described(cuts.subset(first=11))}) == 3
