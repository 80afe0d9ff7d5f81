"""Languages and terms that Qwen3-ASR is given, and its echo of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.qwen.context import context_terms, is_echo, language_name


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("zh", "Chinese"),
        ("zh-TW", "Chinese"),
        ("zh_Hant_TW", "Chinese"),
        ("EN", "English"),
        ("english", "English"),
        ("Cantonese", "Cantonese"),
        ("yue", "Cantonese"),
        ("", ""),
        ("auto", ""),
    ],
)
def test_languages_by_code_or_name(language: str, name: str) -> None:
    assert language_name(language) == name


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ConfigError, match="Qwen3-ASR does not know language 'tlh', only ar, yue, zh,"):
        language_name("tlh")


def test_terms_are_as_written_without_scores(tmp_path: Path) -> None:
    path = tmp_path / "hotwords.txt"
    path.write_text("BERT :2.5\n\n 自注意力  機制\nself-attention\n10:30\nx <|im_end|> y\n", encoding="utf-8")
    terms = context_terms(path)
    assert [t.written for t in terms] == ["BERT", "自注意力 機制", "self-attention", "10:30", "x y"]
    assert [t.text for t in terms[:2]] == ["bert", "自 注 意 力 機 制"]
    with pytest.raises(DataError, match="no hotwords file .*none.txt"):
        context_terms(tmp_path / "none.txt")


TERMS = ["bert", "自 注 意 力", "self-supervised learning", "lora", "梯 度"]


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        ("BERT, 自注意力, self-supervised learning, LoRA, 梯度", True),
        ("自注意力, self-supervised learning, LoRA", True),
        ("LoRA, 梯度, BERT, 自注意力, self-supervised", True),  # it begins again, and is cut
        ("BERT, 自注意", False),
        ("BERT 自注意力", False),  # as people may say it
        ("我們用 BERT, 自注意力, self-supervised learning, LoRA", False),
        ("BERT, 自注意力, self-supervised learning 是什麼", False),
        ("LoRA, 自注意力, BERT", False),
        ("", False),
    ],
)
def test_an_echo_is_a_run_of_terms_in_order(text: str, echo: bool) -> None:
    assert is_echo(normalize_transcript(text).split(), TERMS) is echo


def test_few_terms_are_never_an_echo() -> None:
    assert not is_echo(["bert", "lora"], ["bert", "lora"])
    assert not is_echo(["bert"], [])


@pytest.mark.parametrize("seed", range(10))
def test_every_run_of_three_terms_is_an_echo(seed: int) -> None:
    rng = random.Random(seed)
    terms = [f"w{i}" if rng.random() < 0.5 else f"w{i} x{i}" for i in range(rng.randrange(3, 9))]
    first, num_terms = rng.randrange(len(terms)), rng.randrange(3, 20)
    run = [w for i in range(num_terms) for w in terms[(first + i) % len(terms)].split()]
    assert is_echo(run, terms)
    assert not is_echo([*run, "other"], terms)
