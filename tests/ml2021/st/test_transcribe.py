"""The command for lecturers: no half-written files, finished lectures are skipped, errors say what to do."""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.workflow import executor
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl
from lhotse_prep.workflow.locks import folder_lock
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord
from ml2021.mt.config import MtModelConfig
from ml2021.mt.model import build_model
from ml2021.mt.train import save_marian
from ml2021.mt.vocabulary import train_vocabulary
from ml2021.st import cascade, transcribe
from ml2021.st.config import SentenceConfig
from ml2021.st.options import add_options
from ml2021.st.transcribe import STATE
from tests.ml2021.st.stub_models import StubRecogniser, every_file, names


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
    with pytest.raises(
        DataError, match="1 of 2 lectures have no subtitles.*silent.wav is silent from beginning to end"
    ):
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


def test_a_message_names_the_users_file(recognised, options, record):
    for level, message in ((0.01, ": the recogniser gives no words"), (0.0, " is silent from beginning to end")):
        lecture = record("my talk.flac", level=level, rate=44100)
        with pytest.raises(DataError) as e:
            transcribe.transcribe([lecture], options)
        assert f"{lecture}{message}" in str(e.value) and STATE not in str(e.value)


def test_no_kind_of_bad_recording_stops_the_others(recognised, options, record, tmp_path):
    good, cut, broken = record("good.wav"), record("cut.wav"), record("nan.wav")
    cut.write_bytes(cut.read_bytes()[:9000])
    sf.write(broken, np.full(16000, np.nan), 16000, subtype="FLOAT")
    (tmp_path / "page.mp3").write_text("<!DOCTYPE html><html></html>")
    (tmp_path / "empty.mp4").touch()
    bad = [cut, broken, tmp_path / "page.mp3", tmp_path / "empty.mp4"]
    with pytest.raises(DataError, match="4 of 5 lectures have no subtitles") as e:
        transcribe.transcribe([*bad, good], options)
    assert names(options.out) == every_file("good") and recognised == [good]
    assert all(str(path) in str(e.value) for path in bad) and STATE not in str(e.value) and "Error:" not in str(e.value)


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
    save_marian(build_model(model, len(vocabulary) + 1), vocabulary, Path(options.mt) / "marian")
    monkeypatch.setattr(cascade, "open_recogniser", lambda *_: StubRecogniser())
    for num_jobs in (1, 2):
        with pytest.raises(
            DataError, match="the vocabulary in .*marian is not the one that its model was trained with"
        ):
            transcribe.transcribe([record("a.wav"), record("b.wav")], options, num_jobs)
    assert not options.out.exists()


def test_the_command_says_what_is_wrong_with_a_model_before_it_writes(options, record):
    arguments = [str(record("a.wav")), "--asr", options.asr, "--mt", options.mt, "--out", str(options.out)]
    with pytest.raises(DataError, match="translator .*mt has no translation model"):
        transcribe.main(arguments)
    del arguments[3:5]
    with pytest.raises(DataError, match="asr holds no recogniser that is known here"):
        transcribe.main(arguments)
    with pytest.raises(ConfigError, match="--jobs must be >= 1, got 0"):
        transcribe.main([*arguments, "--jobs", "0"])
    assert not options.out.exists()


def arguments(tmp_path: Path, *options: str) -> Namespace:
    """The values of the command line, as main reads them, of a recogniser of this project."""
    (tmp_path / "asr" / "lang").mkdir(parents=True, exist_ok=True)
    if not (tmp_path / "asr" / "config.json").is_file():
        (tmp_path / "asr" / "config.json").write_text("{}")
    parser = ArgumentParser()
    add_options(parser)
    args = parser.parse_args(["--out", str(tmp_path), *options])
    args.asr = str(tmp_path / "asr")
    return args


def test_language_model_of_a_configuration_is_the_one_beside_the_recogniser(project, tmp_path):
    options = transcribe._options(arguments(tmp_path, "--conf", str(project / "conf" / "mini")))
    decode = options.recognition.decode
    assert decode.lm_scale > 0 and decode.lm_dir == str(tmp_path / "lm")
    assert options.sentences.min_pause == 0.25 and options.mt is None


def test_a_recording_of_the_same_name_from_another_folder_replaces_the_files(
    recognised, options, record, tmp_path, monkeypatch, caplog
):
    """day1/lecture.wav, then day2/lecture.wav, with the same --out: the files are those of the second."""
    caplog.set_level("INFO")
    spoken = {0.1: "我", 0.2: "bert"}

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        recognised.append(audio)
        return [TimedWord(spoken[round(float(sf.read(str(audio))[0].max()), 1)], 1.0, 1.2, -0.1)]

    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(recognise))
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
    (Path(options.asr) / "lang").mkdir()
    transcribe.transcribe([lecture], options)
    (Path(options.mt) / "config.json").write_text('{"d_model": 1}')
    transcribe.transcribe([lecture], options)
    (Path(options.asr) / "pretrained.pt").write_bytes(b"other weights")
    transcribe.transcribe([lecture], options)
    (Path(options.asr) / "epoch-3.pt").write_bytes(b"not used")
    transcribe.transcribe([lecture], options)
    assert len(recognised) == 3


def test_subtitles_that_were_edited_are_kept(recognised, options, record):
    lecture = record("a.wav")
    transcribe.transcribe([lecture], options)
    (options.out / "a.srt").write_text("corrected by hand")
    transcribe.transcribe([lecture], options)
    assert (options.out / "a.srt").read_text() == "corrected by hand" and len(recognised) == 1


def test_without_conf_decoding_is_as_the_recogniser_was_trained_with(tmp_path):
    args = arguments(tmp_path)
    path = tmp_path / "asr" / "config.json"
    path.write_text('{"decode": {"decoding_method": "beam_search", "lm_scale": 0.2}}')
    values = transcribe._options(args)
    assert values.recognition.decode == DecodeConfig("beam_search", lm_scale=0.2, lm_dir=str(tmp_path / "lm"))
    args.lm_scale = 0.0
    assert transcribe._options(args).recognition.decode == DecodeConfig("beam_search")
    assert values.sentences == SentenceConfig()


def test_options_of_other_recognisers(tmp_path):
    args = arguments(tmp_path, "--script", "s2twp", "--language", "zh")
    args.asr = "large-v3"
    assert transcribe._options(args).recognition == RecogniserOptions(language="zh", script="s2twp")
    args.lm_scale = 0.2
    with pytest.raises(ConfigError, match="--lm-scale is for recognisers of this project, and large-v3 is another"):
        transcribe._options(args)
    for option, message in (("--glossary", "no such file"), ("--punctuation", "no such folder")):
        with pytest.raises(DataError, match=f"{option} nowhere: {message}"):
            transcribe._options(arguments(tmp_path, option, "nowhere"))
    with pytest.raises(ConfigError, match="script must be one of OpenCC's conversions .* got 'taiwan'"):
        transcribe._options(arguments(tmp_path, "--script", "taiwan"))


def test_without_a_translator_subtitles_have_one_language(recognised, options, record):
    options = replace(options, mt=None)
    transcribe.transcribe([record("a.wav")], options)
    assert [(r["source"], r["target"]) for r in read_jsonl(options.out / "a.jsonl")] == [("我", ""), ("bert", "")]
    assert names(options.out) == every_file("a")
