"""Forms of an English word have the same stem, different words have different ones."""

from __future__ import annotations

import pytest

from lhotse_prep.bitext.stems import stem


@pytest.mark.parametrize(
    "forms",
    [
        "make makes making made",
        "train trains trained training",
        "run running ran runs",
        "study studies studied studying",
        "use uses used using",
        "predict predicts predicted predicting prediction",
        "model models",
        "box boxes",
        "go goes went gone going",
        "child children",
        "we us our",
        "tell told telling",
    ],
)
def test_forms_of_a_word_have_one_stem(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


def test_different_words_have_different_stems() -> None:
    words = [
        "use",
        "us",
        "bus",
        "loss",
        "lose",
        "need",
        "feed",
        "bring",
        "thing",
        "red",
        "read",
        "sing",
        "single",
        "data",
        "date",
        "go",
        "good",
        "gpt",
        "3",
        "l",
    ]
    assert len({stem(word) for word in words}) == len(words)


@pytest.mark.parametrize("word", ["bert", "0.64", "3d", "x", "lstm", "模型"])
def test_what_is_not_an_english_form_stays(word: str) -> None:
    assert stem(word) == word
