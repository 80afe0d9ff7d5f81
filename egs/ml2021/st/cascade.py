"""Lecture -> words with times -> sentences -> translations -> subtitles, and the scores of whole lectures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lhotse import RecordingSet, SupervisionSet

from lhotse_prep.manifests.files import AUDIO, open_part
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.resumable import check_names, space_for
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.mt.open import open_translator
from ml2021.mt.terms.translation import translate_lectures
from ml2021.scoring.icefall_files import write_icefall_files
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.output import SUFFIXES, Segment, write_lecture
from ml2021.st.scores import translation_scores
from ml2021.st.sentences import Sentence, split_sentences, with_scores

if TYPE_CHECKING:
    from ml2021.st.punctuation import Punctuator

logger = logging.getLogger(__name__)
K = TypeVar("K")


@dataclass(frozen=True)
class _Recognised:
    """A test lecture and what was recognised in it."""

    id: str
    text: str
    duration: float  # seconds of the recording
    sentences: tuple[Sentence, ...]  # none without speech
    seconds: float  # that recognition took


class SentenceTranslator:
    """Translates the sentences of a lecture, or leaves them without a translation."""

    def __init__(self, mt: str | None, config: TranslateConfig, glossary: Path | None = None) -> None:
        """
        Args:
          mt: folder or name of any translator; None: none.
          config: how to translate.
          glossary: file of terms to keep.
        Raises:
          DataError: the model or the glossary is missing or damaged.
          ConfigError: the translator was not trained with config.context.
        """
        self.translator = open_translator(mt, config, glossary) if mt is not None else None

    @property
    def context(self) -> int:
        """How many sentences before each the translator reads."""
        return self.translator.context if self.translator is not None else 0

    def segments(self, sentences: Sequence[Sentence]) -> list[Segment]:
        """The sentences of a lecture, in order, with their translations."""
        return next(segments for _, segments in self.segments_of_lectures([(None, sentences)]))

    def segments_of_lectures(
        self, lectures: Iterable[tuple[K, Sequence[Sentence]]]
    ) -> Iterator[tuple[K, list[Segment]]]:
        """The segments of each lecture, (key, sentences), in order; several lectures are translated together."""
        if self.translator is None:
            for key, sentences in lectures:
                yield key, [Segment(s, "", 0.0) for s in sentences]
            return
        keyed = (((key, sentences), [s.tokens for s in sentences]) for key, sentences in lectures)
        for (key, sentences), translations in translate_lectures(self.translator, keyed, self.context):
            pairs = zip(sentences, translations, strict=True)
            yield key, [Segment(s, t.text, t.score, t.doubt) for s, t in pairs]


def load_punctuator(folder: Path | None) -> Punctuator | None:
    """The punctuation model in a folder; None for none."""
    if folder is None:
        return None
    from ml2021.st.punctuation import Punctuator  # needs sherpa-onnx

    return Punctuator(folder)


class Cascade:
    """A recogniser, whose words a translator translates if there is one."""

    def __init__(
        self,
        asr: str,
        options: RecogniserOptions,
        sentences: SentenceConfig,
        translator: SentenceTranslator,
        punctuation: Path | None = None,
    ) -> None:
        """
        Args:
          asr: folder or name of any recogniser.
          options: how to recognise.
          sentences: where sentences end.
          translator: of the sentences.
          punctuation: folder of a punctuation model, whose marks end sentences; None: pauses do.
        Raises:
          DataError: a model is missing or damaged, or was trained with another vocabulary.
          ConfigError: an option does not fit a model, or a package is missing.
        """
        self.punctuator = load_punctuator(punctuation)
        self.recogniser = open_recogniser(asr, options)
        self.sentences, self.translator = sentences, translator

    def recognise(self, audio: Path) -> list[TimedWord]:
        """The words of a recording (16 kHz, mono).

        Raises:
          DataError: it cannot be read.
          NoSpeechError: it has no speech, or the recogniser gives no word.
        """
        return self.recogniser.recognise(audio)

    def sentences_of(self, words: Sequence[TimedWord]) -> list[Sentence]:
        """Split a lecture's words, in order of time, into sentences."""
        marks = self.punctuator.sentence_ends([w.text for w in words]) if self.punctuator is not None else None
        sentences = split_sentences([(w.text, w.start, w.end) for w in words], self.sentences, marks)
        return with_scores(sentences, [w.score for w in words])

    def translate(self, words: Sequence[TimedWord]) -> list[Segment]:
        """Split a lecture's words, in order of time, into sentences and translate them."""
        return self.translator.segments(self.sentences_of(words))

    def run(self, audio: Path) -> list[Segment]:
        """The sentences of a recording with their translations, in order of time."""
        return self.translate(self.recognise(audio))

    def scores(self, translations: Mapping[str, str], bitext: Path) -> dict[str, Any]:
        """Scores of the cascade, and of its translator on the true transcript, on stage 7's pairs (see st.scores).

        Args:
          translations: {lecture: its whole translation}.
          bitext: stage 7's folder.
        """
        if self.translator.translator is None:
            return {}
        return translation_scores(translations, bitext, self.translator.translator, self.translator.context)


