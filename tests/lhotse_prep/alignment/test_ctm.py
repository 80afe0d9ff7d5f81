"""CTM files: what is written is read back, every line is checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem

from lhotse_prep.alignment.corpus import ctm_words
from lhotse_prep.alignment.ctm import CtmWord, is_ctm_line, read_ctm, write_ctm
from lhotse_prep.alignment.hypotheses import read_hypotheses
from lhotse_prep.workflow.errors import DataError


def test_alignment_written_as_ctm_is_read_back(tmp_path: Path) -> None:
    items = [AlignmentItem("我", 1.5, 0.25, 0.875), AlignmentItem("bert", 2.0, 0.5, 1.0)]
    stretches = [SupervisionSegment("s", "week1", 1.5, 1.0, alignment={"word": items})]
    write_ctm(tmp_path / "x.ctm", ctm_words(stretches))
    assert (tmp_path / "x.ctm").read_text(encoding="utf-8").splitlines() == [
        "week1 1 1.500 0.250 我 0.875",
        "week1 1 2.000 0.500 bert 1.000",
    ]
    week1 = read_hypotheses(tmp_path / "x.ctm")["week1"]
    assert week1.words == ["我", "bert"] and week1.start.tolist() == [1.5, 2.0] and week1.end.tolist() == [1.75, 2.5]


def test_words_written_with_more_digits_are_read_back(tmp_path: Path) -> None:
    words = [CtmWord("week1", 1.25, 0.5, "我", 0.8765), CtmWord("week2", 0.0, 1.0, "bert", -0.5)]
    write_ctm(tmp_path / "x.ctm", words, digits=4)
    assert (tmp_path / "x.ctm").read_bytes() == (
        "week1 1 1.250 0.500 我 0.8765\nweek2 1 0.000 1.000 bert -0.5000\n".encode()
    )
    assert read_ctm(tmp_path / "x.ctm") == words
    assert all(map(is_ctm_line, (tmp_path / "x.ctm").read_text(encoding="utf-8").splitlines()))


def test_confidence_may_be_missing_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text(";; a comment\nweek1 A 0 1 a\nweek1 A 1 1 b NA lex speaker\n")
    assert read_ctm(tmp_path / "x.ctm") == [CtmWord("week1", 0.0, 1.0, "a"), CtmWord("week1", 1.0, 1.0, "b")]


def test_word_in_two_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_text("week1 1 0 1 a\nweek1 1 1 1 deep net\n")
    with pytest.raises(DataError, match=r"x\.ctm, line 2: .*a confidence or nothing; got 'week1 1 1 1 deep net'"):
        read_ctm(tmp_path / "x.ctm")
