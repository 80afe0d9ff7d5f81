"""Write the cascade's files of a lecture: subtitles, bilingual and in each language, and all details as JSON lines."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lhotse_prep.alignment.annotations import Interval, tiers_of, write_eaf, write_textgrid
from lhotse_prep.alignment.ctm import CtmWord, write_ctm
from lhotse_prep.workflow.files import write_json, write_jsonl
from ml2021.st.config import SubtitleConfig
from ml2021.st.cues.cue import TranslatedSentence
from ml2021.st.cues.limits import report
from ml2021.st.cues.make import make_cues
from ml2021.st.cues.write import write_ass, write_srt, write_vtt
from ml2021.st.sentences import Sentence

logger = logging.getLogger(__name__)
REPORT = ".subtitles.json"
SUFFIXES = (  # after the lecture's name
    ".srt", ".vtt", ".ass", ".zh.srt", ".zh.vtt", ".en.srt", ".en.vtt", ".ctm", ".jsonl", REPORT,
)  # fmt: skip
ANNOTATIONS = (".TextGrid", ".eaf")


@dataclass(frozen=True)
class Segment:
    """A sentence with its translation, and the mean log-probability of the translation's pieces."""

    sentence: Sentence
    target: str
    score: float
    doubt: str = ""  # why the translation may be none; empty if nothing speaks against it


def write_lecture(
    lecture: str, segments: Sequence[Segment], folder: Path, config: SubtitleConfig, duration: float
) -> None:
    """Write LECTURE with each of SUFFIXES, and log how many cues break a limit.

    These are bilingual subtitles and those of each language, the words as CTM, a JSON line per sentence, and a report
    of the cues that break a limit. A line has start, end (seconds), source, target, words ([text, start, end] each),
    word_scores (the recogniser's, probabilities) and translation_score (mean log-probability of a piece).

    Args:
      lecture: its name.
      segments: its sentences, in order of time.
      folder: where the files go.
      config: limits of the subtitles.
      duration: of the recording, in seconds; no subtitle is shown longer.
    """
    both = [
        TranslatedSentence(s.sentence.start, s.sentence.end, s.sentence.text, s.target, words=s.sentence.shown_words)
        for s in segments
    ]
    tracks = {
        lecture: make_cues(both, config, duration),
        f"{lecture}.zh": make_cues([replace(s, target="") for s in both], config, duration),
        f"{lecture}.en": make_cues([replace(s, source="") for s in both], config, duration),
    }
    for name, cues in tracks.items():
        write_srt(cues, folder / f"{name}.srt")
        write_vtt(cues, folder / f"{name}.vtt")
    write_ass(tracks[lecture], folder / f"{lecture}.ass")
    write_ctm(folder / f"{lecture}.ctm", _ctm_words(lecture, segments))
    write_jsonl(folder / f"{lecture}.jsonl", [_row(t, s) for t, s in zip(both, segments, strict=True)])
    limits = report(tracks, config)
    write_json(folder / f"{lecture}{REPORT}", limits)
    _log_limits(lecture, limits["files"])


def write_annotations(
    lecture: str, segments: Sequence[Segment], folder: Path, duration: float, recording: Path
) -> None:
    """Write LECTURE.TextGrid and LECTURE.eaf: tiers of utterances, words and confidences, and of the translation."""
    words = _ctm_words(lecture, segments)
    tiers = tiers_of(
        [Interval(s.sentence.start, s.sentence.end, s.sentence.text) for s in segments],
        [Interval(w.start, w.start + w.duration, w.word) for w in words],
        [w.confidence for w in words],
    )
    if any(s.target for s in segments):
        tiers["translation"] = [Interval(s.sentence.start, s.sentence.end, s.target) for s in segments]
    write_textgrid(folder / f"{lecture}.TextGrid", tiers, duration)
    write_eaf(folder / f"{lecture}.eaf", tiers, duration, recording)


def _ctm_words(lecture: str, segments: Sequence[Segment]) -> list[CtmWord]:
    """The words with their scores as confidences; 1.0 where the recogniser gave none."""
    words = []
    for s in (segment.sentence for segment in segments):
        scores = s.scores or (1.0,) * len(s.words)
        words += [CtmWord(lecture, w[1], max(0.0, w[2] - w[1]), w[0], c) for w, c in zip(s.words, scores, strict=True)]
    return words


def _row(sentence: TranslatedSentence, segment: Segment) -> dict[str, Any]:
    return {
        "start": round(sentence.start, 3),
        "end": round(sentence.end, 3),
        "source": sentence.source,
        "target": sentence.target,
        "words": [[w[0], round(w[1], 3), round(w[2], 3)] for w in segment.sentence.words],
        "word_scores": [round(score, 4) for score in segment.sentence.scores],
        "translation_score": round(segment.score, 4),
        **({"translation_doubt": segment.doubt} if segment.doubt else {}),
    }


def _log_limits(lecture: str, files: dict[str, Any]) -> None:
    counts: Counter[str] = Counter()
    for file in files.values():
        counts.update(file["counts"])
    num_cues, num_beyond = (sum(file[key] for file in files.values()) for key in ("cues", "cues_beyond_a_limit"))
    if num_beyond:
        kinds = ", ".join(f"{key} {count}" for key, count in counts.most_common())
        logger.info("%s: %d of %d cues break a limit (%s): %s%s", lecture, num_beyond, num_cues, kinds, lecture, REPORT)
    else:
        logger.info("%s: all %d cues are within the limits", lecture, num_cues)
