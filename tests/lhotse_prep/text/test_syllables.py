"""Toneless pinyin of single characters and of runs."""

from __future__ import annotations

import pytest

from lhotse_prep.text.syllables import initials_and_finals, syllable


@pytest.mark.parametrize(
    ("character", "expected"), [("八", "ba"), ("把", "ba"), ("女", "nv"), ("們", "men"), ("\U000323af", "\U000323af")]
)
def test_syllable(character: str, expected: str) -> None:
    assert syllable(character) == expected


def test_initials_and_finals_of_a_run() -> None:
    assert initials_and_finals("媽我") == [("m", "a"), ("w", "o")]
    assert initials_and_finals("") == []


def test_neighbours_decide_the_reading() -> None:
    assert initials_and_finals("快乐")[1] == ("l", "e") and initials_and_finals("音乐")[1] == ("y", "ue")


def test_characters_without_a_reading_have_no_parts() -> None:
    assert initials_and_finals("好\U000323ae\U000323af人") == [("h", "ao"), ("", ""), ("", ""), ("r", "en")]
