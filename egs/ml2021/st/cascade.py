"""Lecture -> words with times -> sentences -> translations -> subtitles, and the scores of whole lectures."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lhotse import RecordingSet, SupervisionSet

from lhotse_prep.manifests.files import AUDIO, load_part
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.resumable import check_names, space_for
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.long_form import recognise
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.load import load_model
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.mt.decode import open_marian
from ml2021.mt.translate import Translator, load_translator, previous_sentences
from ml2021.scoring.icefall_files import write_icefall_files
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.model_files import translator_dir
from ml2021.st.output import SUFFIXES, Segment, write_lecture
from ml2021.st.scores import translation_scores
from ml2021.st.sentences import split_sentences, with_scores

logger = logging.getLogger(__name__)


class Cascade:
    """A recogniser whose words a translator translates."""

    def __init__(
        self, asr_dir: Path, mt_dir: Path, decode: DecodeConfig, sentences: SentenceConfig, translate: TranslateConfig
    ) -> None:
        """
        Args:
          asr_dir: an experiment of stage 5.
          mt_dir: an experiment of stage 8, or a Marian or CTranslate2 folder.
          decode: how to recognise.
          sentences: where sentences end.
          translate: how to translate.
        Raises:
          DataError: a model is missing or damaged, or was trained with another vocabulary.
          ConfigError: decode has lm_scale but no lm_dir, or the translator was not trained with translate.context.
        """
        self.model, self.tokens = load_model(asr_dir)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(device)
        self.fusion = load_fusion(decode, self.tokens, device)
        self.decode, self.sentences = decode, sentences
        self.translator = _open_translator(mt_dir, translate)
        self.context = self.translator.context

    def recognise(self, audio: Path) -> list[TimedWord]:
        """The words of a recording (16 kHz, mono).

        Raises:
          DataError: it cannot be read.
          NoSpeechError: it has no speech, or the recogniser gives no word.
        """
        words = list(recognise(audio, self.model, self.tokens, self.decode, self.fusion))
        if not words:
            raise NoSpeechError(
                f"{audio}: the recogniser gives no words; is it a lecture in the recogniser's language?"
            )
        return words

    def translate(self, words: Sequence[TimedWord]) -> list[Segment]:
        """Split a lecture's words, in order of time, into sentences and translate them."""
        sentences = split_sentences([(w.text, w.start, w.end) for w in words], self.sentences)
        sentences = with_scores(sentences, [w.score for w in words])
        tokens = [s.tokens for s in sentences]
        translations = self.translator.translate(tokens, previous_sentences(tokens, self.context))
        return [Segment(s, t.text, t.score) for s, t in zip(sentences, translations, strict=True)]

    def run(self, audio: Path) -> list[Segment]:
        """The sentences of a recording with their translations, in order of time."""
        return self.translate(self.recognise(audio))

    def scores(self, lectures: Mapping[str, Sequence[Segment]], bitext: Path) -> dict[str, Any]:
        """Scores of the cascade, and of its translator on the true transcript, on stage 7's pairs (see st.scores)."""
        translations = {name: " ".join(s.target for s in segments) for name, segments in lectures.items()}
        return translation_scores(translations, bitext, self.translator, self.context)


def _open_translator(mt_dir: Path, config: TranslateConfig) -> Translator:
    if (mt_dir / "model.bin").is_file():
        return load_translator(mt_dir, replace(config, engine="ctranslate2"))
    with tempfile.TemporaryDirectory() as work:
        return open_marian(translator_dir(mt_dir), Path(work), config)[0]


def run_test_lectures(
    cascade: Cascade, manifests: Path, bitext: Path, out_dir: Path, subtitles: SubtitleConfig
) -> None:
    """Write the subtitles and the .jsonl of each test lecture, recogs- and errs- files, and scores.json.

    A lecture without speech gets empty subtitles and an empty hypothesis, whose missing words count as deletions. It is
    logged, and `lectures_without_speech` in scores.json counts such lectures.

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
    rate = write_icefall_files(out_dir, "test", "lectures", cascade.decode.decoding_method, texts)
    logger.info("whole lectures: MER %s", rate.total)
    scores = {"mer_lecture": rate.percents()} | ({"lectures_without_speech": len(silent)} if silent else {})
    write_json(out_dir / "scores.json", scores | cascade.scores(translations, bitext))
