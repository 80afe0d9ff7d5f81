"""Long sentences in parts that each fit into a cue, cut where phrases end, source and translation side by side."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.cue import TranslatedSentence, Word
from ml2021.st.cues.phrases import break_costs, relaxed
from ml2021.st.cues.widths import num_wide, split_units, width
from ml2021.st.cues.wrap import Lines

_DISTANCE = 2.0  # cost of a cut that is a whole part away from its even place, times the distance squared
_REACH = 0.45  # parts; how far from its even place a cut is looked for at first
_EMPTY = 1.5  # cost of a part without text
_EPSILON = 1e-6


@dataclass(frozen=True)
class Part:
    """The text of a cue; start and end (seconds) are those of its words."""

    start: float
    end: float
    source: str
    target: str
    num_words: int


@dataclass(frozen=True)
class _Text:
    """A text of U units, and where it may be cut."""

    units: tuple[str, ...]
    costs: list[float]  # (U - 1,), of a cut after each unit
    edges: list[float]  # (U + 1,), share of the width before each unit
    lines: Lines

    def piece(self, a: int, b: int) -> str:
        return "".join(self.units[a:b]).strip()


@dataclass(frozen=True)
class _Span:
    """When a unit is spoken (seconds), and the words that it is from: first to stop - 1."""

    start: float
    end: float
    first: int
    stop: int


def split_sentence(sentence: TranslatedSentence, config: SubtitleConfig) -> list[Part]:
    """Cut a sentence at phrases into parts that each fit into a cue; only a word too wide for a cue is cut."""
    is_shown = bool(sentence.source.split())
    units = tuple(split_units(sentence.source if is_shown else sentence.target, config))
    if not units:
        return []
    spans = _spans(units, sentence, config)
    main = _timed_text(units, spans, config)
    other = _text(tuple(split_units(sentence.target, config)), (), config) if is_shown else None
    num_parts, reach = _fewest_parts([t for t in (main, other) if t], spans, config), _REACH
    while (cuts := _cut_both(main, spans, other, (num_parts, reach), config)) is None:
        num_parts, reach = num_parts + max(1, num_parts // 16), 2 * reach
    times = _part_times(spans, cuts[0])
    parts = []
    for (a, b), (c, d), (start, end) in zip(pairwise(cuts[0]), pairwise(cuts[1]), times, strict=True):
        texts = (main.piece(a, b), other.piece(c, d)) if other else ("", main.piece(a, b))
        parts.append(Part(start, end, *texts, num_words=_num_words(spans, a, b)))
    return [part for part in parts if part.source or part.target]


def joined(a: Part, b: Part) -> Part:
    """Two parts as one."""
    source, target = (join_texts(*pair) for pair in ((a.source, b.source), (a.target, b.target)))
    return Part(a.start, max(a.end, b.end), source, target, a.num_words + b.num_words)


def join_texts(a: str, b: str) -> str:
    """Two texts with a space between them, unless a wide mark makes one."""
    ends_wide = bool(a) and num_wide(a[-1]) == 1 and unicodedata.category(a[-1])[0] == "P"
    return a + b if ends_wide or not (a and b) else f"{a} {b}"


def fits(part: Part, config: SubtitleConfig) -> bool:
    """Whether a part keeps max_lines, and max_duration unless it is a single word."""
    if part.num_words > 1 and part.end - part.start > config.max_duration + _EPSILON:
        return False
    return all(_has_lines(text, config) for text in (part.source, part.target))


@lru_cache(maxsize=1 << 12)
def _has_lines(text: str, config: SubtitleConfig) -> bool:
    """Whether a text keeps max_lines."""
    if width(text, config) <= config.max_latin:
        return True
    if width("".join(text.split()), config) > config.max_latin * config.max_lines + _EPSILON:
        return False
    whole = _text(tuple(split_units(text, config)), (), config)
    return whole.lines.count(0, len(whole.units), config.max_lines) <= config.max_lines


@lru_cache(maxsize=1 << 10)
def _text(units: tuple[str, ...], pauses: tuple[float, ...], config: SubtitleConfig) -> _Text:
    edges = list(accumulate((width(unit, config) for unit in units), initial=0.0))
    costs = break_costs(units, config, pauses)
    return _Text(units, costs, [edge / (edges[-1] or 1.0) for edge in edges], Lines(units, costs, config))


def _timed_text(units: tuple[str, ...], spans: Sequence[_Span], config: SubtitleConfig) -> _Text:
    """A text that is not cut inside its words, nor inside a phrase unless the phrase is longer than a cue."""
    pauses = [max(0.0, b.start - a.end) for a, b in pairwise([*spans, spans[-1]])]
    text = _text(units, tuple(pauses), config)
    whole = [math.inf if a.first == b.first else cost for a, b, cost in zip(spans, spans[1:], text.costs)]

    def has_room(a: int, b: int) -> bool:
        return text.lines.width(a, b) <= config.max_latin + _EPSILON and _is_short(spans, a, b, config)

    costs = relaxed(whole, has_room)
    return replace(text, costs=costs, lines=Lines(units, costs, config))


def _spans(units: Sequence[str], sentence: TranslatedSentence, config: SubtitleConfig) -> list[_Span]:
    """When each unit is spoken; if the words do not spell the text, it is spread over them by its width."""
    words = sentence.words or (("".join(units), sentence.start, max(sentence.start, sentence.end)),)
    letters = [_letters(word, config) for word in words]
    spelled = ["".join(unit.split()) for unit in units]
    if sentence.words and "".join(spelled) != "".join("".join(word[0].split()) for word in words):
        return _spread(units, words, config)
    times = [(i, start, end) for i, word in enumerate(letters) for start, end in word]
    spans, begin = [], 0
    for unit in spelled:
        (first, start, _), (last, _, end) = times[begin], times[begin + len(unit) - 1]
        spans.append(_Span(start, end, first, last + 1) if sentence.words else _Span(start, end, begin, begin + 1))
        begin += len(unit)
    return spans


def _letters(word: Word, config: SubtitleConfig) -> list[tuple[float, float]]:
    """The times of a word's characters, in proportion to their widths."""
    text, start, end = "".join(word[0].split()), word[1], max(word[1], word[2])
    edges = list(accumulate((width(c, config) for c in text), initial=0.0))
    times = [start + (end - start) * edge / (edges[-1] or 1.0) for edge in edges]
    return list(pairwise(times))


