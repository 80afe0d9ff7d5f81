"""Aligns all lectures of stage 1: manifests in; timed supervisions, CTM, annotations, confidences and scores out.

Manifests are read and files are written as streams: a lecture's times are in memory only while they are written.
"""

from __future__ import annotations

import json
import logging
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from lhotse import SupervisionSegment
from numpy.typing import NDArray

from lhotse_prep.alignment.annotations import Interval, tiers_of, write_eaf, write_textgrid
from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.ctm import CtmWord, ctm_line
from lhotse_prep.alignment.lecture_times import file_name
from lhotse_prep.alignment.lectures import ExactTimes, Lecture, Lectures
from lhotse_prep.alignment.stretches import end_errors, make_stretches, onset_errors
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import exact_times_report
from lhotse_prep.manifests.files import CONFIDENCE, part_file, write_manifest
from lhotse_prep.workflow.files import json_line, whole_file, write_json

logger = logging.getLogger(__name__)
ANNOTATIONS = "annotations"  # subfolder
# files written without scores
PATTERNS = ("ml2021_supervisions_*.jsonl.gz", "ml2021_*.ctm", "confidence.jsonl", ANNOTATIONS)
_LOW_CONFIDENCE = 0.3  # where an aligner has learned, the median is above 0.8

Times = dict[str, WordTimes]  # of the words of each lecture
Regions = dict[str, NDArray[np.int64]]  # of each lecture, (R, 2) stretches of speech in samples
TimedLecture = tuple[Lecture, WordTimes, NDArray[np.int64]]  # times of its words, stretches of speech
TimeWords = Callable[[Iterable[Lecture]], Iterator[TimedLecture]]


def align_corpus(
    manifests: Path, out_dir: Path, time_words: TimeWords, config: StretchConfig, truth: Path | None = None
) -> None:
    """Write ml2021_supervisions_{part}.jsonl.gz, ml2021_{part}.ctm and confidence.jsonl; with truth also scores.json.

    Lectures whose utterances have exact times in stage 1's manifests take those, and are not aligned. annotations/ gets
    a TextGrid for Praat and an EAF for ELAN of each of the others.

    Args:
      manifests: stage 1's folder.
      out_dir: where to write.
      time_words: times the words of all other lectures, and gives each in their order; it is not called if there are
        no others. It may go through them several times, and decides how many recordings are in memory at a time:
        nothing is read before it calls Lecture.samples.
      config: where supervisions end.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]. It may be absent, and only the scores use it.
    Raises:
      DataError: a manifest is missing, damaged or unsafe; exact times are not within their recording; or as time_words
        raises it.
    """
    exact = {part: ExactTimes(manifests, part) for part in PARTS}
    lectures = Lectures(manifests, exact)
    timed = time_words(lectures) if lectures.check() else iter(())
    out_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out_dir / ANNOTATIONS, ignore_errors=True)
    following = next(timed, None)  # the first one before any file is opened
    summary = _Summary()
    with whole_file(out_dir / CONFIDENCE) as reports:

        def stretches_of(part: str) -> Iterator[SupervisionSegment]:
            nonlocal following
            for recording, segments in exact[part]:
                reports.write(json_line(exact_times_report(recording, segments)))
                yield from segments
            while following is not None and following[0].part == part:
                x, times, regions = following
                spoken = make_stretches(x.supervision, times, regions / SAMPLE_RATE, config)
                report = confidence_report(x.id, x.words, times, regions / SAMPLE_RATE)
                reports.write(json_line(report))
                logger.info("%s", report_line(report))
                summary.add(times, spoken, _read_truth(truth, x.id))
                write_annotations(out_dir / ANNOTATIONS, x, spoken)
                num_aligned[part] += 1
                yield from spoken
                following = next(timed, None)

        num_aligned = dict.fromkeys(PARTS, 0)
        for part in PARTS:
            num_stretches = _write_part(out_dir, part, stretches_of(part))
            logger.info(
                "%s: %d recordings aligned, %d with exact times, %d supervisions",
                part,
                num_aligned[part],
                len(exact[part].num_words),
                num_stretches,
            )
    if truth is not None:
        write_json(out_dir / "scores.json", summary.scores())


