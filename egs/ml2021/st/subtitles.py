"""Sentences with their translations -> bilingual subtitles (.srt, .vtt) within the usual limits."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pysubs2

from lhotse_prep.errors import ConfigError
from lhotse_prep.stages import write_text


@dataclass(frozen=True)
class SubtitleConfig:
    """Limits of a cue."""

    max_latin: int = 42  # characters of a line; a wide (CJK) character counts as max_latin / max_cjk
    max_cjk: int = 16
    max_lines: int = 2  # lines of each language
    min_duration: float = 1.0  # seconds
    max_duration: float = 7.0

    def __post_init__(self) -> None:
        if not 0 < self.min_duration < self.max_duration:
            raise ConfigError(f"min_duration must be > 0 s and below max_duration, got {self.min_duration}")
        if min(self.max_latin, self.max_cjk, self.max_lines) < 1:
            raise ConfigError("max_latin, max_cjk and max_lines must be at least 1")


@dataclass(frozen=True)
class TranslatedSentence:
    """A sentence as the cascade gives it; times in seconds."""

    start: float
    end: float
    source: str
    target: str


@dataclass(frozen=True)
class Cue:
    """What stands on the screen from start to end, in milliseconds."""

    start: int
    end: int
    source_lines: tuple[str, ...]
    target_lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join((*self.source_lines, *self.target_lines))


def make_cues(sentences: Sequence[TranslatedSentence], config: SubtitleConfig) -> list[Cue]:
    """Cues in order of time, none overlapping; a long sentence becomes several, with time in proportion to its text.

    Where speech leaves too little time, a cue is shorter than min_duration rather than over another.
    """
    kept = sorted((s for s in sentences if (s.source + s.target).strip()), key=lambda s: (s.start, s.end))
    parts = [part for s in kept for part in _split(s, config)]
    starts = [round(1000 * p[0]) for p in parts]
    for i in range(1, len(starts)):
        starts[i] = max(starts[i], starts[i - 1] + 1)
    cues = []
    for i, (_, end, source, target) in enumerate(parts):
        wanted = max(round(1000 * end), starts[i] + round(1000 * config.min_duration))
        limit = starts[i] + round(1000 * config.max_duration)
        if i + 1 < len(parts):
            limit = min(limit, starts[i + 1])
        cues.append(Cue(starts[i], min(wanted, limit), tuple(source), tuple(target)))
    return cues


def write_subtitles(cues: Sequence[Cue], folder: Path, name: str) -> list[Path]:
    """Write NAME.srt and NAME.vtt, each whole; gives their paths."""
    subtitles = pysubs2.SSAFile()
    for cue in cues:
        event = pysubs2.SSAEvent(start=cue.start, end=cue.end)
        event.plaintext = cue.text.replace("-->", "->").replace("{", "(").replace("}", ")")
        subtitles.append(event)
    paths = [folder / f"{name}.srt", folder / f"{name}.vtt"]
    for path in paths:
        write_text(path, subtitles.to_string(path.suffix[1:]))
    return paths


def width(text: str, config: SubtitleConfig) -> float:
    """Room that a text takes, in Latin characters."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) - wide + wide * config.max_latin / config.max_cjk


def wrap(text: str, config: SubtitleConfig) -> list[str]:
    """Lines within the limit, cut at spaces or between wide characters; a longer word is cut inside."""
    lines = [""]
    for unit in _units(text):
        if width((lines[-1] + unit).rstrip(), config) > config.max_latin + 1e-6 and lines[-1]:
            lines.append("")
        lines[-1] += unit if lines[-1] else unit.lstrip()
        while width(lines[-1].rstrip(), config) > config.max_latin + 1e-6:  # one word wider than a line
            cut = max(1, next(i for i in range(1, len(lines[-1]) + 1) if width(lines[-1][: i + 1], config) > config.max_latin + 1e-6))  # noqa: E501
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    return [line.strip() for line in lines if line.strip()]


def _units(text: str) -> list[str]:
    """Pieces that stay together: a wide character, or a run of others with the space before it."""
    units: list[str] = []
    for c in " ".join(text.split()):
        wide = unicodedata.east_asian_width(c) in "WF"
        glued = units and not wide and c != " " and unicodedata.east_asian_width(units[-1][-1]) not in "WF"
        if glued:
            units[-1] += c
        else:
            units.append(c)
    return units


def _split(sentence: TranslatedSentence, config: SubtitleConfig) -> list[tuple[float, float, list[str], list[str]]]:
    """A sentence as parts (start, end, source lines, target lines) that each fit a cue."""
    source, target = wrap(sentence.source, config), wrap(sentence.target, config)
    lines = max(len(source), len(target))
    duration = max(sentence.end - sentence.start, 0.0)
    num_parts = max(1, -(-lines // config.max_lines), -(-duration // config.max_duration))
    num_parts = int(num_parts)
    while True:
        sources = _divide(sentence.source, num_parts, config)
        targets = _divide(sentence.target, num_parts, config)
        if all(len(side) <= config.max_lines for side in sources + targets):
            break
        num_parts += 1
    weights = [1 + sum(width(line, config) for line in s + t) for s, t in zip(sources, targets, strict=True)]
    times = [sentence.start]
    for weight in weights:
        times.append(times[-1] + duration * weight / sum(weights))
    parts = list(zip(times[:-1], times[1:], sources, targets, strict=True))
    return [p for p in parts if p[2] or p[3]]


def _divide(text: str, num_parts: int, config: SubtitleConfig) -> list[list[str]]:
    """The wrapped lines of num_parts pieces of about the same width, cut between units."""
    total = width(" ".join(text.split()), config)
    pieces = [""] * num_parts
    used = 0.0
    for unit in _units(text):
        middle = used + width(unit, config) / 2
        pieces[min(num_parts - 1, int(middle * num_parts / max(total, 1e-9)))] += unit
        used += width(unit, config)
    return [wrap(piece, config) for piece in pieces]
