"""Aligns all lectures of stage 1: manifests in; timed supervisions, CTM, a confidence report and scores out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet
from numpy.typing import NDArray

from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.ctm import CtmWord, write_ctm
from lhotse_prep.alignment.stretches import make_stretches, onset_errors
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.gate import read_samples
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import exact_times_report, read_exact_times
from lhotse_prep.manifests.faults import supervision_faults
from lhotse_prep.manifests.files import AUDIO, CONFIDENCE, load_part, part_file, write_manifest
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json, write_jsonl

logger = logging.getLogger(__name__)
PATTERNS = ("ml2021_supervisions_*.jsonl.gz", "ml2021_*.ctm", "confidence.jsonl")  # files written without scores
_VALIDATE = "check the manifests (python -m lhotse_prep validate)"
_LOW_CONFIDENCE = 0.3  # where an aligner has learned, the median is above 0.8


@dataclass(frozen=True)
class Lecture:
    """A recording to align, with its transcript."""

    supervision: SupervisionSegment  # of the whole recording
    audio: Path
    part: str  # one of PARTS

    @property
    def id(self) -> str:
        """The supervision's id."""
        return str(self.supervision.id)

    @property
    def words(self) -> list[str]:
        """The transcript's units.

        Raises:
          DataError: there are none.
        """
        words = (self.supervision.text or "").split()
        if not words:
            raise DataError(f"lecture {self.id}: its transcript is empty, there is nothing to align")
        return words

    def samples(self) -> NDArray[np.float32]:
        """The recording at 16 kHz, (num_samples,), read and checked again at each call; raises AudioError."""
        return read_samples(self.audio, AudioLimits())


Times = dict[str, WordTimes]  # of the words of each lecture
Regions = dict[str, NDArray[np.int64]]  # of each lecture, (R, 2) stretches of speech in samples
TimeWords = Callable[[Sequence[Lecture]], tuple[Times, Regions]]


def align_corpus(
    manifests: Path, out_dir: Path, time_words: TimeWords, config: StretchConfig, truth: Path | None = None
) -> None:
    """Write ml2021_supervisions_{part}.jsonl.gz, ml2021_{part}.ctm and confidence.jsonl; with truth also scores.json.

    Lectures whose utterances have exact times in stage 1's manifests take those, and are not aligned.

    Args:
      manifests: stage 1's folder.
      out_dir: where to write.
      time_words: times the words of all other lectures; it is not called if there are no others. It decides how many
        recordings are in memory at a time: nothing is read before it calls Lecture.samples.
      config: where supervisions end.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]. It may be absent, and only the scores use it.
    Raises:
      DataError: a manifest is missing, damaged or unsafe; exact times are not within their recording; or as time_words
        raises it.
    """
    exact = {part: _read_exact_times(manifests, part) for part in PARTS}
    lectures = [x for part in PARTS for x in _read_lectures(manifests, part, exact[part])]
    times, regions = time_words(lectures) if lectures else ({}, {})
    out_dir.mkdir(parents=True, exist_ok=True)
    reports, errors = [], []
    for part in PARTS:
        stretches = [s for segments in exact[part].values() for s in segments]
        reports += [exact_times_report(recording, segments) for recording, segments in exact[part].items()]
        aligned = [x for x in lectures if x.part == part]
        for x in aligned:
            spoken = make_stretches(x.supervision, times[x.id], regions[x.id] / SAMPLE_RATE, config)
            stretches += spoken
            errors += _onset_errors(spoken, truth / f"{x.id}.json") if truth is not None else []
            reports.append(confidence_report(x.id, x.words, times[x.id], regions[x.id] / SAMPLE_RATE))
            logger.info("%s", report_line(reports[-1]))
        write_manifest(part_file(out_dir, "supervisions", part), stretches)
        if stretches:
            write_ctm(out_dir / f"ml2021_{part}.ctm", ctm_words(stretches))
        logger.info(
            "%s: %d recordings aligned, %d with exact times, %d supervisions",
            part,
            len(aligned),
            len(exact[part]),
            len(stretches),
        )
    write_jsonl(out_dir / CONFIDENCE, reports)
    if truth is not None:
        write_json(out_dir / "scores.json", (_counts(times) if times else {}) | _error_summary(errors))


