"""Collect the data that page.js draws, as plain lists and mappings: lectures, windows, words, errors, translations.

If a run lacks a file, the data from it is left out, and `Lectures.missing` explains what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse import MonoCut, SupervisionSegment, SupervisionSet

from lhotse_prep.manifests.files import load_safely, open_cuts
from lhotse_prep.workflow.files import read_jsonl
from ml2021.report.clips import ENVELOPE_RATE, Span, audio_file, envelope, make_clips
from ml2021.scoring.counts import Alignment, ErrorRate

PARTS = ("test", "dev", "train")  # the most interesting first


@dataclass
class Lectures:
    """All lectures of a run, as the page shows them."""

    lectures: list[dict[str, Any]] = field(default_factory=list)  # in the format that page.js reads
    clips: dict[str, str] = field(default_factory=dict)  # {window id: MP3 as base64}
    missing: list[str] = field(default_factory=list)  # sentences on what is not shown

    @property
    def windows(self) -> list[dict[str, Any]]:
        """All windows of all lectures."""
        return [window for lecture in self.lectures for window in lecture["windows"]]


def collect_lectures(data: Path, exp: Path, rate: ErrorRate | None, max_audio_bytes: int) -> Lectures:
    """Collect the lectures of a run.

    Args:
      data, exp: the folders of the run.
      rate: scores of the windows; None if no window was decoded.
      max_audio_bytes: limit on the total size of the clips.
    """
    result = Lectures()
    translations = _Translations(data / "bitext", exp / "mt" / "decode", result.missing)
    spans: list[tuple[tuple[int, int, float], Span]] = []
    for order, part in enumerate(PARTS):
        path = data / "cuts" / f"ml2021_cuts_{part}.jsonl.gz"
        if not path.is_file():
            result.missing.append(f"Lectures of {part}: there is no {path}.")
            continue
        stretches = _stretches(data / "aligned" / f"ml2021_supervisions_{part}.jsonl.gz")
        cuts: dict[str, list[MonoCut]] = defaultdict(list)
        for cut in open_cuts(path):
            cuts[cut.recording_id].append(cut)
        for lecture_id, lecture_cuts in cuts.items():
            lecture_cuts.sort(key=lambda cut: cut.start)
            audio = audio_file(lecture_cuts[0].recording)
            if audio is None:
                result.missing.append(f"Waveform and audio of {lecture_id}: its audio file is missing.")
            cascade = _cascade(exp / "st" / f"{lecture_id}.jsonl")
            windows = [_window(cut, translations, rate, cascade) for cut in lecture_cuts]
            lecture = _lecture(lecture_id, part, lecture_cuts, audio, stretches.get(lecture_id, []), windows)
            lecture["doubtful"] = translations.doubtful(lecture_cuts)
            result.lectures.append(lecture)
            if audio is not None:
                spans += [
                    ((order, -_num_errors(w), w["confidence"] or 0.0), Span(w["id"], audio, w["start"], w["duration"]))
                    for w in windows
                ]
    result.clips = make_clips([span for _, span in sorted(spans, key=lambda s: (s[0], s[1].id))], max_audio_bytes)
    return result


def _lecture(
    lecture_id: str, part: str, cuts: Sequence[MonoCut], audio: Path | None, stretches: Any, windows: Any
) -> dict[str, Any]:
    peaks, seconds = envelope(audio) if audio is not None else ("", cuts[0].recording.duration)
    return {
        "id": lecture_id,
        "part": part,
        "duration": round(seconds, 3),
        "audio": str(audio) if audio is not None else "",
        "rate": ENVELOPE_RATE,
        "peaks": peaks,
        "stretches": stretches,
        "windows": windows,
    }


def _window(
    cut: MonoCut, translations: _Translations, rate: ErrorRate | None, cascade: list[list[Any]]
) -> dict[str, Any]:
    words = [
        [w.symbol, round(w.start - cut.start, 3), round(w.start + w.duration - cut.start, 3), w.score]
        for s in cut.supervisions
        for w in (s.alignment or {}).get("word", [])  # Lhotse stores their times relative to the recording
    ]
    alignment = rate.alignments.get(cut.id) if rate is not None else None
    end = cut.start + cut.duration
    return {
        "id": cut.id,
        "start": round(cut.start, 3),
        "duration": round(cut.duration, 3),
        "confidence": _confidence(cut.supervisions),
        "num_tokens": sum(len((s.text or "").split()) for s in cut.supervisions),
        "text": " ".join(s.text or "" for s in cut.supervisions),
        "words": words,
        "alignment": None if alignment is None else _compact(alignment),
        "pairs": translations.of(cut),
        "cascade": [row for row in cascade if row[0] < end and row[1] > cut.start],
    }


def _compact(alignment: Alignment) -> list[Any]:
    """Correct tokens as text, errors as [reference, hypothesis]."""
    return [ref if ref == hyp else [ref, hyp] for ref, hyp in alignment]


def _num_errors(window: dict[str, Any]) -> int:
    return sum(isinstance(item, list) for item in window["alignment"] or [])


def _confidence(supervisions: Sequence[SupervisionSegment]) -> float | None:
    """Mean confidence of the supervisions, weighted by their tokens; None if none has a confidence."""
    weighted = [
        ((s.custom or {})["confidence"], len((s.text or "").split()))
        for s in supervisions
        if "confidence" in (s.custom or {})
    ]
    total = sum(n for _, n in weighted)
    return round(sum(c * n for c, n in weighted) / total, 4) if total else None


def _stretches(path: Path) -> dict[str, list[list[float]]]:
    """[start, end, confidence] of each aligned stretch, by lecture."""
    stretches: dict[str, list[list[float]]] = defaultdict(list)
    for s in load_safely(path, SupervisionSet) if path.is_file() else []:
        if "confidence" in (s.custom or {}):
            stretches[s.recording_id].append([round(s.start, 3), round(s.end, 3), s.custom["confidence"]])
    return stretches


def _cascade(path: Path) -> list[list[Any]]:
    """[start, end, source, target] of each sentence that the cascade translated in a lecture."""
    rows = read_jsonl(path) if path.is_file() else []
    return [
        [r["start"], r["end"], r["source"], r["target"]]
        for r in rows
        if {"start", "end", "source", "target"} <= r.keys()
    ]


class _Translations:
    """The sentence pairs of stage 7 with the translations of stage 9, looked up by position in the transcript."""

    def __init__(self, bitext: Path, decoded: Path, missing: list[str]) -> None:
        self.pairs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        paths = [bitext / f"{name}.jsonl" for name in (*PARTS, "rejected")]
        for path in (p for p in paths if p.is_file()):
            for row in read_jsonl(path):
                self.pairs[row["lecture"]].append(row)
        if not any(p.is_file() for p in paths[:-1]):
            missing.append(f"Translations: there are no sentence pairs in {bitext}.")
        hypotheses = decoded / "hyps.jsonl"
        self.hypotheses = (
            {r["id"]: r.get("hypothesis", "") for r in read_jsonl(hypotheses)} if hypotheses.is_file() else {}
        )
        if not self.hypotheses:
            missing.append(f"Translations of the reference transcript by the translator: there is no {hypotheses}.")

    def doubtful(self, cuts: Sequence[MonoCut]) -> list[list[float]]:
        """[start, end] in seconds of the parts of a lecture's supervisions that are in pairs left out of the bitext."""
        rejected = [
            (row["first_token"], row["first_token"] + row["num_tokens"])
            for row in self.pairs.get(cuts[0].recording_id, [])
            if "reason" in row
        ]
        spans = []
        for cut in cuts:
            for s in (s for s in cut.supervisions if "first_token" in (s.custom or {})):
                first, num_tokens = s.custom["first_token"], len((s.text or "").split())
                for begin, end in rejected:
                    inside = [(t - first) / num_tokens for t in (max(begin, first), min(end, first + num_tokens))]
                    if inside[0] < inside[1]:
                        spans.append([round(cut.start + s.start + x * s.duration, 3) for x in inside])
        return sorted(spans)

    def of(self, cut: MonoCut) -> list[list[str]]:
        """The sentence pairs in a cut.

        Each is [source, reference, the translator's output or "", why it was left out of the bitext or ""].
        """
        ranges = [
            (s.custom["first_token"], s.custom["first_token"] + len((s.text or "").split()))
            for s in cut.supervisions
            if "first_token" in (s.custom or {})
        ]
        rows = [
            row
            for row in self.pairs.get(cut.recording_id, [])
            if any(row["first_token"] < end and row["first_token"] + row["num_tokens"] > start for start, end in ranges)
        ]
        rows.sort(key=lambda row: row["first_token"])
        return [[r["source"], r["target"], self.hypotheses.get(r["id"], ""), r.get("reason", "")] for r in rows]
