"""Collect the data that page.js draws, as plain lists and mappings: lectures, windows, words, errors, translations.

If a run lacks a file, the data from it is left out, and `Lectures.missing` explains what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from lhotse_prep.manifests.files import part_file
from lhotse_prep.workflow.files import iterate_jsonl, read_jsonl
from ml2021.report.clips import ENVELOPE_RATE, Span, audio_file, envelope, make_clips
from ml2021.report.config import PageConfig
from ml2021.report.overview import (
    PARTS,
    Overview,
    confidence_of,
    num_tokens_of,
    stretches_of,
    take_overview,
    windows_of,
    words_of,
)
from ml2021.scoring.align import Alignment
from ml2021.scoring.counts import ErrorRate

_MOST_NAMED = 5  # lectures in a sentence


@dataclass
class Lectures:
    """The lectures of a run, as the page shows them."""

    overview: Overview
    lectures: list[dict[str, Any]] = field(default_factory=list)  # that are drawn, in the format that page.js reads
    clips: dict[str, str] = field(default_factory=dict)  # {window id: MP3 as base64}
    missing: list[str] = field(default_factory=list)  # sentences on what is not shown


def collect_lectures(data: Path, exp: Path, rate: ErrorRate | None, config: PageConfig) -> Lectures:
    """Collect the figures of all lectures of a run, and what is drawn of some.

    Args:
      data, exp: the folders of the run.
      rate: scores of the windows; None if no window was decoded.
      config: how many lectures are drawn, and the total size of the clips.
    """
    result = Lectures(take_overview(data, rate))
    shown = {(x.part, x.id) for x in result.overview.shown(config.lecture_hours)}
    translations = _Translations(data / "bitext", exp / "mt" / "decode", {name for _, name in shown}, result.missing)
    spans: list[tuple[tuple[int, int, float], Span]] = []
    silent: list[str] = []
    for order, part in enumerate(PARTS):
        path = part_file(data / "cuts", "cuts", part)
        if not path.is_file():
            result.missing.append(f"Lectures of {part}: there is no {path}.")
            continue
        names = {name for other, name in shown if other == part}
        stretches = _stretches(data, part, names)
        cuts: dict[str, list[MonoCut]] = defaultdict(list)
        for cut in windows_of(data, part) if names else ():
            if cut.recording_id in names:
                cuts[cut.recording_id].append(cut)
        for lecture_id, lecture_cuts in cuts.items():
            lecture_cuts.sort(key=lambda cut: cut.start)
            audio = audio_file(lecture_cuts[0].recording)
            if audio is None:
                silent.append(lecture_id)
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
    if silent:
        more = f" and {len(silent) - _MOST_NAMED} more" if len(silent) > _MOST_NAMED else ""
        whose = "its audio file is" if len(silent) == 1 else "their audio files are"
        result.missing.append(f"Waveform and audio of {', '.join(silent[:_MOST_NAMED])}{more}: {whose} missing.")
    ordered = [span for _, span in sorted(spans, key=lambda s: (s[0], s[1].id))]
    result.clips = make_clips(ordered, round(config.audio_megabytes * 1e6))
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
    alignment = rate.alignments.get(cut.id) if rate is not None else None
    end = cut.start + cut.duration
    return {
        "id": cut.id,
        "start": round(cut.start, 3),
        "duration": round(cut.duration, 3),
        "confidence": confidence_of(cut.supervisions),
        "num_tokens": num_tokens_of(cut.supervisions),
        "text": " ".join(s.text or "" for s in cut.supervisions),
        "words": words_of(cut),
        "alignment": None if alignment is None else _compact(alignment),
        "pairs": translations.of(cut),
        "cascade": [row for row in cascade if row[0] < end and row[1] > cut.start],
    }


def _compact(alignment: Alignment) -> list[Any]:
    """Correct tokens as text, errors as [reference, hypothesis]."""
    return [ref if ref == hyp else [ref, hyp] for ref, hyp in alignment]


def _num_errors(window: dict[str, Any]) -> int:
    return sum(isinstance(item, list) for item in window["alignment"] or [])


def _stretches(data: Path, part: str, lectures: Collection[str]) -> dict[str, list[list[float]]]:
    """[start, end, confidence] of each aligned stretch of some lectures, by lecture."""
    stretches: dict[str, list[list[float]]] = defaultdict(list)
    for lecture, start, end, confidence in stretches_of(data, part) if lectures else ():
        if lecture in lectures:
            stretches[lecture].append([start, end, confidence])
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
    """Some lectures' sentence pairs of stage 7 with the translations of stage 9, by position in the transcript."""

    def __init__(self, bitext: Path, decoded: Path, lectures: Collection[str], missing: list[str]) -> None:
        self.pairs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        paths = [bitext / f"{name}.jsonl" for name in (*PARTS, "rejected")]
        for path in (p for p in paths if p.is_file()):
            for row in iterate_jsonl(path):
                if row["lecture"] in lectures:
                    self.pairs[row["lecture"]].append(row)
        if not any(p.is_file() for p in paths[:-1]):
            missing.append(f"Translations: there are no sentence pairs in {bitext}.")
        hypotheses = decoded / "hyps.jsonl"
        names = {row["id"] for rows in self.pairs.values() for row in rows}
        self.hypotheses: dict[str, str] = {}
        has_hypotheses = False
        for row in iterate_jsonl(hypotheses) if hypotheses.is_file() else ():
            has_hypotheses = True
            if row["id"] in names:
                self.hypotheses[row["id"]] = row.get("hypothesis", "")
        if not has_hypotheses:
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
