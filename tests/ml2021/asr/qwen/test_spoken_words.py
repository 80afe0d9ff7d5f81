"""What Qwen3-ASR writes, as words: marks of languages, punctuation, characters of several tokens, probabilities."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from lhotse_prep.text.normalize import normalize_transcript
from ml2021.asr.qwen.spoken_words import WrittenText, without_language_marks, words_of_text, written_text


def written(text: str, log_prob: float = -0.1) -> WrittenText:
    return WrittenText(text, [log_prob] * len(text))


@pytest.mark.parametrize(
    ("text", "transcript"),
    [
        ("language Chinese<asr_text>我們來講 BERT。", "我們來講 BERT。"),
        ("language None<asr_text>fine-tuned so", "fine-tuned so"),
        ("language None<asr_text>", ""),
        ("language None", ""),
        ("language", ""),
        ("", ""),
        ("<asr_text>你好", "你好"),
        ("assistant\nlanguage English<asr_text>Hello.", "Hello."),
        ("language Chinese,English<asr_text>你好 hello", "你好 hello"),
        ("language Chinese<asr_text>你好language English<asr_text> hello", "你好 hello"),
        ("a language model without marks", "a language model without marks"),
        ("language Chinese<asr_text>the language is Chinese", "the language is Chinese"),
        ("language models are large", "language models are large"),
    ],
)
def test_marks_of_languages_are_no_words(text: str, transcript: str) -> None:
    result = without_language_marks(written(text))
    assert result.text == transcript
    assert len(result.log_probs) == len(transcript)


def test_words_are_normalised_and_keep_how_they_are_written() -> None:
    words = words_of_text(written("我們用 Self-Supervised, 98%的 BERT。"))
    assert [w.text for w in words] == ["我", "們", "用", "self-supervised", "98%", "的", "bert"]
    assert [w.written for w in words] == ["我", "們", "用", "Self-Supervised,", "98%", "的", "BERT。"]
    assert all(w.score == pytest.approx(math.exp(-0.1)) for w in words)


def test_scores_are_those_of_the_words_own_tokens() -> None:
    log_probs = [0.0] * 3 + [-1.0] + [-2.0] * 2
    words = words_of_text(WrittenText("ab 我cd", log_probs))
    assert [w.text for w in words] == ["ab", "我", "cd"]
    assert [w.score for w in words] == pytest.approx([1.0, math.exp(-1), math.exp(-2)])


PARTS = [
    "我",
    "們",
    " ",
    "BERT",
    "l(x, y)",
    "3×3",
    "- ",
    "*",
    "98%",
    "，",
    "。",
    "it's",
    "“q”",
    "=>",
    "\n",
    "⋯",
    "x = y + 2",
]


@pytest.mark.parametrize("seed", range(30))
def test_words_are_those_of_the_normalised_text(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice(PARTS) for _ in range(rng.randrange(12)))
    words = words_of_text(written(text, -0.5))
    assert [w.text for w in words] == normalize_transcript(text).split()
    assert all(0 < w.score <= 1 for w in words)


@pytest.mark.parametrize("text", ["我們 BERT 𠮷 é", "", "language Chinese<asr_text>好", "😀"])
def test_tokens_that_share_a_character_are_spelled_together(text: str, tokenizer: Any) -> None:
    ids = tokenizer(text)["input_ids"]
    result = written_text(ids, [-0.1 * i for i in range(len(ids))], tokenizer)
    assert result.text == text
    assert len(result.log_probs) == len(text)
    if text.startswith("我"):  # three bytes each
        assert result.log_probs[:2] == pytest.approx([-0.1, -0.4])


def test_half_a_character_at_the_end_is_no_word(tokenizer: Any) -> None:
    ids = tokenizer("好我")["input_ids"][:-1]
    words = words_of_text(written_text(ids, [-0.1] * len(ids), tokenizer))
    assert [w.text for w in words] == ["好"]
