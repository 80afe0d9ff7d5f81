"""Lecture -> words with times -> sentences -> translations -> subtitles, and the scores of the whole."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lhotse import load_manifest

from lhotse_prep.errors import DataError
from lhotse_prep.normalize import remove_han_spaces
from lhotse_prep.stages import read_jsonl, write_json, write_jsonl
from ml2021.asr.load import load_model
from ml2021.asr.long_form import recognise
from ml2021.config import DecodeConfig
from ml2021.mt.config import TranslateConfig
from ml2021.mt.decode import open_marian
from ml2021.scoring.bleu import score_translations
from ml2021.scoring.error_rate import write_icefall_files
from ml2021.scoring.resegment import resegment
from ml2021.st.sentences import Sentence, SentenceConfig, split_sentences
from ml2021.st.subtitles import SubtitleConfig, TranslatedSentence, make_cues, write_subtitles

logger = logging.getLogger(__name__)


class Cascade:
    """A recogniser and a translator, one after the other."""

    def __init__(
        self,
        asr_dir: Path,
        marian_dir: Path,
        decode: DecodeConfig,
        sentences: SentenceConfig,
        translate: TranslateConfig,
    ) -> None:
        self.model, self.tokens, _ = load_model(asr_dir)
        self.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.decode, self.sentences = decode, sentences
        with tempfile.TemporaryDirectory() as work:
            self.translator, _ = open_marian(marian_dir, Path(work), translate)

    def run(self, audio: Path) -> list[tuple[Sentence, str]]:
        """The sentences of a recording with their translations, in order of time."""
        words = recognise(audio, self.model, self.tokens, self.decode)
        found = split_sentences([(w.text, w.start, w.end) for w in words], self.sentences)
        return list(zip(found, self.translator.translate([s.tokens for s in found]), strict=True))


def run_test_lectures(
    cascade: Cascade, manifests: Path, bitext: Path, out_dir: Path, subtitles: SubtitleConfig
) -> None:
    """Write NAME.srt, NAME.vtt and NAME.jsonl of each test lecture, recogs- and errs- files, and scores.json.

    Raises:
      DataError: there is no test lecture.
    """
    lectures = list(load_manifest(manifests / "ml2021_supervisions_test.jsonl.gz"))
    recordings = load_manifest(manifests / "ml2021_recordings_test.jsonl.gz")
    if not lectures:
        raise DataError(f"the test part has no lecture in {manifests}: give it one in splits.yaml")
    texts, translations = [], dict[str, str]()
    for lecture in lectures:
        started = time.time()
        recording = recordings[lecture.recording_id]
        pairs = cascade.run(Path(recording.sources[0].source))
        _write_lecture(lecture.id, pairs, out_dir, subtitles)
        hypothesis = " ".join(token for sentence, _ in pairs for token in sentence.tokens)
        texts.append((lecture.id, lecture.text, hypothesis))
        translations[lecture.id] = " ".join(target for _, target in pairs)
        logger.info("%s: %.0f s of speech in %.1f s, %d sentences",
                    lecture.id, recording.duration, time.time() - started, len(pairs))  # fmt: skip
    rate = write_icefall_files(out_dir, "test", "lectures", cascade.decode.decoding_method, texts)
    logger.info("whole lectures: MER %s", rate.total)
    write_json(out_dir / "scores.json", {"mer_lecture": rate.percents()} | _translation_scores(translations, bitext))


def against_references(translation: str, references: Sequence[str]) -> list[str]:
    """Cut a lecture's translation where its references are cut; case and marks do not count in finding the places."""
    words = translation.split()
    cuts = resegment([_bare(w) for w in words], [[_bare(w) for w in r.split()] for r in references])
    segments, begin = [], 0
    for cut in cuts:
        segments.append(" ".join(words[begin : begin + len(cut)]))
        begin += len(cut)
    return segments


def _write_lecture(lecture: str, pairs: Sequence[tuple[Sentence, str]], out_dir: Path, config: SubtitleConfig) -> None:
    sentences = [TranslatedSentence(s.start, s.end, written(s.tokens), target) for s, target in pairs]
    write_subtitles(make_cues(sentences, config), out_dir, lecture)
    rows = [
        {"start": round(s.start, 3), "end": round(s.end, 3), "source": s.source, "target": s.target,
         "words": [[w[0], round(w[1], 3), round(w[2], 3)] for w in pair[0].words]}
        for s, pair in zip(sentences, pairs, strict=True)
    ]  # fmt: skip
    write_jsonl(out_dir / f"{lecture}.jsonl", rows)


def _translation_scores(translations: dict[str, str], bitext: Path) -> dict[str, Any]:
    """BLEU and chrF over the pairs of stage 7 that were kept; the rejected ones only show where others end."""
    rows = [r | {"kept": True} for r in read_jsonl(bitext / "test.jsonl")]
    rows += [r | {"kept": False} for r in read_jsonl(bitext / "rejected.jsonl")]
    hypotheses, references = [], []
    for lecture, translation in translations.items():
        own = sorted((r for r in rows if r["lecture"] == lecture and r["target"]), key=lambda r: r["id"])
        if not own:
            continue
        segments = against_references(translation, [r["target"] for r in own])
        kept = [(s, r["target"]) for s, r in zip(segments, own, strict=True) if r["kept"]]
        hypotheses += [s for s, _ in kept]
        references += [r for _, r in kept]
    if not references:
        logger.info("no translations to score the cascade against")
        return {}
    scores = score_translations(hypotheses, references)
    logger.info("cascade: BLEU %.2f, chrF %.2f on %d sentences", scores.bleu, scores.chrf, len(references))
    return {
        "bleu_cascade": round(scores.bleu, 2),
        "chrf_cascade": round(scores.chrf, 2),
        "bleu_signature": scores.bleu_signature,
        "chrf_signature": scores.chrf_signature,
    }


def written(tokens: Sequence[str]) -> str:
    """Spaced tokens as a reader expects them: no space inside Chinese, one around English."""
    return remove_han_spaces(" ".join(tokens))


def _bare(word: str) -> str:
    return re.sub(r"[^\w]", "", word.lower()) or word
