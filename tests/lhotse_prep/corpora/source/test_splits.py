"""splits.yaml is checked and keeps names as they are written; without it, whole lectures go to one part each."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.corpora.source.splits import default_splits, read_splits
from lhotse_prep.workflow.errors import DataError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: abc\n", r"splits\.yaml: train must be a list of lectures, such as \[a, b\], got 'abc'"),
        ("train: [a, [b, c]]\n", "train must be a list of lectures"),
        ("train: [../a]\n", r"'\.\./a' cannot name a lecture: .*rename its files"),
        ("train: [/etc/a]\n", "'/etc/a' cannot name a lecture"),
        ("train: ['a b']\n", "'a b' cannot name a lecture"),
    ],
)
def test_splits_must_be_lists_of_plain_names(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "splits.yaml").write_text(content)
    with pytest.raises(DataError, match=message):
        read_splits(tmp_path / "splits.yaml")


def test_lectures_whose_names_look_like_numbers_keep_them(tmp_path: Path) -> None:
    (tmp_path / "splits.yaml").write_bytes(b"\xef\xbb\xbftrain: [10_1, 011]\r\ndev:\r\ntest: [2021-03-05]\r\n")
    splits = read_splits(tmp_path / "splits.yaml")
    assert (splits["train"], splits["dev"], splits["test"]) == (["10_1", "011"], [], ["2021-03-05"])


@pytest.mark.parametrize("num_lectures", range(1, 40))
def test_default_splits_put_each_lecture_in_one_part_and_keep_training(num_lectures: int) -> None:
    lectures = [f"l{i:02d}" for i in range(num_lectures)]
    splits = default_splits(lectures[::-1])
    assert sorted(sum(splits.values(), [])) == lectures
    assert splits["train"] and len(splits["train"]) >= num_lectures / 3
    assert bool(splits["test"]) == (num_lectures >= 2) and bool(splits["dev"]) == (num_lectures >= 3)
