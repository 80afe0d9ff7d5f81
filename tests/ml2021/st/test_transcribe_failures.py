"""What goes wrong while transcribe runs: processes that die, Ctrl-C, full disks, damaged files of an earlier run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lhotse_prep.workflow import executor, files
from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.words.timed_word import TimedWord
from ml2021.st import transcribe
from ml2021.st.transcribe import STATE, TranscribeOptions
from tests.ml2021.st.stub_models import WORDS, StubRecogniser, every_file, names


@pytest.mark.parametrize("num_jobs", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), MemoryError(), OSError(5, "I/O error"), SystemExit(3)])
def test_whatever_a_lecture_raises_the_others_are_done(
    recognised, options, record, monkeypatch, caplog, error, num_jobs
):
    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        if audio.stem == "bad":
            raise error
        return WORDS

    monkeypatch.setattr(executor, "START_METHOD", "fork")
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(recognise))
    lectures = [record("bad.wav"), record("b.wav"), record("c.wav")]
    name = type(error).__name__
    with pytest.raises(DataError, match=rf"1 of 3 lectures have no subtitles: .*/bad\.wav: {name}") as e:
        transcribe.transcribe(lectures, options, num_jobs)
    assert "\n" not in str(e.value) and names(options.out) == every_file("b", "c")
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


def test_ctrl_c_stops_all(recognised, options, record, monkeypatch):
    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        raise KeyboardInterrupt

    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(recognise))
    with pytest.raises(KeyboardInterrupt):
        transcribe.transcribe([record("a.wav"), record("b.wav")], options)
    assert names(options.out) == set()


def test_a_lecture_that_kills_its_process_stops_no_other(recognised, options, record, monkeypatch):
    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        if audio.stem == "a":
            os.kill(os.getpid(), signal.SIGKILL)
        return WORDS

    monkeypatch.setattr(executor, "START_METHOD", "fork")
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(recognise))
    with pytest.raises(DataError, match=r"1 of 3 lectures have no subtitles: .*/a\.wav: a process was killed"):
        transcribe.transcribe([record("a.wav"), record("b.wav"), record("c.wav")], options, num_jobs=2)
    assert names(options.out) == every_file("b", "c")


def test_a_killed_process_is_reported(recognised, options, record, monkeypatch):
    monkeypatch.setattr(executor, "START_METHOD", "fork")
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(lambda _: os.kill(os.getpid(), signal.SIGKILL)))
    with pytest.raises(DataError, match="2 of 2 lectures have no subtitles.*a.wav: a process was killed"):
        transcribe.transcribe([record("a.wav"), record("b.wav")], options, num_jobs=2)
    assert names(options.out) == set()


@pytest.mark.parametrize("fail_at", range(8))
def test_a_full_disk_leaves_no_half_written_subtitle(recognised, options, record, monkeypatch, fail_at):
    """The n-th flush to disk fails, whichever file it is: words, subtitles or JSON."""
    lecture = record("a.wav")
    transcribe.transcribe([lecture], options)
    before = {p.name: p.read_bytes() for p in options.out.iterdir() if p.is_file()}
    record("a.wav", level=0.2)
    num_flushes = [fail_at]

    def fsync(_: int) -> None:
        num_flushes[0] -= 1
        if num_flushes[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fsync)
        with pytest.raises(DataError, match="no space left for lecture a .*free some space"):
            transcribe.transcribe([lecture], options)
    assert {p.name: p.read_bytes() for p in options.out.iterdir() if p.is_file()} == before
    assert not list(options.out.rglob("*.tmp"))
    num_recognised = len(recognised)
    transcribe.transcribe([lecture], options)
    assert len(recognised) - num_recognised == (1 if fail_at == 0 else 0)  # what was recognised is not recognised again
    assert names(options.out) == every_file("a")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_truly_full_disk(recognised, options, record):
    options.out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(options.out)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        with pytest.raises(DataError, match="no space left for lecture a"):
            transcribe.transcribe([record("a.wav", rate=48000)], options)
        assert names(options.out) == set()
    finally:
        subprocess.run(["umount", str(options.out)], check=True)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import stub_models
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.words.options import RecogniserOptions
from ml2021.st import cascade, output, transcribe
cascade.open_recogniser = lambda *_: stub_models.StubRecogniser()
cascade.open_translator = lambda *_: stub_models.Upper()
real = output.write_jsonl
def slow(path, rows):  # all subtitles are written, the last file is not
    print("writing", flush=True)
    time.sleep(60)
output.write_jsonl = slow
folder = Path(sys.argv[2])
options = transcribe.TranscribeOptions(str(folder / "asr"), str(folder / "mt"), folder / "out",
                                       RecogniserOptions(decode=DecodeConfig()))
transcribe.transcribe([folder / "a.wav"], options)
"""


def test_a_killed_run_leaves_nothing_half_written_and_continues(recognised, options, record, tmp_path):
    lecture = record("a.wav")
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(options.out) == set()
    transcribe.transcribe([lecture], options)
    assert names(options.out) == every_file("a") and not recognised  # its words were kept
    assert not [p for p in (options.out / STATE).iterdir() if p.is_dir()]


def interrupted(options: TranscribeOptions, lecture: Path) -> Path:
    """The file of words that a run leaves if it is killed after it has recognised a lecture."""
    work_dir = options.out / STATE
    work_dir.mkdir(parents=True)
    transcriber = transcribe.Transcriber(options, transcribe._option_digests(options))
    transcriber._words(lecture, digest_file(lecture), work_dir)
    return work_dir / f"{lecture.stem}.words.jsonl"


@pytest.mark.parametrize("how", ["whole", "empty", "cut short", "a line short", "not text", "a number", "no words"])
def test_damaged_words_are_named_and_what_to_do_helps(recognised, options, record, how):
    lecture, other = record("a.wav"), record("b.wav")
    path = interrupted(options, lecture)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    contents = {
        "whole": content,
        "empty": b"",
        "cut short": content[:-20],
        "a line short": b"".join(lines[:-1]),
        "not text": content[:-9] + b"\xff" * 9,
        "a number": b"3\n",
        "no words": lines[0] + b"{}\n{}\n",
    }
    path.write_bytes(contents[how])
    if how == "whole":
        transcribe.transcribe([lecture, other], options)
        assert [p.name for p in recognised] == ["a.wav", "b.wav"]
        return
    with pytest.raises(DataError, match=r"1 of 2 lectures.*a\.words\.jsonl.* is damaged .*remove it, or give --redo"):
        transcribe.transcribe([lecture, other], options)
    assert names(options.out) == every_file("b")
    path.unlink()
    transcribe.transcribe([lecture, other], options)
    assert names(options.out) == every_file("a", "b") and [p.name for p in recognised] == ["a.wav", "b.wav", "a.wav"]


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe", b"0123"])
def test_a_damaged_mark_means_that_a_lecture_is_not_done(recognised, options, record, mark):
    lecture = record("a.wav")
    transcribe.transcribe([lecture], options)
    (options.out / STATE / "a.done").write_bytes(mark)
    transcribe.transcribe([lecture], options)
    transcribe.transcribe([lecture], options)
    assert len(recognised) == 2 and names(options.out) == every_file("a")
