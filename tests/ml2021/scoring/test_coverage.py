"""The rate with missing words as deletions, by hand."""

from __future__ import annotations

from ml2021.scoring.counts import score
from ml2021.scoring.coverage import coverage


def test_missing_words_are_deletions_of_their_language() -> None:
    rate = score([("a-1", "我 們 deep", "我 deep"), ("a-2", "net", "net 的")])
    result = coverage(rate, ["我們 deep 用 x", "net"])
    assert result.summary() == {"percent": 66.667, "words": 4, "words_transcribed": 6}
    assert str(result.complete.total) == "66.67% (4 / 6: 1 ins, 3 del, 0 sub)"
    assert str(result.complete.zh) == "100.00% (3 / 3: 1 ins, 2 del, 0 sub)"
    assert str(result.complete.en) == "33.33% (1 / 3: 0 ins, 1 del, 0 sub)"


def test_all_words_in_windows_change_nothing() -> None:
    rate = score([("a", "我 們 deep", "我 deep")])
    result = coverage(rate, ["我 們 deep"])
    assert result.percent == 100.0 and result.complete.percents() == rate.percents()


def test_part_without_words() -> None:
    result = coverage(score([]), [""])
    assert result.percent is None and "no words" in str(result)
