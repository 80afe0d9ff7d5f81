"""Lecture -> words with times -> sentences -> translations -> subtitles, and the scores of whole lectures."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhotse import RecordingSet, SupervisionSet

from lhotse_prep.manifests.files import AUDIO, load_part
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.resumable import check_names, space_for
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.mt.open import open_translator
from ml2021.mt.terms.translation import previous_sentences
from ml2021.scoring.icefall_files import write_icefall_files
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.output import SUFFIXES, Segment, write_lecture
from ml2021.st.scores import translation_scores
from ml2021.st.sentences import Sentence, split_sentences, with_scores

if TYPE_CHECKING:
    from ml2021.st.punctuation import Punctuator

logger = logging.getLogger(__name__)


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
        if self.translator is None:
            return [Segment(s, "", 0.0) for s in sentences]
        tokens = [s.tokens for s in sentences]
        translations = self.translator.translate(tokens, previous_sentences(tokens, self.context))
        return [Segment(s, t.text, t.score, t.doubt) for s, t in zip(sentences, translations, strict=True)]


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

    def translate(self, words: Sequence[TimedWord]) -> list[Segment]:
        """Split a lecture's words, in order of time, into sentences and translate them."""
        marks = self.punctuator.sentence_ends([w.text for w in words]) if self.punctuator is not None else None
        sentences = split_sentences([(w.text, w.start, w.end) for w in words], self.sentences, marks)
        return self.translator.segments(with_scores(sentences, [w.score for w in words]))

    def run(self, audio: Path) -> list[Segment]:
        """The sentences of a recording with their translations, in order of time."""
        return self.translate(self.recognise(audio))

    def scores(self, lectures: Mapping[str, Sequence[Segment]], bitext: Path) -> dict[str, Any]:
        """Scores of the cascade, and of its translator on the true transcript, on stage 7's pairs (see st.scores)."""
        if self.translator.translator is None:
            return {}
        translations = {name: " ".join(s.target for s in segments) for name, segments in lectures.items()}
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
    lectures = list(load_part(manifests, "supervisions", "test", SupervisionSet))
    recordings = {r.id: r for r in load_part(manifests, "recordings", "test", RecordingSet, AUDIO)}
    if not lectures:
        raise DataError(f"the test part has no lecture in {manifests}: assign one to it in splits.yaml")
    check_names([lecture.id for lecture in lectures], SUFFIXES)
    texts, translations, silent = [], dict[str, list[Segment]](), list[str]()
    for lecture in lectures:
        started = time.time()
        if lecture.recording_id not in recordings:
            raise DataError(f"supervision {lecture.id} (test): there is no recording {lecture.recording_id}")
        recording = recordings[lecture.recording_id]
        try:
            segments = cascade.run(plain_audio(recording))
        except NoSpeechError as e:
            logger.warning("%s; the hypothesis of %s is empty", e, lecture.id)
            silent.append(lecture.id)
            segments = []
        with space_for(lecture.id, out_dir):
            write_lecture(lecture.id, segments, out_dir, subtitles, recording.duration)
        hypothesis = " ".join(token for s in segments for token in s.sentence.tokens)
        texts.append((lecture.id, lecture.text, hypothesis))
        translations[lecture.id] = segments
        logger.info(
            "%s: %.0f s of speech in %.1f s, %d sentences",
            lecture.id,
            recording.duration,
            time.time() - started,
            len(segments),
        )
    if len(silent) == len(lectures):
        raise DataError(f"the recogniser gives no words for any of the {len(lectures)} test lectures; is it trained?")
    rate = write_icefall_files(out_dir, "test", "lectures", method, texts)
    logger.info("whole lectures: MER %s", rate.total)
    scores = {"mer_lecture": rate.percents()} | ({"lectures_without_speech": len(silent)} if silent else {})
    write_json(out_dir / "scores.json", scores | cascade.scores(translations, bitext))
