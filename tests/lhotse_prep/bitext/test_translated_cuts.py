"""Each translation is attached once, in order, in the window that holds its sentence; those left out are counted."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.utils import fastcopy

from lhotse_prep.bitext import translated_cuts
from lhotse_prep.bitext.translated_cuts import with_translations, write_translated_cuts
from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl


def windows(*token_counts: list[int]) -> CutSet:
    """One window for each list, with one supervision for each number of tokens in it."""
    recording = Recording("l", [], 16_000, 16_000_000, 1000.0)
    cuts, token = [], 0
    for number, counts in enumerate(token_counts):
        supervisions = []
        for i, count in enumerate(counts):
            custom = {"first_token": token, "confidence": 0.9}
            supervisions.append(SupervisionSegment(f"{number}-{i}", "l", i, 1.0, text="我 " * count, custom=custom))
            token += count
        cuts.append(MonoCut(f"l-{number}", number * 10, 10, 0, recording=recording, supervisions=supervisions))
    return CutSet.from_cuts(cuts)


def pair(first: int, count: int, target: str, lecture: str = "l") -> dict[str, Any]:
    return {"lecture": lecture, "first_token": first, "num_tokens": count, "target": target}


def translations(cuts: CutSet) -> list[list[str | None]]:
    return [[s.custom.get("translated_text", {}).get("eng") for s in c.supervisions] for c in cuts]


def test_sentences_go_where_they_begin() -> None:
    cuts = windows([3, 3], [4])
    translated, num_left_out = with_translations(cuts, [pair(0, 2, "one"), pair(2, 4, "two"), pair(6, 4, "three")])
    assert translations(translated) == [["one two", None], ["three"]] and num_left_out == 0
    assert all(s.custom["confidence"] == 0.9 for c in translated for s in c.supervisions)


def test_sentence_across_two_windows_is_left_out_and_other_lectures_do_not_count() -> None:
    translated, num_left_out = with_translations(
        windows([3], [3]), [pair(2, 2, "both"), pair(4, 2, "end"), pair(0, 1, "x", "m")]
    )
    assert translations(translated) == [[None], ["end"]] and num_left_out == 1


def test_pairs_with_an_empty_side_add_nothing() -> None:
    translated, num_left_out = with_translations(windows([3]), [pair(0, 0, "only english"), pair(0, 3, "")])
    assert translations(translated) == [[None]] and num_left_out == 0


@pytest.mark.parametrize("seed", range(30))
def test_every_pair_is_in_one_window_or_left_out(seed: int) -> None:
    rng = random.Random(seed)
    cuts = windows(*[[rng.randint(1, 9) for _ in range(rng.randint(1, 4))] for _ in range(12)])
    total = sum(len(s.text.split()) for c in cuts for s in c.supervisions)
    pairs, at = [], 0
    while at < total:
        count = min(rng.randint(1, 8), total - at)
        pairs.append(pair(at, count, f"t{at}"))
        at += count
    translated, num_left_out = with_translations(cuts, pairs)
    placed = [t for c in translations(translated) for text in c if text for t in text.split()]
    assert placed == [p["target"] for p in pairs if p["target"] in placed] and len(placed) + num_left_out == len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_windows_and_pairs_of_lectures_in_any_order(seed: int) -> None:
    rng = random.Random(seed)
    cuts, pairs = [], []
    for name in "abcd":
        for cut in windows(*[[rng.randint(1, 9) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(0, 5))]):
            cut = fastcopy(cut, id=f"{name}{cut.id}", recording=fastcopy(cut.recording, id=name))
            cuts.append(cut)
        pairs += [pair(at, rng.randint(0, 8), rng.choice(["", f"{name}{at}"]), name) for at in range(0, 30, 5)]
    rng.shuffle(cuts)
    rng.shuffle(pairs)
    translated, num_left_out = with_translations(CutSet.from_cuts(cuts), pairs)
    by_lecture = {cut.recording_id: [p for p in pairs if p["lecture"] == cut.recording_id] for cut in cuts}
    expected, num_placed = [], 0
    for cut in cuts:
        tokens = {s.custom["first_token"] + i for s in cut.supervisions for i in range(len(s.text.split()))}
        whole = [
            p
            for p in sorted(by_lecture[cut.recording_id], key=lambda p: p["first_token"])
            if p["target"] and p["num_tokens"] and {p["first_token"], p["first_token"] + p["num_tokens"] - 1} <= tokens
        ]
        num_placed += len(whole)
        expected.append((cut.id, [p["target"] for p in whole]))
    texts = [
        (c.id, [t for text in row if text for t in text.split()])
        for c, row in zip(translated, translations(translated))
    ]
    assert texts == expected
    usable = [p for rows in by_lecture.values() for p in rows if p["target"] and p["num_tokens"]]
    assert num_left_out == len(usable) - num_placed


def test_pairs_and_windows_are_read_lecture_by_lecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lectures = [f"l{i:03d}" for i in range(50)]
    cuts = [fastcopy(c, id=f"{n}{c.id}", recording=fastcopy(c.recording, id=n)) for n in lectures for c in windows([2])]
    write_manifest(tmp_path / "cuts" / "ml2021_cuts_train.jsonl.gz", cuts)
    rows = [pair(0, 2, name, name) for name in lectures]
    for part in ("train", "dev", "test"):
        write_jsonl(tmp_path / "bitext" / f"{part}.jsonl", rows if part == "train" else [])
    num_pairs = 0

    def counting(path: Path, needs: object) -> Iterator[dict[str, Any]]:
        nonlocal num_pairs
        num_pairs = 0
        for row in rows if "train" in path.name else []:
            num_pairs += 1
            yield row

    written: list[str] = []

    def writing(path: Path, items: Iterable[MonoCut]) -> None:
        for cut in items:
            written.append(cut.id)
            assert num_pairs <= len(written) + 1  # of the second reading; the first one is for the ids

    monkeypatch.setattr(translated_cuts, "iterate_pairs", counting)
    monkeypatch.setattr(translated_cuts, "write_manifest", writing)
    write_translated_cuts(tmp_path / "cuts", tmp_path / "bitext", tmp_path / "out")
    assert written == [c.id for c in cuts]


def test_files_have_the_windows_of_each_part_with_translations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part in ("train", "dev", "test"):
        write_manifest(tmp_path / "cuts" / f"ml2021_cuts_{part}.jsonl.gz", windows([3], [3]))
        rows = [pair(0, 2, f"one {part}"), pair(2, 2, "both")]
        write_jsonl(tmp_path / "bitext" / f"{part}.jsonl", rows)
    caplog.set_level(logging.INFO)
    write_translated_cuts(tmp_path / "cuts", tmp_path / "bitext", tmp_path / "out")
    for part in ("train", "dev", "test"):
        cuts = CutSet.from_file(tmp_path / "out" / f"ml2021_cuts_{part}.jsonl.gz")
        assert translations(cuts) == [[f"one {part}"], [None]]
        assert f"{part}: 2 windows; 1 sentence pairs in no window as a whole" in caplog.text


def test_windows_of_another_program_are_refused() -> None:
    cuts = windows([3])
    next(iter(cuts)).supervisions[0].custom = None
    with pytest.raises(DataError, match="supervision 0-0 does not say where it is in its lecture"):
        with_translations(cuts, [pair(0, 2, "one")])
