"""Ids of rows are unique file names, on every file system; rows that would share one are found."""

from __future__ import annotations

import random
from pathlib import Path, PurePosixPath

import pytest

from lhotse_prep.corpora.tables.row_ids import ids_across_parts, repeated_ids, unique_ids
from lhotse_prep.corpora.tables.rows import RowPlace
from lhotse_prep.workflow.errors import DataError


def places(*files: str, part: str = "train") -> list[RowPlace]:
    return [RowPlace(Path(f"{part}.parquet"), 0, i, part, file, f"{part}.parquet") for i, file in enumerate(files)]


@pytest.mark.parametrize("seed", range(50))
def test_rows_that_are_kept_have_ids_of_their_own(seed: int) -> None:
    """Random folders, stems with spaces, dots and capitals, suffixes and Unicode forms in three parts."""
    rng = random.Random(seed)
    rows = []
    for part in ("train", "dev", "test"):
        files = [
            "".join(rng.choices(["x/", "y/", "x_", ""], k=2))
            + rng.choice(["a", "A", "a b", "a_b", "é", "e\u0301", ".a", "dev_a", "test_a"])
            + rng.choice([".wav", ".flac", ".1.wav"])
            for _ in range(12)
        ]
        rows += places(*files, part=part)
    for ids, within in ((unique_ids(rows, across_parts=True), "the corpus"), (ids_across_parts(rows), "{part}")):
        repeated = repeated_ids(rows, ids, "row", within)
        kept = [name.casefold() for i, name in enumerate(ids) if i not in repeated]
        assert len(kept) == len(set(kept))
        assert {ids[i].casefold() for i in repeated} <= set(kept)
        assert all(name and "/" not in name and " " not in name and not name.startswith(".") for name in ids)


def test_messages_name_both_rows() -> None:
    rows = places("a.wav", "a.flac", "b c.wav", "b_c.wav", "d.wav", "d.wav")
    findings = repeated_ids(rows, unique_ids(rows, across_parts=True), "lecture", "the corpus")
    assert [(i, f.message) for i, f in findings.items()] == [
        (1, "`file` a.wav in train.parquet, row 0 and a.flac in train.parquet, row 1 give the same id a"),
        (3, "`file` b c.wav in train.parquet, row 2 and b_c.wav in train.parquet, row 3 give the same id b_c"),
        (5, "`file` d.wav is in train.parquet, row 4 and in train.parquet, row 5"),
    ]


def test_a_windows_path_and_an_impossible_name() -> None:
    assert unique_ids(places("C:\\audio\\week 1.wav"), across_parts=True) == ["week_1"]
    with pytest.raises(DataError, match=r"train\.parquet, row 0, `file` \.\.\.: '' cannot name a lecture"):
        unique_ids(places("..."), across_parts=True)


def test_stems_of_other_parts_do_not_change_ids_within_a_part() -> None:
    rows = places("x/a.wav", "y/b.wav") + places("z/a.wav", part="dev")
    assert ids_across_parts(rows) == ["a", "b", "dev_a"]
    assert unique_ids(rows, across_parts=True) == ["x_a", "b", "z_a"]
    assert [PurePosixPath(r.file).stem for r in rows] == ["a", "b", "a"]
