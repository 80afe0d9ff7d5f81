"""The command for lecturers: no half-written files, finished lectures are skipped, errors say what to do."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from lhotse_prep.workflow import executor, files
from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl
from lhotse_prep.workflow.locks import folder_lock
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.long_form import TimedWord
from ml2021.mt.config import MtModelConfig, TranslateConfig
from ml2021.mt.model import build_model
from ml2021.mt.train import save_marian
from ml2021.mt.translate import Sentences, Translation
from ml2021.mt.vocabulary import train_vocabulary
from ml2021.st import cascade, transcribe
from ml2021.st.cascade import Cascade
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.output import SUFFIXES
from ml2021.st.transcribe import STATE, TranscribeOptions

WORDS = [TimedWord("我", 1.0, 1.2, -0.1), TimedWord("bert", 2.5, 2.9, -0.2)]


class Upper:
    """A translator that gives the source in capitals."""

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        return [Translation(" ".join(s).upper(), -0.5) for s in sentences]


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the models by some that need no training; the list has the recordings that were recognised, in order."""
    calls: list[Path] = []

    def init(self: Cascade, *_: object) -> None:
        self.decode, self.sentences, self.context, self.translator = DecodeConfig(), SentenceConfig(), 0, Upper()
        self.model = self.tokens = self.fusion = None  # type: ignore[assignment]

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        calls.append(audio)
        if sf.read(str(audio))[0].max() == 0:
            return []
        return WORDS

    monkeypatch.setattr(Cascade, "__init__", init)
    monkeypatch.setattr(cascade, "recognise", recognise)
    return calls


@pytest.fixture
def options(tmp_path: Path) -> TranscribeOptions:
    for name in ("asr", "mt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return TranscribeOptions(
        tmp_path / "asr",
        tmp_path / "mt",
        tmp_path / "out",
        DecodeConfig(),
        SentenceConfig(),
        TranslateConfig(),
        SubtitleConfig(),
    )


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, level: float = 0.1, rate: int = 16000) -> Path:
        path = tmp_path / name
        sf.write(str(path), np.full(rate, level), rate)
        return path

    return write


def names(out: Path) -> set[str]:
    return {p.name for p in out.iterdir() if p.is_file()} if out.is_dir() else set()


def every_file(*lectures: str) -> set[str]:
    return {f"{lecture}{suffix}" for lecture in lectures for suffix in SUFFIXES}


def test_all_files_of_all_lectures(recognised, options, record):
    transcribe.transcribe([record("a.wav"), record("b.flac", rate=44100)], options)
    assert names(options.out) == every_file("a", "b")
    assert [(r["source"], r["target"]) for r in read_jsonl(options.out / "b.jsonl")] == [("我", "我"), ("bert", "BERT")]
    assert recognised[0].name == "a.wav"
    assert recognised[1].parent != options.out.parent and not recognised[1].exists()  # the copy at 16 kHz is gone
    assert not [p for p in (options.out / STATE).iterdir() if p.is_dir()]


def test_done_is_skipped_until_recording_or_options_change(recognised, options, record):
    lectures = [record("a.wav"), record("b.wav")]
    transcribe.transcribe(lectures, options)
    transcribe.transcribe(lectures, options)
    assert len(recognised) == 2
    record("a.wav", level=0.2)
    (options.out / "b.en.srt").unlink()
    transcribe.transcribe(lectures, options)
    assert [p.name for p in recognised[2:]] == ["a.wav", "b.wav"] and names(options.out) == every_file("a", "b")


def test_no_speech_is_an_error_that_stops_no_other_lecture(recognised, options, record):
    with pytest.raises(DataError, match="1 of 2 lectures have no subtitles.*silent.wav: the recogniser gives no words"):
        transcribe.transcribe([record("silent.wav", level=0.0), record("b.wav")], options)
    assert names(options.out) == every_file("b")


def test_a_lecture_that_another_run_is_writing_is_not_touched(recognised, options, record):
    work = options.out / STATE / "a.work"
    with folder_lock(work):
        work.mkdir()
        (work / "half").touch()
        with pytest.raises(DataError, match=rf"a\.work is being written by another run \(process {os.getpid()}\)"):
            transcribe.transcribe([record("a.wav"), record("b.wav")], options)
        assert (work / "half").exists() and names(options.out) == every_file("b")
    transcribe.transcribe([record("a.wav"), record("b.wav")], options)  # the leftovers of a killed run do not matter
    assert names(options.out) == every_file("a", "b")


