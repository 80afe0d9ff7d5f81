"""Every word of the texts has pronunciation units, and words that sound the same have the same ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lhotse_prep.tokens.pronunciation_units import BLANK_ID, PronunciationUnits
from lhotse_prep.workflow.errors import DataError

TEXTS = [
    "我 們 來 講 機 器 學 習 的 attention 跟 self-supervised learning",
    "那 呃 這 個 t-sne 是 一 個 3×3 的 generator 98%",
    "媽 麻 馬 罵 嗎 事 是 世 市",
    "々 々 好 〇 一 \U00031350 \U00031351 人",  # some characters have no reading, alone and in a row
    "only english here",
]


@pytest.fixture(scope="module")
def units() -> PronunciationUnits:
    return PronunciationUnits.of_texts(TEXTS, 60)


@pytest.mark.parametrize("text", TEXTS)
def test_every_word_has_units_and_none_is_blank(units: PronunciationUnits, text: str) -> None:
    words = text.split()
    encoded = units.encode_words(words)
    assert len(encoded) == len(words) and all(encoded)
    assert all(BLANK_ID < u < len(units) for word in encoded for u in word)


def test_all_units_are_used(units: PronunciationUnits) -> None:
    used = {u for text in TEXTS for word in units.encode_words(text.split()) for u in word}
    assert used == set(range(1, len(units)))


def test_tones_make_no_difference(units: PronunciationUnits) -> None:
    first, *others = units.encode_words(["媽", "麻", "馬", "罵", "嗎"])
    assert all(other == first for other in others) and len(first) == 2  # m, a
    assert units.encode_words(["事"]) == units.encode_words(["是"]) != units.encode_words(["機"])


def test_characters_without_a_reading_differ_from_each_other(units: PronunciationUnits) -> None:
    encoded = units.encode_words(["々", "〇", "𱍑"])
    assert len({tuple(word) for word in encoded}) == 3
    assert units.encode_words(["々", "々", "好"])[1:] == units.encode_words(["々", "好"])


def test_english_words_are_spelled_the_same_anywhere(units: PronunciationUnits) -> None:
    rng = random.Random(0)
    words = TEXTS[0].split() + TEXTS[4].split()
    alone = {w: units.encode_words([w])[0] for w in words if w.isascii()}
    for _ in range(10):
        rng.shuffle(words)
        for word, encoded in zip(words, units.encode_words(words), strict=True):
            assert not word.isascii() or encoded == alone[word]


def test_no_english_and_no_chinese_are_fine() -> None:
    assert PronunciationUnits.of_texts(["我 們"], 50).encode_words(["我"])
    assert PronunciationUnits.of_texts(["deep learning"], 50).encode_words(["deep"])


def test_loaded_units_are_the_saved_ones_and_unknown_words_have_none(units: PronunciationUnits, tmp_path: Path) -> None:
    units.save(tmp_path)
    loaded = PronunciationUnits.load(tmp_path)
    assert len(loaded) == len(units)
    for text in TEXTS:
        assert loaded.encode_words(text.split()) == units.encode_words(text.split())
    assert loaded.encode_words(["我", "\U00031352"])[1] == []
    (tmp_path / "units.bpe.model").unlink()
    with pytest.raises(DataError, match="units.bpe.model"):
        PronunciationUnits.load(tmp_path)
