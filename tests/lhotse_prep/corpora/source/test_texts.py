"""Plain texts of lectures, whatever is in them, are not taken for subtitles, times or other forms."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lhotse_prep.corpora.source.texts import check_same_texts, markup_kind, read_plain_text, text_digest
from lhotse_prep.workflow.errors import DataError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "我 們 今 天 講 bert 的 3×3 和 l(x)",
        "at 10:30 we begin\nand at 12:00 we end\nthat is all\nfor today\nand tomorrow\nthe end",
        "[music] hello\n[laughter] well",
        "1. first\n2. second\n3. third",
        "第一 講\n第二 講\n第三 講",
        "a ratio of 16:9\nand of 4:3\nand 1:1",
        "x --> y means x implies y",
        "<s> is a token, </s> another",
        "{ braces } and [ brackets ]",
        "a" + 5000 * "1" + " is no id\nb2",
        "gpt3 is large\ngpt2 is smaller\ngpt4 is larger",
    ],
)
def test_what_lecturers_say_is_plain(text: str, tmp_path: Path) -> None:
    assert markup_kind(text) is None
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_plain_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize("seed", range(30))
def test_any_bytes_are_a_text_or_one_line(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    content = bytes(rng.randrange(256) for _ in range(rng.randint(0, 40)))
    if seed % 3 == 0:
        content = "我們 講 BERT\n".encode(rng.choice(["utf-16", "utf-16-be", "big5", "gb18030", "utf-32", "utf-8"]))
    (tmp_path / "a.txt").write_bytes(content)
    try:
        text = read_plain_text(tmp_path / "a.txt")
    except DataError as e:
        assert str(e).startswith(str(tmp_path / "a.txt")) and "\n" not in str(e)
    else:
        assert text.encode() == content.removeprefix(b"\xef\xbb\xbf") and "\0" not in text


def test_texts_are_the_same_whatever_their_marks_and_case() -> None:
    texts = {"a": "我 們，講 BERT。", "b": "我們講bert", "c": "我們講 bert 2", "d": "", "e": " "}
    lectures = [("train", name, text_digest(text), "") for name, text in texts.items()]
    assert [(f.id, f.check, f.is_error) for f in check_same_texts(lectures)] == [("b", "same-transcript", False)]