def test_several_lectures_at_a_time(recognised, options, record, monkeypatch):
    monkeypatch.setattr(executor, "START_METHOD", "fork")  # so that the processes have these models too
    lectures = [record("a.wav"), record("silent.wav", level=0.0), record("b.wav"), record("c.wav")]
    with pytest.raises(DataError, match="1 of 4 lectures have no subtitles: .*silent.wav"):
        transcribe.transcribe(lectures, options, num_jobs=2)
    assert names(options.out) == every_file("a", "b", "c") and not recognised  # nothing was done in this process


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
    monkeypatch.setattr(cascade, "recognise", recognise)
    lectures = [record("bad.wav"), record("b.wav"), record("c.wav")]
    name = type(error).__name__
    with pytest.raises(DataError, match=rf"1 of 3 lectures have no subtitles: .*/bad\.wav: {name}") as e:
        transcribe.transcribe(lectures, options, num_jobs)
    assert "\n" not in str(e.value) and names(options.out) == every_file("b", "c")
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1


def test_ctrl_c_stops_all(recognised, options, record, monkeypatch):
    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        raise KeyboardInterrupt

    monkeypatch.setattr(cascade, "recognise", recognise)
    with pytest.raises(KeyboardInterrupt):
        transcribe.transcribe([record("a.wav"), record("b.wav")], options)
    assert names(options.out) == set()


def test_a_message_names_the_users_file(recognised, options, record):
    lecture = record("my talk.flac", level=0.0, rate=44100)
    with pytest.raises(DataError) as e:
        transcribe.transcribe([lecture], options)
    assert f"{lecture}: the recogniser gives no words" in str(e.value) and STATE not in str(e.value)


@pytest.mark.parametrize("first, second", [("lec", "lec.en"), ("lec.zh", "lec"), ("Lec", "lec"), ("e\u0301", "é")])
def test_names_whose_files_clash_are_refused(recognised, options, record, tmp_path, first, second):
    (tmp_path / "other").mkdir()
    lectures = [record(f"{first}.wav"), record(f"other/{second}.wav")]
    with pytest.raises(DataError, match=f"recordings {first} and {second} would both have the file"):
        transcribe.transcribe(lectures, options)
    assert not options.out.exists() and not recognised
    transcribe.transcribe(lectures[:1], options)
    before = {p.name: p.read_bytes() for p in options.out.iterdir() if p.is_file()}
    with pytest.raises(DataError, match=f"belongs to the recording {first} of an earlier run"):
        transcribe.transcribe(lectures[1:], options)
    assert {p.name: p.read_bytes() for p in options.out.iterdir() if p.is_file()} == before


def test_a_lecture_that_kills_its_process_stops_no_other(recognised, options, record, monkeypatch):
    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        if audio.stem == "a":
            os.kill(os.getpid(), signal.SIGKILL)
        return WORDS

    monkeypatch.setattr(executor, "START_METHOD", "fork")
    monkeypatch.setattr(cascade, "recognise", recognise)
    with pytest.raises(DataError, match=r"1 of 3 lectures have no subtitles: .*/a\.wav: a process was killed"):
        transcribe.transcribe([record("a.wav"), record("b.wav"), record("c.wav")], options, num_jobs=2)
    assert names(options.out) == every_file("b", "c")


