"""Sentences with their translations -> bilingual subtitles (.srt, .vtt) within the usual limits.

A unit is what a line is never cut inside of: a wide (CJK) character, or a Latin word with the space before it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import write_text

# Players take < and { in .srt for the beginning of a tag, and --> for a time line.
_SRT_MARKS = {"-->": "→", "<": "＜", "{": "(", "}": ")"}


@dataclass(frozen=True)
class SubtitleConfig:
    """Limits of a cue."""

    max_latin: int = 42  # characters of a line; a wide (CJK) character counts as max_latin / max_cjk
    max_cjk: int = 16
    max_lines: int = 2  # lines of each language
    min_duration: float = 1.0  # seconds
    max_duration: float = 7.0
    reading_speed: float = 17.0  # Latin characters a second; where silence follows, a cue stays that long

    def __post_init__(self) -> None:
        if not 0 < self.min_duration < self.max_duration:
            raise ConfigError(f"min_duration must be > 0 s and below max_duration, got {self.min_duration}")
        if self.reading_speed <= 0:
            raise ConfigError(f"reading_speed must be > 0, got {self.reading_speed}")
        if min(self.max_latin, self.max_cjk, self.max_lines) < 1:
            raise ConfigError("max_latin, max_cjk and max_lines must be at least 1")
        if self.max_cjk > self.max_latin:
            raise ConfigError(f"max_cjk ({self.max_cjk}) must be at most max_latin ({self.max_latin})")


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
    def lines(self) -> tuple[str, ...]:
        return self.source_lines + self.target_lines


def make_cues(sentences: Sequence[TranslatedSentence], config: SubtitleConfig) -> list[Cue]:
    """Cues in order of time, none overlapping; a long sentence becomes several, with time in proportion to its text.

    Where speech leaves less than min_duration, the next cue comes that much later.
    """
    ordered = sorted(sentences, key=lambda s: (s.start, s.end))
    parts = [part for s in ordered for part in _split(s, config)]
    starts = [round(1000 * p.start) for p in parts]
    for i in range(1, len(starts)):
        starts[i] = max(starts[i], starts[i - 1] + round(1000 * config.min_duration))
    cues = []
    for i, part in enumerate(parts):
        room = max(width(part.source, config), width(part.target, config))
        stay = max(config.min_duration, room / config.reading_speed)
        end = max(round(1000 * part.end), starts[i] + round(1000 * stay))
        end = min(end, starts[i] + round(1000 * config.max_duration), *starts[i + 1 : i + 2])
        cues.append(Cue(starts[i], end, tuple(wrap(part.source, config)), tuple(wrap(part.target, config))))
    return cues


def write_subtitles(cues: Sequence[Cue], folder: Path, name: str) -> list[Path]:
    """Write NAME.srt and NAME.vtt, each whole; gives their paths."""
    srt, vtt = [], ["WEBVTT\n\n"]
    for number, cue in enumerate(cues, 1):
        text = "\n".join(cue.lines)
        vtt.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{escape(text, quote=False)}\n\n")
        for mark, replacement in _SRT_MARKS.items():
            text = text.replace(mark, replacement)
        srt.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n\n")
    paths = [folder / f"{name}.srt", folder / f"{name}.vtt"]
    for path, blocks in zip(paths, (srt, vtt), strict=True):
        write_text(path, "".join(blocks))
    return paths


def width(text: str, config: SubtitleConfig) -> float:
    """Room that a text takes, in Latin characters."""
    wide = sum(_is_wide(c) for c in text)
    return len(text) - wide + wide * config.max_latin / config.max_cjk


def wrap(text: str, config: SubtitleConfig) -> list[str]:
    """As few lines within the limit as there can be, of about the same width; a word that is wider is cut inside."""
    units = _units(text, config)
    lines = _filled(units, config.max_latin, config)
    limit = -(-sum(width(line, config) for line in lines) // max(1, len(lines)))
    while limit < config.max_latin:
        balanced = _filled(units, limit, config)
        if len(balanced) == len(lines):
            return balanced
        limit += 1
    return lines


def _filled(units: Sequence[str], limit: float, config: SubtitleConfig) -> list[str]:
    """Lines with as many units as go into `limit`, each at least one."""
    lines = [""]
    for unit in units:
        if width((lines[-1] + unit).strip(), config) > limit + 1e-6:
            lines.append("")
        lines[-1] += unit
    return [line.strip() for line in lines if line.strip()]


def _units(text: str, config: SubtitleConfig) -> list[str]:
    """The units of a text, each at most a line wide."""
    units: list[str] = []
    for c in " ".join(text.split()):
        goes_on = bool(units) and not _is_wide(c) and c != " " and not _is_wide(units[-1][-1])
        if goes_on and len(units[-1].lstrip()) < config.max_latin:
            units[-1] += c
        else:
            units.append(c)
    return units


def _split(sentence: TranslatedSentence, config: SubtitleConfig) -> list[TranslatedSentence]:
    """A sentence as parts that each fit a cue."""
    duration = max(sentence.end - sentence.start, 0.0)
    num_parts = max(1, int(-(-duration // config.max_duration)))
    while True:
        sources, targets = (_divide(t, num_parts, config) for t in (sentence.source, sentence.target))
        if all(len(wrap(text, config)) <= config.max_lines for text in sources + targets):
            break
        num_parts += 1
    texts = [(s, t) for s, t in zip(sources, targets, strict=True) if (s + t).strip()]
    weights = [1 + width(s, config) + width(t, config) for s, t in texts]
    parts, start = [], sentence.start
    for (source, target), weight in zip(texts, weights, strict=True):
        end = start + duration * weight / sum(weights)
        parts.append(TranslatedSentence(start, end, source, target))
        start = end
    return parts


def _divide(text: str, num_parts: int, config: SubtitleConfig) -> list[str]:
    """num_parts pieces of about the same width, cut between units."""
    units = _units(text, config)
    total = sum(width(unit, config) for unit in units)
    pieces = [""] * num_parts
    used = 0.0
    for unit in units:
        middle = used + width(unit, config) / 2
        pieces[min(num_parts - 1, int(middle * num_parts / total))] += unit
        used += width(unit, config)
    return pieces


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _clock(milliseconds: int, point: str) -> str:
    """hh:mm:ss.mmm"""
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{milliseconds:03}"
