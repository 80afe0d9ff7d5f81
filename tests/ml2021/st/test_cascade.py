"""The cascade: words are translated in order, and translations are scored where the references are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.mt.terms import translation
from ml2021.mt.translate import Sentences, Translation
from ml2021.scoring.resegment import cut_like
from ml2021.st import cascade as module
from ml2021.st import scores as scores_module
from ml2021.st.cascade import Cascade, SentenceTranslator, run_test_lectures
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.scores import translation_scores
from ml2021.st.sentences import written
from tests.ml2021.st.stub_models import StubRecogniser

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
    monkeypatch.setattr(module, "open_recogniser", lambda *_: StubRecogniser())
    monkeypatch.setattr(module, "open_translator", lambda *_: Dictionary())
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(lambda _: WORDS))
    return Cascade("asr", RecogniserOptions(), SentenceConfig(), SentenceTranslator("mt", TranslateConfig()))


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
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")
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


class Counting(Dictionary):
    """Counts the sentences of each call, and gives what was before a sentence along with its translation."""

    context = 1

    def __init__(self) -> None:
        self.calls: list[int] = []

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        self.calls.append(len(sentences))
        before = contexts if contexts is not None else [()] * len(sentences)
        rows = zip(sentences, before, strict=True)
        return [Translation(f"{' '.join(s)} after {[' '.join(b) for b in c]}", -0.5) for s, c in rows]


def scores_without_lectures(*_: object) -> dict[str, float]:
    return {}


@pytest.mark.parametrize(("at_once", "num_calls"), [(1, 7), (5, 3), (2000, 1)])
def test_lectures_are_translated_together_with_the_files_of_one_after_the_other(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, num_calls: int
) -> None:
    """Seven lectures of two sentences; the sentences before each are those of its own lecture."""
    monkeypatch.setattr(translation, "_AT_ONCE", at_once)
    monkeypatch.setattr(Cascade, "scores", scores_without_lectures)
    translator = cascade.translator.translator = Counting()
    lectures = [f"l{i}" for i in range(7)]
    make_files(tmp_path, lectures)
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")
    assert len(translator.calls) == num_calls and sum(translator.calls) == 14
    for lecture in lectures:
        rows = read_jsonl(tmp_path / "out" / f"{lecture}.jsonl")
        assert [r["target"] for r in rows] == ["我 們 after []", "bert 好 after ['我 們']"]


def test_files_of_a_lecture_are_written_before_much_later_ones_are_recognised(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "_AT_ONCE", 4)
    monkeypatch.setattr(Cascade, "scores", scores_without_lectures)
    make_files(tmp_path, [f"l{i}" for i in range(6)])
    num_written = []

    def words_of(audio: Path) -> list[TimedWord]:
        num_written.append(len(list((tmp_path / "out").glob("*.srt"))) // 3)
        return WORDS

    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(words_of))
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")
    assert num_written == [0, 0, 2, 2, 4, 4]


def test_pairs_of_many_lectures_are_read_once_and_translated_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path)
    lectures = [f"l{i}" for i in range(20)]
    rows = [
        {"id": f"{lecture}-{k:04d}", "lecture": lecture, "source": f"s{k} 我", "target": f"s{k} 我 after ['x']"}
        for k in (1, 0)
        for lecture in lectures
    ]
    write_jsonl(tmp_path / "test.jsonl", rows)
    num_read = 0
    iterate = scores_module.iterate_pairs

    def counting(*arguments: Any) -> Iterator[dict[str, Any]]:
        nonlocal num_read
        for row in iterate(*arguments):
            num_read += 1
            yield row

    monkeypatch.setattr(scores_module, "iterate_pairs", counting)
    translator = Counting()
    translations = dict.fromkeys(lectures, "s0 我 after s1 我")
    together = translation_scores(translations, tmp_path, translator, 1)
    assert translator.calls == [40] and num_read == 41
    monkeypatch.setattr(translation, "_AT_ONCE", 1)
    assert translation_scores(translations, tmp_path, translator, 1) == together
    assert translator.calls[1:] == [2] * 20 and together["bleu_oracle"] > 30


def test_lecture_without_speech_has_an_empty_hypothesis_and_stops_no_other(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_files(tmp_path, ["quiet", "x"])
    words = staticmethod(lambda audio: [] if audio.stem == "quiet" else WORDS)
    monkeypatch.setattr(StubRecogniser, "words_of", words)
    run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")
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
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(lambda _: []))
    with pytest.raises(DataError, match="no words for any of the 1 test lectures"):
        run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")


def test_no_test_lecture_is_an_error(cascade: Cascade, tmp_path: Path) -> None:
    make_files(tmp_path, [])
    with pytest.raises(DataError, match="test part has no lecture"):
        run_test_lectures(cascade, tmp_path, tmp_path, tmp_path / "out", SubtitleConfig(), "greedy_search")


def test_translation_is_cut_where_its_references_are() -> None:
    references = ["We train it.", "Then, the loss falls.", "Good."]
    assert cut_like("we train it then the loss falls good", references) == [
        "we train it",
        "then the loss falls",
        "good",
    ]
    assert " ".join(cut_like("something else entirely", references)).strip() == "something else entirely"
    assert cut_like("", references) == ["", "", ""]


def test_tokens_are_written_as_readers_expect() -> None:
    assert written(["我", "們", "的", "bert", "model", "好"]) == "我們的 bert model 好"


def test_the_translator_gets_as_many_sentences_of_context_as_it_was_trained_with(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithContext(Dictionary):
        context = 1
        contexts: list[Sequence[Sentences]] = []

        def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
            self.contexts.append(contexts or [])
            return super().translate(sentences, contexts)

    monkeypatch.setattr(module, "open_translator", lambda *_: WithContext())
    cascade.translator = SentenceTranslator("mt", TranslateConfig())
    cascade.translate(WORDS)
    assert WithContext.contexts == [[[], [("我", "們")]]]


def test_without_a_translator_sentences_have_no_translation(cascade: Cascade) -> None:
    cascade.translator = SentenceTranslator(None, TranslateConfig())
    assert [(s.sentence.text, s.target) for s in cascade.translate(WORDS)] == [("我們", ""), ("bert 好", "")]


def test_marks_of_a_punctuation_model_end_sentences(cascade: Cascade) -> None:
    class Comma:
        def sentence_ends(self, words: Sequence[str]) -> list[str]:
            return ["。" if word == "我" else "" for word in words]

    cascade.punctuator = Comma()  # type: ignore[assignment]
    cascade.sentences = SentenceConfig(min_tokens=1)
    cascade.translator = SentenceTranslator(None, TranslateConfig())
    assert [s.sentence.text for s in cascade.translate(WORDS)] == ["我。", "們 bert 好"]
