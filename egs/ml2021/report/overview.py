"""Figures of all lectures of a run and distributions over all windows, collected one window at a time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse import MonoCut, SupervisionSegment

from lhotse_prep.manifests.fields import SUPERVISION
from lhotse_prep.manifests.files import open_cuts, part_file, read_items
from lhotse_prep.workflow.files import whole_file
from ml2021.scoring.counts import ErrorRate

PARTS = ("test", "dev", "train")  # the most interesting first
_COLUMNS = ("lecture", "part", "seconds", "windows", "tokens", "confidence", "reference_tokens", "errors", "mer")


@dataclass(slots=True)
class LectureFigures:
    """What is counted of a lecture."""

    id: str
    part: str
    duration: float  # seconds of the recording
    num_windows: int = 0
    num_tokens: int = 0
    num_aligned: int = 0  # tokens of windows with a confidence
    confidences: float = 0.0  # sum over these tokens
    num_ref: int = 0  # tokens of windows that were scored
    num_errors: int = 0

    @property
    def confidence(self) -> float | None:
        """Mean confidence of the tokens; None without any."""
        return self.confidences / self.num_aligned if self.num_aligned else None

    @property
    def error_rate(self) -> float | None:
        """In percent; None without reference tokens."""
        return 100 * self.num_errors / self.num_ref if self.num_ref else None

    def add(self, cut: MonoCut, rate: ErrorRate | None) -> None:
        """Count a window."""
        self.num_windows += 1
        num_tokens = num_tokens_of(cut.supervisions)
        self.num_tokens += num_tokens
        if (confidence := confidence_of(cut.supervisions)) is not None:
            self.num_aligned += num_tokens
            self.confidences += confidence * num_tokens
        if rate is not None and cut.id in rate.alignments:
            self.num_ref += sum(ref != "" for ref, _ in rate.alignments[cut.id])
            self.num_errors += sum(ref != hyp for ref, hyp in rate.alignments[cut.id])


@dataclass
class Overview:
    """All lectures of a run, and how the figures of their windows are distributed."""

    lectures: list[LectureFigures] = field(default_factory=list)  # by part, in the order of the manifests
    word_confidences: array[float] = field(default_factory=lambda: array("d"))
    stretch_confidences: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))  # seconds of each window
    rates: array[float] = field(default_factory=lambda: array("d"))  # tokens a second of each window

    @property
    def num_windows(self) -> int:
        """Windows of all lectures."""
        return len(self.durations)

    def shown(self, hours: float) -> list[LectureFigures]:
        """The lectures to draw: at least one, and as many as have so many hours, the most interesting first.

        Those of test come before dev and train, in each part those with the most errors and the lowest confidence.
        """
        shown: list[LectureFigures] = []
        seconds = 0.0
        for lecture in sorted(self.lectures, key=_interest):
            seconds += lecture.duration
            if shown and seconds > 3600 * hours:
                break
            shown.append(lecture)
        return shown


def take_overview(data: Path, rate: ErrorRate | None) -> Overview:
    """Read the windows and stretches of all parts once.

    Args:
      data: the folder of the run.
      rate: scores of the windows; None if no window was decoded.
    """
    result = Overview()
    for part in PARTS:
        figures: dict[str, LectureFigures] = {}
        for cut in windows_of(data, part):
            if cut.recording_id not in figures:
                figures[cut.recording_id] = LectureFigures(cut.recording_id, part, cut.recording.duration)
            figures[cut.recording_id].add(cut, rate)
            _add_window(result, cut)
        for lecture, _, _, confidence in stretches_of(data, part) if figures else ():
            if lecture in figures:
                result.stretch_confidences.append(confidence)
        result.lectures += figures.values()
    return result


def write_table(path: Path, lectures: Sequence[LectureFigures]) -> None:
    """Write a line of tab-separated figures for each lecture; fields that are not known are empty."""
    with whole_file(path) as f:
        f.write("\t".join(_COLUMNS) + "\n")
        for x in lectures:
            means = ["" if value is None else f"{value:.3f}" for value in (x.confidence, x.error_rate)]
            counts = [f"{x.duration:.3f}", x.num_windows, x.num_tokens, means[0], x.num_ref, x.num_errors, means[1]]
            f.write("\t".join([x.id, x.part, *map(str, counts)]) + "\n")


def windows_of(data: Path, part: str) -> Iterator[MonoCut]:
    """The windows of a part one after the other; none if stage 4 made none."""
    path = part_file(data / "cuts", "cuts", part)
    return iter(open_cuts(path)) if path.is_file() else iter(())


def stretches_of(data: Path, part: str) -> Iterator[tuple[str, float, float, float]]:
    """Lecture, start, end (seconds) and confidence of each aligned stretch of a part."""
    path = part_file(data / "aligned", "supervisions", part)
    for s in read_items(path, SUPERVISION) if path.is_file() else ():
        if "confidence" in (s.custom or {}):
            yield s.recording_id, round(s.start, 3), round(s.end, 3), s.custom["confidence"]


def words_of(cut: MonoCut) -> list[list[Any]]:
    """Symbol, start and end (seconds from the cut's start) and confidence of each word."""
    return [
        [w.symbol, round(w.start - cut.start, 3), round(w.start + w.duration - cut.start, 3), w.score]
        for s in cut.supervisions
        for w in (s.alignment or {}).get("word", [])  # Lhotse stores their times relative to the recording
    ]


def num_tokens_of(supervisions: Sequence[SupervisionSegment]) -> int:
    """Tokens of the texts of supervisions."""
    return sum(len((s.text or "").split()) for s in supervisions)


def confidence_of(supervisions: Sequence[SupervisionSegment]) -> float | None:
    """Mean confidence of the supervisions, weighted by their tokens; None if none has a confidence."""
    weighted = [
        ((s.custom or {})["confidence"], len((s.text or "").split()))
        for s in supervisions
        if "confidence" in (s.custom or {})
    ]
    total = sum(n for _, n in weighted)
    return round(sum(c * n for c, n in weighted) / total, 4) if total else None


def _add_window(result: Overview, cut: MonoCut) -> None:
    duration = round(cut.duration, 3)
    result.durations.append(duration)
    result.word_confidences.extend(word[3] for word in words_of(cut) if word[3] is not None)
    if duration > 0:
        result.rates.append(num_tokens_of(cut.supervisions) / duration)


def _interest(lecture: LectureFigures) -> tuple[int, float, float]:
    confidence = lecture.confidence
    return PARTS.index(lecture.part), -(lecture.error_rate or 0.0), 1.0 if confidence is None else confidence
