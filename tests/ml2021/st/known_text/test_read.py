"""Texts as users have them: subtitle files of all kinds without what nobody says, and plain text."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.st.known_text.cue_text import spoken_lines
from ml2021.st.known_text.read import TextLine, read_known_text

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>我們來</i>講 <font color="#ff0">BERT</font> &amp; GPT，

2
00:00:02,500 --> 00:00:03,000
[Music]

3
00:00:03,000 --> 00:00:04,000
- LEE: 好。
{\\an8}a &lt; b
"""
VTT = """WEBVTT - a title

STYLE
::cue { color: red }

NOTE made by hand

intro-1
00:01.000 --> 00:02.000 align:start position:0%
<v Lee>我們<00:00:01.500><c> 來</c>

NOTE another

2
01:00:03.000 --> 01:00:04.000
♪ la la ♪
see
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_srt(tmp_path: Path) -> None:
    for content in (SRT, "\ufeff" + SRT.replace("\n", "\r\n"), ("\ufeff" + SRT).encode("utf-16-le")):
        known = read_known_text(write(tmp_path, "a.srt", content))
        assert known.lines == (TextLine("我們來講 BERT & GPT，", 1.0, 2.5), TextLine("好。 a < b", 3.0, 4.0))
        assert known.has_times and known.translation == ()


def test_vtt_without_its_notes_styles_and_names_of_cues(tmp_path: Path) -> None:
    known = read_known_text(write(tmp_path, "a.vtt", VTT))
    assert known.lines == (TextLine("我們 來", 1.0, 2.0), TextLine("see", 3603.0, 3604.0))
    assert read_known_text(write(tmp_path, "a.txt", VTT)).lines == known.lines  # whatever its name


def test_ass_and_sbv(tmp_path: Path) -> None:
    ass = "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\n\n[Events]\n"
    ass += "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    ass += "Dialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,{\\i1}你好{\\i0}\\N世界\n"
    ass += "Comment: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,no\n"
    assert read_known_text(write(tmp_path, "a.ass", ass)).lines == (TextLine("你好 世界", 1.0, 2.0),)
    sbv = "0:00:01.000,0:00:02.000\nhello\nthere\n\n0:00:03.000,0:00:04.500\nend\n"
    expected = (TextLine("hello there", 1.0, 2.0), TextLine("end", 3.0, 4.5))
    assert read_known_text(write(tmp_path, "a.sbv", sbv)).lines == expected


def test_plain_text_keeps_its_spelling_and_loses_its_times(tmp_path: Path) -> None:
    assert read_known_text(write(tmp_path, "a.txt", "\ufeffHello,  World!\n\n我們。\n")).lines == (
        TextLine("Hello, World!"),
        TextLine("我們。"),
    )
    stamped = "0:01 first\n0:05 second\n[00:01:07] third\n"
    assert [x.text for x in read_known_text(write(tmp_path, "b.txt", stamped)).lines] == ["first", "second", "third"]
    alone = "0:01\nfirst\n0:05\nsecond\n"
    assert [x.text for x in read_known_text(write(tmp_path, "c.txt", alone)).lines] == ["first", "second"]
    few = "at\n10:30 we met\nat the\nold\nhouse\nby the sea\n"
    assert len(read_known_text(write(tmp_path, "d.txt", few)).lines) == 6
    assert "10:30" in read_known_text(write(tmp_path, "d.txt", few)).lines[1].text


def test_bilingual_cues_are_text_and_translation(tmp_path: Path) -> None:
    cues = [f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\n第{i}句\nLine {i}\n" for i in range(1, 6)]
    cues[2] = "3\n00:00:03,000 --> 00:00:03,900\nonly English\n"
    known = read_known_text(write(tmp_path, "a.srt", "\n".join(cues)))
    assert [x.text for x in known.lines] == ["第1句", "第2句", "第4句", "第5句"]
    assert known.translation == ("Line 1", "Line 2", "Line 4", "Line 5")


def test_names_are_left_out_and_words_before_a_colon_are_not() -> None:
    names = [
        "老師：你好",
        "學生：好",
        "老師：我們來看問題：什麼是學習",
        "老師：這個",
        "注意：看這裡",
        ">> BOB: yes",
        "- no",
    ]
    texts = [" ".join(lines) for lines in spoken_lines(names)]
    assert texts == ["你好", "學生：好", "我們來看問題：什麼是學習", "這個", "注意：看這裡", "yes", "no"]


def test_sounds_are_left_out_and_brackets_within_a_sentence_stay() -> None:
    cues = ["[applause]", "(laughs)", "【音樂】", "♪♪", "［笑］", "f (x) 是函數", "see [laughs] this", "（好）對"]
    assert [" ".join(x) for x in spoken_lines(cues)] == ["", "", "", "", "", "f (x) 是函數", "see this", "（好）對"]


def test_captions_that_roll_up_are_read_once() -> None:
    rolling = ["one two", "one two\nthree four", "three four\nfive", "five\nsix seven"]
    assert [" ".join(x) for x in spoken_lines(rolling)] == ["one two", "three four", "five", "six seven"]
    said_twice = ["no", "no", "well", "I", "do", "not", "know", "that"]
    assert [" ".join(x) for x in spoken_lines(said_twice)] == said_twice


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "a.txt has no text; give the words"),
        ("a.txt", b" \n\n", "a.txt has no text"),
        ("a.srt", b"", "a.srt"),
        ("a.srt", b"hello there", "a.srt cannot be read as subtitles"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\n[Music]\n", "a.srt has no text"),
        ("a.txt", "a\n你".encode() + "好".encode("big5"), "a.txt, line 2: not UTF-8"),
        ("a.txt", b"PK\x03\x04docx", "a.txt is a Word or Excel file; save it as plain text"),
        ("a.txt", b"%PDF-1.7", "a.txt is a PDF"),
    ],
)
def test_files_without_a_text_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as e:
        read_known_text(write(tmp_path, name, content))
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="there is no text .*none.txt"):
        read_known_text(tmp_path / "none.txt")
