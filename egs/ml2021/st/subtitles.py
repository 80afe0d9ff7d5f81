"""Make bilingual subtitles (.srt, .vtt) of translated sentences, within the usual limits of length and time.

Lines are cut only between units. A unit is a wide (CJK) character, or a Latin word with the space before it.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import accumulate, pairwise
from pathlib import Path

from lhotse_prep.workflow.files import write_text
from ml2021.st.config import SubtitleConfig
from ml2021.st.cue_times import MAX_DELAY, room_for_cues, start_times
from ml2021.st.sentences import Word

# In .srt, players read < and { as the start of a tag, and --> as a line of times.
_SRT_MARKS = {"-->": "→", "<": "＜", "{": "(", "}": ")"}
_EPSILON = 1e-6  # milliseconds; less than this is a rounding error


@dataclass(frozen=True)
class TranslatedSentence:
    """A sentence from the cascade; times in seconds.

    Where a long sentence is split, the times come from its words, which may spell the source or not be shown at all.
    Without words, the text is taken to be spoken evenly from start to end.
    """

    start: float
    end: float
    source: str
    target: str
    words: tuple[Word, ...] = ()


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


@dataclass(frozen=True)
class _Part:
    """The text of a cue; start and end (seconds) are those of its words."""

    start: float
    end: float
    source: str
    target: str
    num_words: int


def make_cues(sentences: Sequence[TranslatedSentence], config: SubtitleConfig, duration: float = math.inf) -> list[Cue]:
    """Cues in order of time, which do not overlap and end with the audio; together they have every word once.

    A cue starts with its first word, or at most MAX_DELAY ms later if the cue before it would last less than
    min_duration. Where that is not enough, neighbours that fit into one cue are merged; otherwise cues are shortened.
    A long sentence becomes several cues. Only cues that would have less than 1 ms are merged beyond max_lines.

    Args:
      sentences: in any order.
      config: limits of a cue.
      duration: of the audio, in seconds.
    """
    ordered = sorted(sentences, key=lambda s: (s.start, s.end))
    parts = [part for s in ordered for part in _split(s, config)]
    if not parts:
        return []
    end = max(1, math.floor(1000 * min(duration, parts[-1].end + 3600) + _EPSILON))
    min_duration = _milliseconds(config.min_duration)
    parts = _merge_short(parts, end, config)
    while min(room := room_for_cues(_earliest(parts, end), end, min_duration).tolist()) < 1:
        parts = _merge_crowded(parts, room)
    starts = [*start_times(_earliest(parts, end), room), end]
    cues = []
    for part, (start, next_start) in zip(parts, pairwise(starts), strict=True):
        characters = max(width(part.source, config), width(part.target, config))
        stay = max(config.min_duration, characters / config.reading_speed)
        stop = max(round(1000 * part.end), start + round(1000 * stay))
        stop = min(stop, start + _milliseconds(config.max_duration), next_start)
        cues.append(Cue(start, stop, tuple(wrap(part.source, config)), tuple(wrap(part.target, config))))
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
    if text.isascii():
        return len(text)
    wide = sum(map(_is_wide, text))
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


def _num_lines(text: str, config: SubtitleConfig) -> int:
    """How many lines wrap makes."""
    return len(_filled(_units(text, config), config.max_latin, config))


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


def _earliest(parts: Sequence[_Part], end: int) -> list[int]:
    """When the first word of each part starts, in milliseconds, rounded up; before the end of the audio."""
    return [min(math.ceil(1000 * part.start - _EPSILON), end - 1) for part in parts]


def _merge_short(parts: Sequence[_Part], end: int, config: SubtitleConfig) -> list[_Part]:
    """Merge parts that would be shown for less than min_duration with the part after or before, if both fit."""
    min_duration = _milliseconds(config.min_duration)
    merged: list[_Part] = []
    starts: list[int] = []  # when each merged part will be shown

    def has_room(latest_end: int) -> bool:
        return not merged or latest_end - starts[-1] >= min_duration

    def merge_back() -> None:
        if len(merged) > 1 and _can_merge(merged[-2], merged[-1], config):
            merged[-2:] = [_joined(merged[-2], merged[-1])]
            starts.pop()

    for part, earliest in zip(parts, _earliest(parts, end), strict=True):
        if not has_room(earliest + MAX_DELAY):
            if _can_merge(merged[-1], part, config):
                merged[-1] = _joined(merged[-1], part)
                continue
            merge_back()
        if starts:
            earliest = max(earliest, min(starts[-1] + min_duration, earliest + MAX_DELAY))
        merged.append(part)
        starts.append(earliest)
    if not has_room(end):
        merge_back()
    return merged


def _merge_crowded(parts: Sequence[_Part], room: Sequence[int]) -> list[_Part]:
    """Merge pairs of parts where a cue would have less than 1 ms, whatever their length."""
    merged: list[_Part] = []
    i = 0
    while i < len(parts):
        last_is_crowded = i + 2 == len(parts) and room[i + 1] < 1
        if i + 1 < len(parts) and (room[i] < 1 or last_is_crowded):
            merged.append(_joined(parts[i], parts[i + 1]))
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def _can_merge(a: _Part, b: _Part, config: SubtitleConfig) -> bool:
    """Whether two parts fit into one cue, and the pause between them is shorter than min_duration."""
    return b.start - a.end < config.min_duration and _fits(_joined(a, b), config)


def _joined(a: _Part, b: _Part) -> _Part:
    source, target = (" ".join(filter(None, pair)) for pair in ((a.source, b.source), (a.target, b.target)))
    return _Part(a.start, max(a.end, b.end), source, target, a.num_words + b.num_words)


def _fits(part: _Part, config: SubtitleConfig) -> bool:
    """Whether a part keeps max_lines, and max_duration unless it is a single word."""
    is_short = part.num_words <= 1 or part.end - part.start <= config.max_duration + _EPSILON
    return is_short and all(_num_lines(text, config) <= config.max_lines for text in (part.source, part.target))


def _split(sentence: TranslatedSentence, config: SubtitleConfig) -> list[_Part]:
    """Split a sentence between words into parts that each fit into a cue; only a word too wide for a cue is cut."""
    words = _narrow_words(_words_of(sentence, config), config)
    num_parts = _fewest_parts(sentence, config)
    parts = _divided(sentence, words, num_parts, config)
    while not all(_fits(part, config) for part in parts):
        num_parts += 1
        parts = _divided(sentence, words, num_parts, config)
    return parts


def _fewest_parts(sentence: TranslatedSentence, config: SubtitleConfig) -> int:
    """A number of parts below which not even the text without its spaces fits: it spares trying all of these."""
    widest = max(width("".join(text.split()), config) for text in (sentence.source, sentence.target))
    return max(1, math.ceil(widest / (config.max_latin * config.max_lines) - _EPSILON))


def _words_of(sentence: TranslatedSentence, config: SubtitleConfig) -> list[Word]:
    """The sentence's words, or the units of its text, each with a time in proportion to its width."""
    if sentence.words:
        return list(sentence.words)
    units = [unit.strip() for unit in _units(sentence.source, config) or _units(sentence.target, config)]
    whole = ("".join(units), sentence.start, max(sentence.start, sentence.end))
    return _cut_word(whole, [unit for unit in units if unit], config)


