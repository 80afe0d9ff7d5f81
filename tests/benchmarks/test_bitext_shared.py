"""The measures of the benchmark of sentence pairs, on examples."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lhotse_prep.bitext.pairs import LectureText, Pair

PATH = Path(__file__).parents[2] / "benchmarks" / "bitext_shared.py"
SPEC = importlib.util.spec_from_file_location("bitext_shared", PATH)
assert SPEC is not None and SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)

LECTURE = LectureText("x", [*"甲乙丙丁戊己"], ["We", "say", "it", "Then", "we", "go", "on"])


def test_an_anchor_is_where_both_phrases_begin(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("丙 丁\tThen we\n戊\tgo\n", encoding="utf-8")
    assert benchmark.anchors(LECTURE, tmp_path / "x.tsv") == [(2, 3), (4, 5)]
    (tmp_path / "x.tsv").write_text("丙\tnowhere\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="occurs 0 times"):
        benchmark.anchors(LECTURE, tmp_path / "x.tsv")


def test_places_between_the_pairs_are_interpolated() -> None:
    pairs = [Pair(0, 2, 0, 3, 1.0), Pair(2, 4, 3, 4, 1.0)]
    assert benchmark.errors(pairs, [(2, 3), (4, 5), (1, 0)]).tolist() == [0.0, 0.0, 1.5]
