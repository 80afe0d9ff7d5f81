"""The cascade: words are translated in order, and translations are scored where the references are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.words.timed_word import TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.mt.translate import Sentences, Translation
from ml2021.st import cascade as module
from ml2021.st.cascade import Cascade, run_test_lectures
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.output import written
from ml2021.st.scores import against_references

WORDS = [TimedWord(t, s, s + 0.2, 1.0) for t, s in [("我", 1.0), ("們", 1.2), ("bert", 2.5), ("好", 2.7)]]
ENGLISH = {("我", "們"): "We do.", ("bert", "好"): "BERT is good.", ("bert", "很", "好"): "BERT is so good.", (): ""}


class Dictionary:
    """A translator that knows ENGLISH."""

    context = 0

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        return [Translation(ENGLISH[tuple(s)], -0.25) for s in sentences]


@pytest.fixture
def cascade(monkeypatch: pytest.MonkeyPatch) -> Cascade:
    """The real cascade with a recogniser that always gives WORDS."""
    cascade = Cascade.__new__(Cascade)
    cascade.decode, cascade.sentences, cascade.context = DecodeConfig(), SentenceConfig(), 0
    cascade.translator = Dictionary()
    cascade.model = cascade.tokens = cascade.fusion = None  # type: ignore[assignment]
    monkeypatch.setattr(module, "recognise", lambda *_: WORDS)
    return cascade


def make_files(folder: Path, lectures: Sequence[str] = ("x",)) -> None:
    recordings = [Recording(i, [AudioSource("file", [0], f"{i}.wav")], 16000, 80000, 5.0) for i in lectures]
    for i in lectures:
        (folder / f"{i}.wav").touch()
    supervisions = [SupervisionSegment(i, i, 0.0, 5.0, text="我 們 bert 很 好") for i in lectures]
    RecordingSet.from_recordings(recordings).to_file(folder / "ml2021_recordings_test.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(folder / "ml2021_supervisions_test.jsonl.gz")
    rows = [
        {"id": "x-0000", "lecture": "x", "source": "我 們", "target": "We do."},
        {"id": "x-0002", "lecture": "x", "source": "bert 很 好", "target": "BERT is good."},
    ]
    write_jsonl(folder / "test.jsonl", rows)
    write_jsonl(folder / "rejected.jsonl", [{"id": "x-0001", "lecture": "x", "source": "", "target": "Never said."}])


def test_lecture_comes_out_as_subtitles_and_scores(cascade: Cascade, tmp_path: Path) -> None:
    make_files(tmp_path)
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig())
    rows = read_jsonl(tmp_path / "out" / "x.jsonl")
    assert [(r["start"], r["source"], r["target"]) for r in rows] == [
        (1.0, "我們", "We do."),
        (2.5, "bert 好", "BERT is good."),
    ]
    assert rows[0]["words"] == [["我", 1.0, 1.2], ["們", 1.2, 1.4]]
    assert rows[0]["word_scores"] == [1.0, 1.0] and rows[0]["translation_score"] == -0.25
    assert (
        "我們" in (tmp_path / "out" / "x.zh.vtt").read_text()
        and "We" not in (tmp_path / "out" / "x.zh.vtt").read_text()
    )
    assert (
        "We do." in (tmp_path / "out" / "x.en.srt").read_text()
        and "我" not in (tmp_path / "out" / "x.en.srt").read_text()
    )
    srt = (tmp_path / "out" / "x.srt").read_text()
    assert "00:00:01,000 --> " in srt and "我們\nWe do." in srt
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["mer_lecture"] == {"mer": 20.0, "zh": 25.0, "en": 0.0}  # 很 is missing
    assert scores["bleu_cascade"] == pytest.approx(100.0) and scores["bleu_document_cascade"] < 70  # two words missing
    assert scores["bleu_oracle"] < 90 and scores["chrf_oracle"] < scores["chrf_cascade"]
    assert 0 < scores["bleu_cascade_against_oracle_p"] <= 1


def test_lecture_without_speech_has_an_empty_hypothesis_and_stops_no_other(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_files(tmp_path, ["quiet", "x"])
    monkeypatch.setattr(module, "recognise", lambda audio, *_: [] if audio.stem == "quiet" else WORDS)
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig())
    assert "quiet.wav: the recogniser gives no words" in caplog.text
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["lectures_without_speech"] == 1
    assert scores["mer_lecture"]["mer"] == 60.0  # five tokens of five, and one of five, are deleted
    assert scores["bleu_cascade"] == pytest.approx(100.0)  # x has all references
    assert read_jsonl(tmp_path / "out" / "quiet.jsonl") == [] and (tmp_path / "out" / "quiet.srt").read_text() == ""
    assert "quiet:\thyp=[]" in next((tmp_path / "out").glob("recogs-*")).read_text()


def test_recogniser_without_words_is_an_error(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    monkeypatch.setattr(module, "recognise", lambda *_: [])
    with pytest.raises(DataError, match="no words for any of the 1 test lectures"):
        run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig())


def test_no_test_lecture_is_an_error(cascade: Cascade, tmp_path: Path) -> None:
    make_files(tmp_path, [])
    with pytest.raises(DataError, match="test part has no lecture"):
        run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig())


def test_translation_is_cut_where_its_references_are() -> None:
    references = ["We train it.", "Then, the loss falls.", "Good."]
    assert against_references("we train it then the loss falls good", references) == [
        "we train it",
        "then the loss falls",
        "good",
    ]
    assert " ".join(against_references("something else entirely", references)).strip() == "something else entirely"
    assert against_references("", references) == ["", "", ""]


def test_tokens_are_written_as_readers_expect() -> None:
    assert written(["我", "們", "的", "bert", "model", "好"]) == "我們的 bert model 好"


def test_the_translator_gets_as_many_sentences_of_context_as_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithContext(Dictionary):
        context = 1
        contexts: list[Sequence[Sentences]] = []

        def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
            self.contexts.append(contexts or [])
            return super().translate(sentences, contexts)

    monkeypatch.setattr(module, "load_model", lambda _: (torch.nn.Linear(1, 1), None))
    monkeypatch.setattr(module, "load_fusion", lambda *_: None)
    monkeypatch.setattr(module, "_open_translator", lambda *_: WithContext())
    cascade = Cascade(tmp_path, tmp_path, DecodeConfig(), SentenceConfig(), TranslateConfig())
    cascade.translate(WORDS)
    assert WithContext.contexts == [[[], [("我", "們")]]]