def _narrow_words(words: Sequence[Word], config: SubtitleConfig) -> list[Word]:
    """The words, where one that does not fit into a cue is cut into its units."""
    narrow: list[Word] = []
    for word in words:
        is_wide = width(word[0], config) > config.max_latin and _num_lines(word[0], config) > config.max_lines
        narrow += _cut_word(word, _units(word[0], config), config) if is_wide else [word]
    return narrow


def _cut_word(word: Word, pieces: Sequence[str], config: SubtitleConfig) -> list[Word]:
    """Pieces of a word, which share its time in proportion to their widths."""
    _, start, end = word
    edges = [0.0]
    for piece in pieces:
        edges.append(edges[-1] + width(piece, config))
    times = [start + (end - start) * edge / (edges[-1] or 1.0) for edge in edges]
    return [(piece, begin, stop) for piece, (begin, stop) in zip(pieces, pairwise(times), strict=True)]


def _divided(
    sentence: TranslatedSentence, words: Sequence[Word], num_parts: int, config: SubtitleConfig
) -> list[_Part]:
    """Divide a sentence into num_parts parts of about the same width, and leave out those without text.

    Where the translation is so much longer that parts have none of the words, they share the time of the part before.
    """
    if not words:
        return []
    shares = _shares([width(word[0], config) for word in words], num_parts)
    sources = _source_pieces(sentence.source, words, shares, config, num_parts)
    targets = _divide(sentence.target, num_parts, config)
    counts = Counter(shares)
    parts = []
    for first, stop in pairwise([*sorted(counts), num_parts]):
        inside = [word for word, share in zip(words, shares, strict=True) if share == first]
        begin, end = inside[0][1], max(inside[0][1], inside[-1][2])
        step = (end - begin) / (stop - first)
        for i in range(stop - first):
            texts = sources[first + i].strip(), targets[first + i].strip()
            parts.append(_Part(begin + i * step, begin + (i + 1) * step, *texts, 0 if i else len(inside)))
    return [part for part in parts if part.source or part.target]


def _source_pieces(
    source: str, words: Sequence[Word], shares: Sequence[int], config: SubtitleConfig, num_parts: int
) -> list[str]:
    """Cut the source where the words' shares change; if the words do not spell it, by its own width."""
    if "".join(source.split()) != "".join("".join(word[0].split()) for word in words):
        return _divide(source, num_parts, config)
    pieces = [""] * num_parts
    owners = iter([share for word, share in zip(words, shares, strict=True) for _ in "".join(word[0].split())])
    share = 0
    for c in source:
        share = share if c.isspace() else next(owners)
        pieces[share] += c
    return pieces


def _divide(text: str, num_parts: int, config: SubtitleConfig) -> list[str]:
    """Cut a text between units into num_parts pieces of about the same width."""
    units = _units(text, config)
    pieces = [""] * num_parts
    for unit, share in zip(units, _shares([width(unit, config) for unit in units], num_parts), strict=True):
        pieces[share] += unit
    return pieces


def _shares(widths: Sequence[float], num_parts: int) -> list[int]:
    """Which of num_parts equal parts of the total width each unit begins in; the first unit is in the first part."""
    total = sum(widths) or 1.0
    edges = accumulate(widths, initial=0.0)
    return [min(num_parts - 1, int(edge * num_parts / total + 1e-9)) for edge, _ in zip(edges, widths)]


@cache
def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _milliseconds(seconds: float) -> int:
    """A limit as whole milliseconds, at least one."""
    return max(1, round(1000 * seconds))


def _clock(milliseconds: int, point: str) -> str:
    """hh:mm:ss.mmm"""
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{milliseconds:03}"