def test_a_killed_process_is_reported(recognised, options, record, monkeypatch):
    monkeypatch.setattr(executor, "START_METHOD", "fork")
    monkeypatch.setattr(cascade, "recognise", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
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


def test_two_lectures_of_one_name_and_a_missing_one_are_refused(recognised, options, record, tmp_path):
    with pytest.raises(DataError, match="named a; .*rename one"):
        transcribe.transcribe([record("a.wav"), record("a.flac")], options)
    with pytest.raises(DataError, match="no such recording: .*z.mp3"):
        transcribe.transcribe([tmp_path / "z.mp3"], options)
    assert not options.out.exists() and not recognised


def test_a_translator_that_does_not_match_its_vocabulary_is_reported_before_anything_is_done(
    options, record, tmp_path, monkeypatch
):
    vocabulary = train_vocabulary(["我 們 來"], ["we come"], 60, tmp_path / "vocabulary")
    model = MtModelConfig(d_model=16, num_heads=2, num_encoder_layers=1, num_decoder_layers=1, feedforward_dim=16)
    save_marian(build_model(model, len(vocabulary) + 1), vocabulary, options.mt / "marian")
    monkeypatch.setattr(cascade, "load_model", lambda _: (torch.nn.Identity(), None))
    for num_jobs in (1, 2):
        with pytest.raises(
            DataError, match="the vocabulary in .*marian is not the one that its model was trained with"
        ):
            transcribe.transcribe([record("a.wav"), record("b.wav")], options, num_jobs)
    assert not options.out.exists()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_transcribe as t
from ml2021.st import cascade, output, transcribe
from ml2021.st.cascade import Cascade
def init(self, *_):
    self.decode, self.sentences, self.context, self.translator = t.DecodeConfig(), t.SentenceConfig(), 0, t.Upper()
    self.model = self.tokens = self.fusion = None
Cascade.__init__ = init
cascade.recognise = lambda *_: t.WORDS
real = output.write_jsonl
def slow(path, rows):  # all subtitles are written, the last file is not
    print("writing", flush=True)
    time.sleep(60)
output.write_jsonl = slow
folder = Path(sys.argv[2])
options = t.TranscribeOptions(folder / "asr", folder / "mt", folder / "out", t.DecodeConfig(), t.SentenceConfig(),
                              t.TranslateConfig(), t.SubtitleConfig())
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


def test_the_command_says_what_is_wrong_with_a_model_before_it_writes(options, record):
    arguments = [str(record("a.wav")), "--asr", str(options.asr), "--mt", str(options.mt), "--out", str(options.out)]
    with pytest.raises(DataError, match="lang"):  # an experiment without its tokens
        transcribe.main(arguments)
    with pytest.raises(ConfigError, match="--jobs must be >= 1, got 0"):
        transcribe.main([*arguments, "--jobs", "0"])
    assert not options.out.exists()


def test_language_model_of_a_configuration_is_the_one_beside_the_recogniser(project, tmp_path):
    arguments = Namespace(asr=tmp_path / "asr", mt=tmp_path, out=tmp_path, conf=project / "conf" / "mini")
    decode = transcribe._options(arguments).decode
    assert decode.lm_scale > 0 and decode.lm_dir == str(tmp_path / "lm")


def test_a_recording_of_the_same_name_from_another_folder_replaces_the_files(
    recognised, options, record, tmp_path, monkeypatch, caplog
):
    """day1/lecture.wav, then day2/lecture.wav, with the same --out: the files are those of the second."""
    caplog.set_level("INFO")
    spoken = {0.1: "我", 0.2: "bert"}

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        recognised.append(audio)
        return [TimedWord(spoken[round(float(sf.read(str(audio))[0].max()), 1)], 1.0, 1.2, -0.1)]

    monkeypatch.setattr(cascade, "recognise", recognise)
    for day, level, source in (("day1", 0.1, "我"), ("day2", 0.2, "bert"), ("day2", 0.2, "bert"), ("day1", 0.1, "我")):
        (tmp_path / day).mkdir(exist_ok=True)
        transcribe.transcribe([record(f"{day}/lecture.wav", level=level)], options)
        assert [row["source"] for row in read_jsonl(options.out / "lecture.jsonl")] == [source]
    assert [path.parent.name for path in recognised] == ["day1", "day2", "day1"]
    assert caplog.text.count("lecture: its files in") == 2 and "another recording of this name" in caplog.text
    shutil.copy(tmp_path / "day1" / "lecture.wav", tmp_path / "lecture.wav")  # the same content, whatever its folder
    transcribe.transcribe([tmp_path / "lecture.wav"], options)
    assert len(recognised) == 3


def test_another_model_replaces_the_files(recognised, options, record):
    lecture = record("a.wav")
    transcribe.transcribe([lecture], options)
    (options.mt / "config.json").write_text('{"d_model": 1}')
    transcribe.transcribe([lecture], options)
    (options.asr / "pretrained.pt").write_bytes(b"other weights")
    transcribe.transcribe([lecture], options)
    (options.asr / "epoch-3.pt").write_bytes(b"not used")
    transcribe.transcribe([lecture], options)
    assert len(recognised) == 3


def test_subtitles_that_were_edited_are_kept(recognised, options, record):
    lecture = record("a.wav")
    transcribe.transcribe([lecture], options)
    (options.out / "a.srt").write_text("corrected by hand")
    transcribe.transcribe([lecture], options)
    assert (options.out / "a.srt").read_text() == "corrected by hand" and len(recognised) == 1


def test_without_conf_decoding_is_as_the_recogniser_was_trained_with(tmp_path):
    (tmp_path / "asr").mkdir()
    arguments = Namespace(asr=tmp_path / "asr", mt=tmp_path, out=tmp_path, conf=None)
    (tmp_path / "asr" / "config.json").write_text('{"decode": {"decoding_method": "beam_search", "lm_scale": 0.2}}')
    values = transcribe._options(arguments)
    assert values.decode == DecodeConfig("beam_search", lm_scale=0.2, lm_dir=str(tmp_path / "lm"))
    assert values.sentences == SentenceConfig()
