"""Repeated parts are found whatever their length; what people say twice or three times stays."""

from __future__ import annotations

import pytest

from ml2021.asr.whisper.loops import without_loops
from ml2021.asr.words.timed_word import TimedWord


def plain(text: str) -> str:
    words = [TimedWord(t, i, i + 1, 0.5) for i, t in enumerate(text.split())]
    return " ".join(w.text for w in without_loops(words))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("對 對 對 對 對 好", "對 對 對 對 對 好"),
        ("a b a b a b c", "a b a b a b c"),
        ("x " + "呗 " * 100, "x 呗"),
        ("x " + "thank you " * 4 + "y", "x thank you y"),
        ("x " + "a b c d e f g h i j k l " * 5 + "a b", "x a b c d e f g h i j k l a b"),
    ],
)
def test_loops(text: str, expected: str) -> None:
    assert plain(text) == expected
