"""pysubs2 reads all files back with every text intact."""

from __future__ import annotations

import random
import unicodedata
from html import unescape
from pathlib import Path

import pysubs2
import pytest

from ml2021.st.cues.cue import Cue
from ml2021.st.cues.write import write_ass, write_srt, write_vtt

WRITERS = {".srt": write_srt, ".vtt": write_vtt, ".ass": write_ass}
TEXTS = [
    "if x<y & y>0 --> {a}", r"a\Nb \n \h c", "<i>tags</i> {\\b1}bold", "\u200fשלום\u200e abc", "A & B; &amp; &lt;",
    "2021", "-->", "{", "}", "\\", "1\u00a02", "，。「」", "Dialogue: 0,0:00:00.00", "NOTE it", "WEBVTT", "\ufeffx",
    "a, b,, c", "; comment", "[Events]", "💡 好", "e\u0301", "- dash", "00:00:01,000 --> x",
]  # fmt: skip


def plain(text: str) -> str:
    """A text as the files' marks stand for it."""
    return unicodedata.normalize("NFKC", text).replace("-->", "→").replace("\u00a0", " ")


def read_back(path: Path) -> list[tuple[int, int, str]]:
    events = pysubs2.load(str(path), encoding="utf-8").events
    unescaped = unescape if path.suffix == ".vtt" else str
    return [(e.start, e.end, plain(unescaped(e.plaintext))) for e in events]


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("seed", range(10))
def test_what_is_written_is_read(suffix: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    cues = []
    for i in range(30):
        source, target = (tuple(rng.sample(TEXTS, rng.choice([0, 1, 2]))) for _ in range(2))
        if source or target:
            cues.append(Cue(1000 * i, 1000 * i + rng.randrange(10, 1000, 10), source, target))
    cues.append(Cue(40_000, 3_600_000 * 9, ("的",), ("the end",)))
    WRITERS[suffix](cues, path := tmp_path / f"week1{suffix}")
    assert read_back(path) == [(c.start, c.end, plain("\n".join(c.lines))) for c in cues]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_marks_of_mathematics_are_not_taken_for_tags(tmp_path: Path) -> None:
    cue = Cue(0, 3_723_004, ("if x<y & y>0 --> {a}",), ())
    write_srt([cue], srt := tmp_path / "a.srt")
    assert srt.read_text() == "1\n00:00:00,000 --> 01:02:03,004\nif x＜y & y>0 → ｛a｝\n\n"
    write_vtt([cue], vtt := tmp_path / "a.vtt")
    assert vtt.read_text().split("\n")[4] == "if x&lt;y &amp; y&gt;0 --&gt; ｛a｝"


def test_no_cues_make_files_that_are_valid(tmp_path: Path) -> None:
    for suffix, write in WRITERS.items():
        write([], path := tmp_path / f"a{suffix}")
        assert suffix == ".srt" or pysubs2.load(str(path)).events == []
    assert (tmp_path / "a.srt").read_text() == "" and (tmp_path / "a.vtt").read_text() == "WEBVTT\n\n"


def test_each_language_has_its_style_at_1080p(tmp_path: Path) -> None:
    cues = [Cue(0, 1005, ("好",), ("Good.",)), Cue(1001, 2000, (), ("Yes.",)), Cue(2000, 3000, ("對",), ())]
    write_ass(cues, path := tmp_path / "a.ass")
    file = pysubs2.load(str(path))
    assert (file.info["PlayResX"], file.info["PlayResY"]) == ("1920", "1080")
    assert set(file.styles) == {"Source", "Target"} and file.styles["Source"].fontsize > file.styles["Target"].fontsize
    assert [e.style for e in file] == ["Source", "Target", "Source"]
    assert file[0].text == r"好\N{\rTarget}Good."  # above the translation
    assert [(e.start, e.end) for e in file] == [(0, 1000), (1010, 2000), (2000, 3000)]  # never early, no overlap
    widest = 16 * file.styles["Source"].fontsize
    assert widest < 1920 - file.styles["Source"].marginl - file.styles["Source"].marginr


def test_control_characters_are_left_out(tmp_path: Path) -> None:
    write_srt([Cue(0, 1000, ("a\x00b\x07",), ("c\x1bd",))], path := tmp_path / "a.srt")
    assert path.read_text().split("\n")[2:4] == ["ab", "cd"]
