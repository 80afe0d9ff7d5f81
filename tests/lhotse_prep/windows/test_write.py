"""Stage 4 lecture by lecture: the windows are those that lists would give, whatever the order of the files."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from lhotse_prep.manifests.files import part_file, read_items, write_manifest
from lhotse_prep.windows import write
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.cut import make_windows
from lhotse_prep.windows.write import write_windows
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000
CONFIG = WindowConfig(target_duration=4.0, max_duration=6.0, min_confidence=0.3)


def recording(name: str, folder: Path) -> Recording:
    audio = folder / "audio.flac"
    audio.touch()  # no test here reads it
    return Recording(name, [AudioSource("file", [0], str(audio))], RATE, 60 * RATE, 60.0)


def stretches(name: str, rng: random.Random) -> list[SupervisionSegment]:
    """A few supervisions in order, some of low confidence; maybe none."""
    supervisions, start, token = [], 0.0, 0
    for i in range(rng.randint(0, 6)):
        start += rng.uniform(0.0, 1.5)
        custom = {"first_token": token, "confidence": rng.choice([0.1, 0.9, 0.9])}
        supervisions.append(SupervisionSegment(f"{name}-{i}", name, start, 1.0, text="我 們", custom=custom))
        start, token = start + 1.0, token + 2
    return supervisions


def write_corpus(folder: Path, rng: random.Random, order: str) -> dict[str, list[Recording]]:
    """Write manifests and timed supervisions of random lectures; returns the recordings of each part."""
    recordings = {
        part: [recording(f"{part}{i}", folder) for i in range(rng.randint(1, 6))] for part in ("train", "dev", "test")
    }
    for part, in_part in recordings.items():
        lectures = [stretches(r.id, rng) for r in in_part]
        lectures[0] = lectures[0] or [SupervisionSegment(f"{part}0-0", f"{part}0", 0.0, 1.0, text="我 們")]
        whole = [SupervisionSegment(r.id, r.id, 0.0, 60.0, text="我 們 " * 12) for r in in_part]
        if order != "same":
            rng.shuffle(lectures)
        timed = [s for lecture in lectures for s in lecture]
        if order == "mixed":  # the supervisions of a lecture stand apart, though in their order
            place = {s.id: rng.random() for s in timed}
            names = [s.recording_id for s in sorted(timed, key=lambda s: place[s.id])]
            left = {r.id: iter([s for s in timed if s.recording_id == r.id]) for r in in_part}
            timed = [next(left[name]) for name in names]
        write_manifest(part_file(folder / "m", "recordings", part), in_part)
        write_manifest(part_file(folder / "m", "supervisions", part), whole)
        write_manifest(part_file(folder / "a", "supervisions", part), timed)
    (folder / "a" / "confidence.jsonl").touch()
    return recordings


@pytest.fixture
def without_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "store_features", lambda cuts, folder, executor: iter(cuts))
    monkeypatch.setattr(write, "with_storage_in", lambda cut, folder: cut)


@pytest.mark.parametrize("order", ["same", "other", "mixed"])
@pytest.mark.parametrize("seed", range(5))
def test_windows_are_those_of_lists(seed: int, order: str, tmp_path: Path, without_features: None) -> None:
    for folder in "maw":
        (tmp_path / folder).mkdir()
    recordings = write_corpus(tmp_path, random.Random(seed), order)
    write_windows(tmp_path / "m", tmp_path / "a", tmp_path / "w", tmp_path / "w", CONFIG)
    all_left_out = []
    for part, in_part in recordings.items():
        path = part_file(tmp_path / "a", "supervisions", part)
        timed = list(read_items(path)) if path.is_file() else []
        cuts, left_out = [], []
        for r in in_part:
            of_lecture = [s for s in timed if s.recording_id == r.id]
            windows, dropped = make_windows(r, of_lecture, CONFIG, part == "train")
            cuts += list(windows)
            left_out += dropped
        path = part_file(tmp_path / "w", "cuts", part)
        assert [c.to_dict() for c in (read_items(path) if path.is_file() else [])] == [c.to_dict() for c in cuts]
        summary = json.loads((tmp_path / "w" / "scores.json").read_text())[f"windows_{part}"]
        assert summary["windows"] == len(cuts) and summary["tokens_transcribed"] == 24 * len(in_part)
        assert summary["hours"] == round(sum(c.duration for c in cuts) / 3600, 4)
        assert summary["tokens"] == sum(len(s.text.split()) for c in cuts for s in c.supervisions)
        assert summary["tokens_left_out"] == sum(len(s.text.split()) for s in left_out)
        all_left_out += [s.id for s in left_out]
    assert [row["id"] for row in read_jsonl(tmp_path / "w" / "left_out.jsonl")] == all_left_out


def test_no_lecture_is_cut_before_the_windows_of_the_one_before_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_features: None
) -> None:
    cut_lectures: list[str] = []

    def counting(r: Recording, *args: object) -> object:
        cut_lectures.append(r.id)
        return make_windows(r, *args)  # type: ignore[arg-type]

    def taken(cuts: Iterable[MonoCut], folder: Path, executor: object) -> Iterator[MonoCut]:
        for cut in cuts:
            assert cut_lectures[-1] == cut.recording_id  # with lists, it would be the last lecture
            yield cut

    monkeypatch.setattr(write, "make_windows", counting)
    monkeypatch.setattr(write, "store_features", taken)
    (tmp_path / "w").mkdir()
    write_corpus(tmp_path, random.Random(3), "same")
    write_windows(tmp_path / "m", tmp_path / "a", tmp_path / "w", tmp_path / "w", CONFIG)
    assert len(cut_lectures) > 4


def test_errors_of_a_later_part_are_raised_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_features: None
) -> None:
    monkeypatch.setattr(write, "make_windows", lambda *_: pytest.fail("it began to work"))
    (tmp_path / "w").mkdir()
    recordings = write_corpus(tmp_path, random.Random(0), "same")
    path = part_file(tmp_path / "m", "recordings", "test")
    write_manifest(path, [*recordings["test"], recordings["test"][0]])
    with pytest.raises(DataError, match=f"{path}: recording test0 is in it twice"):
        write_windows(tmp_path / "m", tmp_path / "a", tmp_path / "w", tmp_path / "w", CONFIG)
    assert list((tmp_path / "w").iterdir()) == []


def test_times_of_recordings_that_are_not_there_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, without_features: None
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "w").mkdir()
    recordings = write_corpus(tmp_path, random.Random(0), "same")
    strange = [SupervisionSegment(f"x{i}", "x", i, 1.0, text="我") for i in range(3)]
    timed = list(read_items(part_file(tmp_path / "a", "supervisions", "train")))
    write_manifest(part_file(tmp_path / "a", "supervisions", "train"), [*strange, *timed])
    write_windows(tmp_path / "m", tmp_path / "a", tmp_path / "w", tmp_path / "w", CONFIG)
    assert "train: 3 timed supervisions are of recordings that the manifests do not have, such as x" in caplog.text
    assert len(recordings["train"]) > 0 and part_file(tmp_path / "w", "cuts", "train").is_file()