def _write_part(out_dir: Path, part: str, stretches: Iterator[SupervisionSegment]) -> int:
    """Write the supervisions and the CTM file of a part, or remove them if it has none; returns their number."""
    path = out_dir / f"ml2021_{part}.ctm"
    num_stretches = 0
    with ExitStack() as stack:

        def written_to(ctm: IO[Any]) -> Iterator[SupervisionSegment]:
            nonlocal num_stretches
            for s in chain([first], stretches):
                ctm.writelines(map(ctm_line, ctm_words([s])))
                num_stretches += 1
                yield s

        first = next(stretches, None)
        if first is None:
            path.unlink(missing_ok=True)
        rows = written_to(stack.enter_context(whole_file(path))) if first is not None else iter(())
        write_manifest(part_file(out_dir, "supervisions", part), rows)
    return num_stretches


def ctm_words(stretches: Sequence[SupervisionSegment]) -> list[CtmWord]:
    """The words of aligned supervisions."""
    return [
        CtmWord(s.recording_id, item.start, item.duration, item.symbol, item.score or 0.0)
        for s in stretches
        for item in (s.alignment or {}).get("word", [])
    ]


def write_annotations(folder: Path, lecture: Lecture, stretches: Sequence[SupervisionSegment]) -> None:
    """Write the utterances, words and confidences of a lecture as NAME.TextGrid and NAME.eaf."""
    words = ctm_words(stretches)
    tiers = tiers_of(
        [Interval(s.start, s.end, s.text or "") for s in stretches],
        [Interval(w.start, w.start + w.duration, w.word) for w in words],
        [w.confidence for w in words],
    )
    name, duration = file_name(lecture.id), lecture.supervision.duration
    write_textgrid(folder / f"{name}.TextGrid", tiers, duration)
    write_eaf(folder / f"{name}.eaf", tiers, duration, lecture.audio)


def _read_truth(folder: Path | None, lecture: str) -> list[tuple[float, float, str]]:
    """The true stretches of a lecture, none if they are unknown."""
    path = folder / f"{lecture}.json" if folder else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else []


class _Summary:
    """What scores.json has, of all lectures that were aligned."""

    def __init__(self) -> None:
        self._num_untimed = 0
        self._scores = array("d")
        self._onset_errors, self._end_errors = array("d"), array("d")

    def add(
        self, times: WordTimes, stretches: Sequence[SupervisionSegment], truth: Sequence[tuple[float, float, str]]
    ) -> None:
        """Count a lecture."""
        self._num_untimed += int(np.isnan(times.start).sum())
        self._scores.extend(times.score.tolist())
        self._onset_errors.extend(onset_errors(stretches, truth))
        self._end_errors.extend(end_errors(stretches, truth))

    def scores(self) -> dict[str, float | None]:
        """Of the words, and of the true stretches."""
        counts = self._counts() if self._scores else {}
        starts = _error_summary(self._onset_errors, "start", "alignment")
        return counts | starts | _error_summary(self._end_errors, "end", "alignment_end")

    def _counts(self) -> dict[str, float]:
        """Words, words without a time, and the median confidence of a word; warns if that is low."""
        num_words = len(self._scores)
        logger.info("%d of %d words have no time", self._num_untimed, num_words)
        confidence = float(np.median(np.frombuffer(self._scores)))
        if confidence < _LOW_CONFIDENCE:
            logger.warning(
                "the median confidence of a word is %.2f: the aligner has learned too little, do not trust these "
                "times; align more lectures at once, or raise aligner.first_epochs in asr.yaml",
                confidence,
            )
        return {"words": num_words, "words_untimed": self._num_untimed, "confidence_median": round(confidence, 4)}


def _error_summary(errors: Sequence[float], what: str, name: str) -> dict[str, float | None]:
    """Milliseconds; a true stretch whose first (last) token has no time counts as infinitely far off."""
    if not errors:
        return {}
    median, p95, worst = (float(1000 * np.quantile(errors, q, method="higher")) for q in (0.5, 0.95, 1.0))
    text = "%s of true sentences: off by %.0f ms (median), %.0f ms (95%%), %.0f ms (worst)"
    logger.info(text, what, median, p95, worst)
    values = {f"{name}_median_ms": median, f"{name}_p95_ms": p95, f"{name}_worst_ms": worst}
    return {k: round(v, 1) if np.isfinite(v) else None for k, v in values.items()}
