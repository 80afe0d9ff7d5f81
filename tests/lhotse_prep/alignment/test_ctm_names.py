"""CTM files of others, and names that a CTM line cannot hold: read back as they were, or refused with the line."""

from __future__ import annotations

import random
import sys
import unicodedata
from pathlib import Path

import pytest

from lhotse_prep.alignment.ctm import CtmWord, escaped, is_ctm_line, read_ctm, unescaped, write_ctm
from lhotse_prep.workflow.errors import DataError

NAMES = [
    "my lecture 1",
    "第一講　下",
    "a\tb",
    "a\u00a0b\u2028c",
    "",
    " ",
    "%",
    "%_",
    "%25_",
    "100%",
    "100%25",
    "%41 %",
    "% 41",
    "%4　1",
    ";; not a comment",
    "\ufeffbom",
    "a\r\nb",
    "\ud83d",
    "\ud83d\ude00",
    "%E3%80%80　%",
]


def random_name(rng: random.Random) -> str:
    """A name of characters that are often in the way, and of any other."""
    odd = " \t\n\r\u3000\u00a0\u0085\u2028\x00\x1c%%%_25AFaf;;\ufeff\ud800"
    return "".join(
        rng.choice(odd) if rng.random() < 0.7 else chr(rng.randrange(sys.maxunicode + 1))
        for _ in range(rng.randrange(8))
    )


def test_any_name_and_word_is_read_back(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = NAMES + [random_name(rng) for _ in range(3000)]
    words = [CtmWord(name, i / 10, 0.25, random_name(rng), 0.5) for i, name in enumerate(names)]
    write_ctm(tmp_path / "x.ctm", words)
    assert read_ctm(tmp_path / "x.ctm") == words
    lines = (tmp_path / "x.ctm").read_text(encoding="utf-8").split("\n")[:-1]
    assert [len(line.split()) for line in lines] == [6] * len(words)  # as a program that knows no codes reads it
    assert all(map(is_ctm_line, lines)) and not any(line.startswith(";;") for line in lines)


def test_each_character_of_unicode_is_read_back() -> None:
    for start in range(0, sys.maxunicode + 1, 997):
        name = "".join(map(chr, range(start, min(start + 997, sys.maxunicode + 1))))
        assert unescaped(escaped(name)) == name and len(escaped(name).split()) == 1


@pytest.mark.parametrize(
    "name", ["week1", "第一講", "a-b_c.wav", "50%", "100%off", "a;;b", unicodedata.normalize("NFD", "é")]
)
def test_names_that_fit_are_written_as_they_are(name: str) -> None:
    assert escaped(name) == name == unescaped(name)


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "x.ctm"
    lines = [
        ";; comment",
        "week1\tA\t0.5\t2e-1\t我",
        "week1 0 .75 1. b -1.5 lex spk1",
        "",
        "%FF%E9 channel 1 1 c NA",
        "wk　1 2 1 1 d",
    ]
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert read_ctm(path) == [
        CtmWord("week1", 0.5, 0.2, "我"),
        CtmWord("week1", 0.75, 1.0, "b", -1.5),
        CtmWord("%FF%E9", 1.0, 1.0, "c"),
        CtmWord("wk　1", 1.0, 1.0, "d"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("week1 1 * * <ALT_BEGIN>", r"alternatives \(<ALT_BEGIN>\) are not read"),
        ("week1 1 1,5 0,2 a", "'1,5' is no time in seconds; write a decimal point"),
        ("week1 1 1_5 0.2 a", "'1_5' is no time in seconds"),
        ("week1 1 １ 0.2 a", "'１' is no time in seconds"),
        ("week1 1 nan 0.2 a", "'nan' is no time in seconds"),
        ("week1 1 inf 0.2 a", "'inf' is no time in seconds"),
        ("week1 1 1e999 0.2 a", "'1e999' is no time in seconds"),
        ("week1 1 -0.5 0.2 a", "'-0.5' is no time in seconds"),
        ("week1 1 0.5 -0.2 a", "'-0.2' is no time in seconds"),
        ("week1 1 0.5 0.2 a nan", "expected 'recording channel start duration word'"),
        ("my lecture 1 1 0.500 0.200 word 0.9", "has a space in the name of its recording, it seems; write it as %20"),
        ("my talk 1 0.5 0.2 word 0.9", "expected 'recording channel start duration word'"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.ctm").write_text(f"week1 1 0 1 a\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"x\.ctm, line 2: .*{message}"):
        read_ctm(tmp_path / "x.ctm")
