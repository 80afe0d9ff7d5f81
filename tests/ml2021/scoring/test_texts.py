"""Transcripts of other systems are read in every format, and damaged lines are reported."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.error_rate import report
from ml2021.scoring.texts import formats_of, read_texts

CTM = ";; made by another system\nw1 1 0.50 0.2 學 0.9\nw1 1 0.10 0.4 機\nw2 A 3 1 deep -0.7\n"


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("utt-1 我 們 deep\nutt-2\n\nutt-3  好 \n", {"utt-1": "我 們 deep", "utt-2": "", "utt-3": "好"}),
        ("\ufeffa 我\r\nb 你\r\n", {"a": "我", "b": "你"}),
        ("我們用 deep net\n好\n", {"1": "我們用 deep net", "2": "好"}),
        ("so we train\nso we test\nso\n", {"1": "so we train", "2": "so we test", "3": "so"}),
        ("a-1:\tref=['我', \"it's\"]\na-1:\thyp=[]\n", {"a-1": ""}),
        (CTM, {"w1": "機 學", "w2": "deep"}),
        ("第一講-1 我 們\n第一講-2 好\n", {"第一講-1": "我 們", "第一講-2": "好"}),
        ("лекция-0001 我\nлекция-0002\n", {"лекция-0001": "我", "лекция-0002": ""}),
        (
            "第一講\u3000上-0001 我\n第一講\u3000上-0002\t好\n",
            {"第一講\u3000上-0001": "我", "第一講\u3000上-0002": "好"},
        ),
        ("我 們 (lec-1)\n (lec-2)\n", {"lec-1": "我 們", "lec-2": ""}),
        (";; x\nw1 1 a 3.5 4 <o> 好\nw1 1 a 0.0 3.2 我 們\n", {"w1": "我 們 好"}),
        ("cafe\u0301-1 我\n", {"caf\u00e9-1": "我"}),
        ("", {}),
    ],
)
def test_formats_are_recognised(tmp_path: Path, content: str, texts: dict[str, str]) -> None:
    (tmp_path / "x").write_text(content, encoding="utf-8", newline="")
    result = read_texts(tmp_path / "x", "hyp")
    assert result == texts and list(result) == list(texts)


def test_blank_lines_are_lines_without_ids(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("我們 好\n\n好\n", encoding="utf-8")
    assert read_texts(tmp_path / "x", "hyp", "bare") == {"1": "我們 好", "2": "", "3": "好"}


RECOGS = "第一講-0001:\tref=['我']\n第一講-0001:\thyp=['我']\n"


@pytest.mark.parametrize(
    ("ref", "hyp", "formats"),
    [
        ("lec-1 我\nlec-2 好\n", "lec-2 好\nlec-1 我\n", ["kaldi", "kaldi"]),
        ("第一講-0001 我\n第一講-0002 好\n", "第一講-0001\n第一講-0002 好\n", ["kaldi", "kaldi"]),
        ("第一講-0001 我\n第一講-0002 好\n", "第一講 我 好\n", ["kaldi", "kaldi"]),
        ("1089-134686-0000 so\n1089-134686-0001 so\n", "1089-134686-0000 so\n1089-134686-0001\n", ["kaldi"] * 2),
        ("강의-1 我\n강의-2 我\n", "강의-1 我\n강의-2 好\n", ["kaldi", "kaldi"]),
        ("0001 我\n0002 我\n", "0001 我\n0002 好\n", ["kaldi", "kaldi"]),
        ("1-1 我\n1-2 我\n", "1 我 好\n", ["kaldi", "kaldi"]),
        ("我們 用 net\n好\n", "我們用 net\n好\n", ["bare", "bare"]),
        ("我 們\n我\n", "我\n我 們\n", ["bare", "bare"]),
        ("我們\n好\n", "我們\n好\n", ["bare", "bare"]),  # nothing but ids would be no reference
        ("so we train\nso\n", "so we\n\n", ["bare", "bare"]),
        (RECOGS, "第一講-0001 我\n", ["recogs", "kaldi"]),
        ("第一講-0001 我\n", "第一講 1 0.5 0.2 我\n", ["kaldi", "ctm"]),
    ],
)
def test_reference_and_hypothesis_say_together_what_is_an_id(
    tmp_path: Path, ref: str, hyp: str, formats: list[str]
) -> None:
    for name, content in (("ref", ref), ("hyp", hyp)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert formats_of(tmp_path / "ref", [tmp_path / "hyp"]) == formats


@pytest.mark.parametrize(
    ("ref", "hyp", "message"),
    [
        ("第一講 我 們\n第二講 好\n", "第一講 我\n第二講 好\n", r"\(第一講, 第二講, \.\.\.\) may be ids or text"),
        ("hello world\ngood day\n", "hello word\ngood day\n", "may be ids or text; .*--format kaldi .*--format bare"),
        ("1 個\n2 個\n", "1 個\n2 個\n", "may be ids or text"),
        ("我們 好\n好\n", "我們 好\n", "have 2, 1 lines, and these do not begin with the same ids; .*--format bare"),
        ("我們 好\n", "", "have 1, 0 lines"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, ref: str, hyp: str, message: str) -> None:
    for name, content in (("ref", ref), ("hyp", hyp)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        formats_of(tmp_path / "ref", [tmp_path / "hyp"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a", "text": "我"}\n', "is JSON; give plain text, CTM, STM, TRN, or a recogs file"),
        ("WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n我\n", "is WebVTT subtitles"),
        ("1\n00:00:01,000 --> 00:00:02,000\n我\n", "is subtitles"),
        ("id,text\nlec-1,我\nlec-2,好\n", "a comma, semicolon or bar follows the ids"),
        ("lec-1|我\nlec-2|好\n", r"follows the ids \(lec-1\)"),
        ("my lec-1 我 們\nmy lec-2 好\n", r"ids with spaces \(my lec-1\); write them without"),
        ("第一 講-0001 我\n第一 講-0002 好\n", r"ids with spaces \(第一 講-0001\)"),
        ("lec 1 s 0 3 ignore_time_segment_in_scoring\n", "ignore_time_segment_in_scoring is not supported"),
    ],
)
def test_what_is_no_text_is_not_taken_for_text(tmp_path: Path, content: str, message: str) -> None:
    """Ids and marks would count as words on both sides, and the rate would be too low."""
    (tmp_path / "x").write_text(content, encoding="utf-8")
    for read in (lambda p: formats_of(p, [p]) and read_texts(p, "ref"), lambda p: read_texts(p, "ref")):
        with pytest.raises(DataError, match=message):
            read(tmp_path / "x")


@pytest.mark.parametrize("seed", range(40))
def test_a_known_number_of_edits_gives_that_rate_whatever_the_ids_order_and_format(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    name, number = (
        rng.choice(["lec", "第一講", "лекция", "week10_1", "a.b"]),
        rng.choice(["-{}", "-{:04d}", "_{:04d}", "-{}-a"]),
    )
    words = ["我", "們", "net", "deep", "x^2", "好"]
    refs = {name + number.format(i): rng.choices(words, k=rng.randint(1, 8)) for i in range(1, rng.randint(3, 24))}
    hyps = {i: list(text) for i, text in refs.items()}
    for i in (changed := rng.sample(sorted(hyps), rng.randint(0, 2))):
        hyps[i][rng.randrange(len(hyps[i]))] = "q"
    kind = rng.choice(["kaldi", "trn", "ctm"])
    lines = {
        "kaldi": [f"{i} {' '.join(text)}\n" for i, text in hyps.items()],
        "trn": [f"{' '.join(text)} ({i})\n" for i, text in hyps.items()],
        "ctm": [f"{name} 1 {t}.00 0.5 {w}\n" for t, w in enumerate(w for text in hyps.values() for w in text)],
    }[kind]
    (tmp_path / "hyp").write_text("".join(rng.sample(lines, len(lines))), encoding="utf-8")
    ref_lines = [f"{i} {' '.join(text)}\n" for i, text in refs.items()]
    (tmp_path / "ref").write_text("".join(rng.sample(ref_lines, len(ref_lines))), encoding="utf-8")
    assert formats_of(tmp_path / "ref", [tmp_path / "hyp"]) == ["kaldi", kind]
    result = report(read_texts(tmp_path / "ref", "ref", "kaldi"), {"x": read_texts(tmp_path / "hyp", "hyp", kind)})
    num_words = sum(map(len, refs.values()))
    assert f"({len(changed)} / {num_words}: 0 ins, 0 del, {len(changed)} sub)" in result.splitlines()[1]


def test_format_can_be_specified(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one deep net\ntwo\n", encoding="utf-8")
    assert read_texts(tmp_path / "x", "ref", "bare") == {"1": "one deep net", "2": "two"}
    assert read_texts(tmp_path / "x", "ref", "kaldi") == {"one": "deep net", "two": ""}


@pytest.mark.parametrize(
    ("content", "file_format", "message"),
    [
        (b"a x\nb y\na z\n", "auto", "utterance a occurs twice.*--format bare"),
        (b"a:\tref=['x']\nbroken\n", "auto", "not a line of a recogs file: 'broken'"),
        (b"a:\tref=['x']\na:\thyp=[oops]\n", "auto", "not a line of a recogs file"),
        (b"a:\tref=['x']\na:\thyp=['x', 1]\n", "auto", "not a line of a recogs file"),
        (b"a:\tref=['x']\na:\thyp=" + b"[" * 9999 + b"]" * 9999, "auto", "not a line of a recogs file"),
        (b"w1 1 0.5 0.2 net\nw1 1 oops\n", "ctm", "line 2: expected 'recording channel start duration word'.*oops"),
        (b"a \xff\n", "auto", "not UTF-8"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, file_format: str, message: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / "x.txt", "ref", file_format)
