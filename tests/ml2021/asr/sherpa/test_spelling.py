"""Words from tokens in the spellings of sherpa-onnx's models, and words spread over speech."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from lhotse_prep.audio.vad import HANGOVER
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.byte_bpe import to_byte_chars
from ml2021.asr.sherpa.speech_level import SAMPLE_RATE, loud_regions
from ml2021.asr.sherpa.spelling import TimedText, words_of_text, words_of_tokens
from ml2021.asr.sherpa.token_table import SherpaTokens

SPACED = SherpaTokens(frozenset(), is_byte_bpe=False, joins_by_marks=False, unit="", case="lower")
MARKED = SherpaTokens(frozenset(), is_byte_bpe=False, joins_by_marks=True, unit="", case="lower")
BYTES = SherpaTokens(frozenset(), is_byte_bpe=True, joins_by_marks=False, unit="", case="lower")
LONG = np.array([[0.0, 1000.0]])


def timed(symbols: list[str], step: float = 0.3, probability: float = 0.5) -> list[TimedText]:
    return [TimedText(s, i * step, None, probability) for i, s in enumerate(symbols)]


@pytest.mark.parametrize(
    ("table", "symbols", "words"),
    [
        (SPACED, [" MO", "DEL", "停", "在", " A", "B"], "model 停 在 ab"),
        (SPACED, ["▁mo", "del", "停", "▁", "a", "▁b"], "model 停 a b"),
        (SPACED, ["停在", "model", " is", "好 的"], "停 在 model is 好 的"),
        (SPACED, ["<|zh|>", "<|NEUTRAL|>", "你", "<unk>", "好", "</s>", "<sos/eos>"], "你 好"),
        (SPACED, ["<0xE4>", "<0xBD>", "<0xA0>", "<0xE5>", " ok"], "你 ok"),
        (SPACED, [" It", "'", "s", " 3", ".", "5", "%", "。", "好", "！"], "it's 3.5% 好"),
        (SPACED, ["yes", "<space>", "n", "o"], "yes no"),
        (SPACED, [" self", "-", "atten", "tion", ","], "self-attention"),
        (MARKED, ["你", "hel@@", "lo", "world", "好", "a@@", "b@@", "c"], "你 hello world 好 abc"),
        (MARKED, ["the", "cat"], "the cat"),
        (BYTES, ["▁" + to_byte_chars("你")[:2], to_byte_chars("你")[2:] + "▁" + to_byte_chars("o"), "k"], "你 ok"),
        (SPACED, [], ""),
        (SPACED, ["。", " "], ""),
    ],
)
def test_words_of_each_spelling(table: SherpaTokens, symbols: list[str], words: str) -> None:
    assert " ".join(w.text for w in words_of_tokens(timed(symbols), table, LONG)) == words


def random_text(rng: random.Random) -> str:
    pieces = ["你", "好", "模", "型", "model", "attention", "self-attention", "x", "3.5", "GPU"]
    return " ".join(rng.choices(pieces, k=rng.randint(1, 12)))


@pytest.mark.parametrize("seed", range(60))
def test_words_do_not_depend_on_how_text_is_cut_into_tokens(seed: int) -> None:
    """Characters or bytes are cut anywhere; times ascend, and each word starts with its first token."""
    rng = random.Random(seed)
    text = random_text(rng)
    table = (SPACED, BYTES)[seed % 2]
    spelled = text if table is SPACED else "▁".join(to_byte_chars(word) for word in text.split(" "))
    cuts = sorted({0, len(spelled), *(rng.randrange(len(spelled) + 1) for _ in range(len(spelled)))})
    tokens = [TimedText(spelled[a:b], 0.4 * a, None, 0.9) for a, b in zip(cuts, cuts[1:])]
    words = words_of_tokens(tokens, table, LONG)
    assert [w.text for w in words] == normalize_transcript(text).split()
    assert all(w.start <= w.end for w in words)
    assert all(a.end <= b.start + 1e-9 for a, b in zip(words, words[1:]))
    assert all(math.isclose(w.score, 0.9) for w in words)


def test_times_are_those_of_the_tokens() -> None:
    tokens = [TimedText("你", 1.0, None, 0.25), TimedText(" mo", 1.4, None, 0.5), TimedText("del", 1.8, None, 0.125)]
    first, second = words_of_tokens(tokens, SPACED, np.array([[0.8, 2.5], [3.0, 4.0]]))
    assert (first.start, first.end, first.score) == pytest.approx((0.8, 1.4, 0.25))  # begins with the speech
    assert (second.start, second.end) == pytest.approx((1.4, 2.5 - HANGOVER))  # ends with it
    assert second.score == pytest.approx((0.5**2 * 0.125**3) ** (1 / 5))


def test_durations_end_words() -> None:
    tokens = [TimedText(" a", 1.0, 1.2, 1.0), TimedText("b", 1.2, 1.5, 1.0), TimedText(" c", 2.0, 2.1, 1.0)]
    assert [(w.start, w.end) for w in words_of_tokens(tokens, SPACED, LONG)] == [(1.0, 1.5), (2.0, 2.1)]


def test_text_is_spread_by_what_takes_long() -> None:
    words = words_of_text("你 attention，好。", np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert [w.text for w in words] == ["你", "attention", "好"]
    assert words[0].start == 1.0 and words[-1].end == pytest.approx(4.0)
    assert words[1].end - words[1].start > words[0].end - words[0].start
    assert words_of_text("。", LONG) == []


def test_loud_regions_are_where_the_tones_are() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1e-3, 6 * SAMPLE_RATE).astype(np.float32)
    for begin, end in ((1.0, 2.0), (2.05, 3.0), (4.0, 5.0)):
        samples[int(begin * SAMPLE_RATE) : int(end * SAMPLE_RATE)] += rng.normal(
            0, 0.1, int((end - begin) * SAMPLE_RATE + 0.5)
        )
    np.testing.assert_allclose(loud_regions(samples), [[1.0, 3.0], [4.0, 5.0]], atol=0.07)
    for flat in (np.zeros(SAMPLE_RATE, np.float32), rng.normal(0, 0.1, SAMPLE_RATE).astype(np.float32)):
        assert loud_regions(flat).tolist() == [[0.0, 1.0]]
    assert loud_regions(np.ones(1, np.float32)).tolist() == [[0.0, 1 / SAMPLE_RATE]]