def _spread(units: Sequence[str], words: Sequence[Word], config: SubtitleConfig) -> list[_Span]:
    """Words for each unit: those that take the same share of the whole."""
    edges = list(accumulate((width(unit, config) for unit in units), initial=0.0))
    places = list(accumulate((width(word[0], config) for word in words), initial=0.0))
    spans = []
    for a, b in pairwise(edges):
        first = min(_nearest(places, a / edges[-1] * places[-1]), len(words) - 1)
        stop = max(first + 1, _nearest(places, b / edges[-1] * places[-1]))
        spans.append(_Span(words[first][1], max(words[first][1], words[stop - 1][2]), first, stop))
    return spans


def _nearest(places: Sequence[float], place: float) -> int:
    """Index of the nearest of places that rise."""
    i = bisect_left(places, place)
    return min((j for j in (i - 1, i) if 0 <= j < len(places)), key=lambda j: abs(places[j] - place))


def _fewest_parts(texts: Sequence[_Text], spans: Sequence[_Span], config: SubtitleConfig) -> int:
    """A number of parts below which nothing fits: it spares trying all of these."""
    most = max(t.lines.count(0, len(t.units), at_most=len(t.units)) for t in texts)
    length = spans[-1].end - spans[0].start if len(spans) > 1 else 0.0
    return max(1, -(-most // config.max_lines), min(len(spans), math.ceil(length / config.max_duration - _EPSILON)))


def _cut_both(
    main: _Text, spans: Sequence[_Span], other: _Text | None, tried: tuple[int, float], config: SubtitleConfig
) -> tuple[list[int], list[int]] | None:
    """Places of units where each text's parts begin and end, or None if some part does not fit.

    Args:
      main: the text whose words are spoken in spans.
      other: its translation, which is cut where the main text is, or None.
      tried: the number of parts, and how far from its even place a cut may be, in parts.
    """
    num_parts, reach = tried

    def has_lines(text: _Text, a: int, b: int) -> bool:
        return text.lines.count(a, b, config.max_lines) <= config.max_lines

    def has_room(a: int, b: int) -> bool:
        return _is_short(spans, a, b, config) and has_lines(main, a, b)

    even = [i / num_parts for i in range(1, num_parts)]
    cuts = _cut(main, even, reach, has_room)
    if cuts is None or other is None or not other.units:
        return None if cuts is None else (cuts, cuts if other is None else [0] * len(cuts))
    other_cuts = _cut(other, [main.edges[cut] for cut in cuts[1:-1]], reach, lambda a, b: has_lines(other, a, b))
    return None if other_cuts is None else (cuts, other_cuts)


def _cut(text: _Text, places: Sequence[float], reach: float, has_room: Callable[[int, int], bool]) -> list[int] | None:
    """The best cuts of a text near some places: 0, the cuts, and the number of units. None if a part has no room.

    Args:
      text: of U units.
      places: (P - 1,), where it should be cut, as shares of its width.
      reach: how far from its place a cut may be, in shares of 1 / P.
      has_room: whether units a to b - 1 fit into a part; if they do, so does every piece of them.
    """
    num_units, num_parts = len(text.units), len(places) + 1
    layers: list[dict[int, tuple[float, int]]] = [
        {0: (0.0, 0)}
    ]  # {place of a cut: (best cost, place of the one before)}
    for place in places:
        low = bisect_left(text.edges, place - reach / num_parts)
        high = bisect_right(text.edges, place + reach / num_parts)
        nearest = _nearest(text.edges, place)
        layer: dict[int, tuple[float, int]] = {}
        for cut in range(max(1, min(low, nearest)), max(high, nearest + 1)):
            distance = (text.edges[cut] - place) * num_parts
            cost = _DISTANCE * distance * distance + (text.costs[cut - 1] if cut < num_units else 0.0)
            if cost < math.inf and (best := _cheapest(layers[-1], cut, has_room)) is not None:
                layer[cut] = (best[0] + cost, best[1])
        layers.append(layer)
    last = _cheapest(layers[-1], num_units, has_room)
    if last is None:
        return None
    cuts = [num_units, last[1]]
    for layer in reversed(layers[1:]):
        cuts.append(layer[cuts[-1]][1])
    return cuts[::-1]


def _cheapest(
    layer: dict[int, tuple[float, int]], cut: int, has_room: Callable[[int, int], bool]
) -> tuple[float, int] | None:
    """The cheapest way to a cut from one of the cuts before: its cost and that cut; None if no part has room."""
    best: tuple[float, int] | None = None
    for before in reversed(layer):
        if before > cut:
            continue
        if not has_room(before, cut):
            break
        cost = layer[before][0] + (_EMPTY if before == cut else 0.0)
        best = min(best, (cost, before)) if best else (cost, before)
    return best


def _part_times(spans: Sequence[_Span], cuts: Sequence[int]) -> list[tuple[float, float]]:
    """Start and end of each part; parts within the same word, or without any, share its time."""
    times: list[tuple[float, float]] = []
    groups: list[list[tuple[int, int]]] = []
    for a, b in pairwise(cuts):
        before = spans[groups[-1][0][0]] if groups else None
        if before is not None and (a == b or (spans[a].start, spans[a].first) == (before.start, before.first)):
            groups[-1].append((a, b))
        else:
            groups.append([(a, b)])
    for group in groups:
        start, (last, stop) = spans[group[0][0]].start, group[-1]
        end = max(start, spans[stop - 1].end)
        step = ((end if last == stop else spans[last].end) - start) / len(group)
        starts = [start + i * step for i in range(len(group))]
        times += zip(starts, [*starts[1:], end])
    return times


def _is_short(spans: Sequence[_Span], a: int, b: int, config: SubtitleConfig) -> bool:
    """Whether units a to b - 1 keep max_duration, or are one unit or of one word."""
    return (
        b - a <= 1
        or _num_words(spans, a, b) <= 1
        or spans[b - 1].end - spans[a].start <= config.max_duration + _EPSILON
    )


def _num_words(spans: Sequence[_Span], a: int, b: int) -> int:
    return spans[b - 1].stop - spans[a].first if b > a else 0