def ctm_words(stretches: Sequence[SupervisionSegment]) -> list[CtmWord]:
    """The words of aligned supervisions."""
    return [
        CtmWord(s.recording_id, item.start, item.duration, item.symbol, item.score or 0.0)
        for s in stretches
        for item in (s.alignment or {}).get("word", [])
    ]


def _read_exact_times(manifests: Path, part: str) -> dict[str, list[SupervisionSegment]]:
    """Exact times of a part, checked against the recordings; raises DataError."""
    exact = read_exact_times(manifests, part)
    recordings = {r.id: r for r in load_part(manifests, "recordings", part, RecordingSet, AUDIO)} if exact else {}
    if strange := sorted(exact.keys() - recordings.keys()):
        raise DataError(f"{part}: there are exact times of {strange[0]}, but there is no such recording; {_VALIDATE}")
    faults = [
        f for name, segments in exact.items() for s in segments for f in supervision_faults(part, s, recordings[name])
    ]
    if faults:
        more = f" ({len(faults) - 1} more such faults)" if len(faults) > 1 else ""
        raise DataError(f"{part_file(manifests, 'segments', part)}: {faults[0]}{more}")
    return exact


def _read_lectures(manifests: Path, part: str, exact: Mapping[str, object]) -> list[Lecture]:
    """The lectures of a part that have no exact times."""
    recordings = {r.id: r for r in load_part(manifests, "recordings", part, RecordingSet, AUDIO)}
    lectures = []
    for s in load_part(manifests, "supervisions", part, SupervisionSet):
        if s.recording_id in exact:
            continue
        if s.recording_id not in recordings:
            raise DataError(f"supervision {s.id} ({part}): there is no recording {s.recording_id}; {_VALIDATE}")
        lectures.append(Lecture(s, plain_audio(recordings[s.recording_id]), part))
    return lectures


def _onset_errors(stretches: Sequence[SupervisionSegment], truth: Path) -> list[float]:
    return onset_errors(stretches, json.loads(truth.read_text(encoding="utf-8"))) if truth.is_file() else []


def _counts(times: Times) -> dict[str, float]:
    """Words, words without a time, and the median confidence of a word; warns if that is low."""
    num_words = sum(len(t.start) for t in times.values())
    num_untimed = sum(int(np.isnan(t.start).sum()) for t in times.values())
    logger.info("%d of %d words have no time", num_untimed, num_words)
    confidence = float(np.median(np.concatenate([t.score for t in times.values()])))
    if confidence < _LOW_CONFIDENCE:
        logger.warning(
            "the median confidence of a word is %.2f: the aligner has learned too little, do not trust these times; "
            "align more lectures at once, or raise aligner.max_rounds in asr.yaml",
            confidence,
        )
    return {"words": num_words, "words_untimed": num_untimed, "confidence_median": round(confidence, 4)}


def _error_summary(errors: Sequence[float]) -> dict[str, float | None]:
    """Milliseconds; a true stretch whose first token has no time counts as infinitely far off."""
    if not errors:
        return {}
    median, p95, worst = (float(1000 * np.quantile(errors, q, method="higher")) for q in (0.5, 0.95, 1.0))
    logger.info("start of true sentences: off by %.0f ms (median), %.0f ms (95%%), %.0f ms (worst)", median, p95, worst)
    values = {"alignment_median_ms": median, "alignment_p95_ms": p95, "alignment_worst_ms": worst}
    return {k: round(v, 1) if np.isfinite(v) else None for k, v in values.items()}
