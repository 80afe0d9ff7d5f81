"""Make bilingual subtitles (.srt, .vtt) of translated sentences, within the usual limits of length and time.

Lines are cut only between units. A unit is a wide (CJK) character, or a Latin word with the space before it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lhotse_prep.workflow.files import write_text
from ml2021.st.config import SubtitleConfig

# In .srt, players read < and { as the start of a tag, and --> as a line of times.
_SRT_MARKS = {"-->": "→", "<": "＜", "{": "(", "}": ")"}


@dataclass(frozen=True)
class TranslatedSentence:
    """A sentence from the cascade; times in seconds."""

    start: float
    end: float
    source: str
    target: str


@dataclass(frozen=True)
class Cue:
    """Lines that are on the screen from start to end, in milliseconds."""

    start: int
    end: int
    source_lines: tuple[str, ...]
    target_lines: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return self.source_lines + self.target_lines


def make_cues(sentences: Sequence[TranslatedSentence], config: SubtitleConfig) -> list[Cue]:
    """Cues in order of time that do not overlap; a long sentence becomes several, timed in proportion to their text.

    If a cue would last less than min_duration, the next one starts later.
    """
    ordered = sorted(sentences, key=lambda s: (s.start, s.end))
    parts = [part for s in ordered for part in _split(s, config)]
    starts = [round(1000 * p.start) for p in parts]
    for i in range(1, len(starts)):
        starts[i] = max(starts[i], starts[i - 1] + round(1000 * config.min_duration))
    cues = []
    for i, part in enumerate(parts):
        characters = max(width(part.source, config), width(part.target, config))
        stay = max(config.min_duration, characters / config.reading_speed)
        end = max(round(1000 * part.end), starts[i] + round(1000 * stay))
        end = min(end, starts[i] + round(1000 * config.max_duration), *starts[i + 1 : i + 2])
        cues.append(Cue(starts[i], end, tuple(wrap(part.source, config)), tuple(wrap(part.target, config))))
    return cues


def write_subtitles(cues: Sequence[Cue], folder: Path, name: str) -> list[Path]:
    """Write NAME.srt and NAME.vtt, each completely or not at all; returns their paths."""
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
    """The width of a text, in Latin characters."""
    wide = sum(_is_wide(c) for c in text)
    return len(text) - wide + wide * config.max_latin / config.max_cjk


def wrap(text: str, config: SubtitleConfig) -> list[str]:
    """Wrap a text into as few lines as possible, of about the same width; a word wider than a line is cut."""
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
    """Fill each line with as many units as fit into `limit`, and at least one."""
    lines = [""]
    for unit in units:
        if width((lines[-1] + unit).strip(), config) > limit + 1e-6:
            lines.append("")
        lines[-1] += unit
    return [line.strip() for line in lines if line.strip()]


def _units(text: str, config: SubtitleConfig) -> list[str]:
    """The units of a text, none wider than a line."""
    units: list[str] = []
    for c in " ".join(text.split()):
        continues = bool(units) and not _is_wide(c) and c != " " and not _is_wide(units[-1][-1])
        if continues and len(units[-1].lstrip()) < config.max_latin:
            units[-1] += c
        else:
            units.append(c)
    return units


def _split(sentence: TranslatedSentence, config: SubtitleConfig) -> list[TranslatedSentence]:
    """Split a sentence into parts that each fit into a cue."""
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
    """Cut a text between units into num_parts pieces of about the same width."""
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