def run_test_lectures(
    cascade: Cascade, manifests: Path, bitext: Path, out_dir: Path, subtitles: SubtitleConfig, method: str
) -> None:
    """Write the subtitles and the .jsonl of each test lecture, recogs- and errs- files, and scores.json.

    A lecture without speech gets empty subtitles and an empty hypothesis, whose missing words count as deletions. It is
    logged, and `lectures_without_speech` in scores.json counts such lectures.

    Args:
      cascade: for the lectures.
      manifests: stage 1's folder.
      bitext: stage 7's folder.
      out_dir: where to write.
      subtitles: limits of the subtitles.
      method: of decoding, for the names of files.
    Raises:
      DataError: there is no test lecture, none has speech, the files of two would have the same name, or the disk is
        full.
    """
    texts, translations, num_silent = [], dict[str, str](), 0
    recognised = ((lecture, lecture.sentences) for lecture in _recognised_lectures(cascade, manifests))
    for lecture, segments in cascade.translator.segments_of_lectures(recognised):
        with space_for(lecture.id, out_dir):
            write_lecture(lecture.id, segments, out_dir, subtitles, lecture.duration)
        hypothesis = " ".join(token for s in segments for token in s.sentence.tokens)
        texts.append((lecture.id, lecture.text, hypothesis))
        translations[lecture.id] = " ".join(s.target for s in segments)
        num_silent += not segments
        logger.info(
            "%s: %.0f s recognised in %.1f s, %d sentences",
            lecture.id,
            lecture.duration,
            lecture.seconds,
            len(segments),
        )
    if num_silent == len(texts):
        raise DataError(f"the recogniser gives no words for any of the {len(texts)} test lectures; is it trained?")
    rate = write_icefall_files(out_dir, "test", "lectures", method, texts)
    logger.info("whole lectures: MER %s", rate.total)
    scores = {"mer_lecture": rate.percents()} | ({"lectures_without_speech": num_silent} if num_silent else {})
    write_json(out_dir / "scores.json", scores | cascade.scores(translations, bitext))


def _recognised_lectures(cascade: Cascade, manifests: Path) -> Iterator[_Recognised]:
    """Recognise the test lectures one after the other; one without speech has no sentences, with a warning.

    Raises:
      DataError: see run_test_lectures.
    """
    recordings = {
        r.id: (plain_audio(r), r.duration) for r in open_part(manifests, "recordings", "test", RecordingSet, AUDIO)
    }
    lectures = [
        (s.id, s.recording_id, s.text or "") for s in open_part(manifests, "supervisions", "test", SupervisionSet)
    ]
    if not lectures:
        raise DataError(f"the test part has no lecture in {manifests}: assign one to it in splits.yaml")
    check_names([name for name, _, _ in lectures], SUFFIXES)
    for name, recording, _ in lectures:
        if recording not in recordings:
            raise DataError(f"supervision {name} (test): there is no recording {recording}")
    for name, recording, text in lectures:
        audio, duration = recordings[recording]
        started = time.time()
        sentences: list[Sentence] = []
        try:
            sentences = cascade.sentences_of(cascade.recognise(audio))
        except NoSpeechError as e:
            logger.warning("%s; the hypothesis of %s is empty", e, name)
        yield _Recognised(name, text, duration, tuple(sentences), time.time() - started)
