"""Texts in lines: as few as possible, broken where phrases end, of about the same width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.phrases import break_costs
from ml2021.st.cues.widths import split_units, width

_BALANCE = 1.5  # what a line that is narrower than the limit by all of it costs; a break costs 0 to 1
_EPSILON = 1e-6


@lru_cache(maxsize=1 << 12)
def wrap(text: str, config: SubtitleConfig) -> tuple[str, ...]:
    """Wrap a text into lines; a word wider than a line is cut."""
    units = split_units(text, config)
    if width("".join(units), config) <= config.max_latin:
        return ("".join(units),) if units else ()
    costs = break_costs(units, config)
    lines = Lines(units, costs, config)
    return tuple("".join(units[a:b]).strip() for a, b in lines.best(0, len(units)))


class Lines:
    """The ways to break a text into lines."""

    def __init__(self, units: Sequence[str], costs: Sequence[float], config: SubtitleConfig) -> None:
        """
        Args:
          units: of the text.
          costs: of a break after each unit but the last.
          config: how wide a line is.
        """
        self._edges = list(accumulate((width(unit, config) for unit in units), initial=0.0))
        self._lefts = [width(unit[0], config) if unit[0] == " " else 0.0 for unit in units]
        self._costs, self._limit = costs, config.max_latin + _EPSILON

    def width(self, a: int, b: int) -> float:
        """The width of units a to b - 1 in one line."""
        return self._edges[b] - self._edges[a] - self._lefts[a] if b > a else 0.0

    def count(self, a: int, b: int, at_most: int) -> int:
        """The fewest lines that units a to b - 1 need; at_most + 1 if they are more than at_most."""
        num_lines = 0
        while a < b:
            if num_lines == at_most:
                return at_most + 1
            num_lines += 1
            if self.width(a, b) <= self._limit:
                break
            a = self._longest_line(a, b)
        return num_lines

    def best(self, a: int, b: int) -> list[tuple[int, int]]:
        """The lines of units a to b - 1, as ranges of units."""
        if self.width(a, b) <= self._limit:
            return [(a, b)] if b > a else []
        paths: list[tuple[int, float, int]] = [(0, 0.0, a)]  # of the best path to each place: lines, cost, where from
        for end in range(a + 1, b + 1):
            best = (b + 1, math.inf, a)
            cut = self._costs[end - 1] if end < b else 0.0
            for begin in range(end - 1, a - 1, -1) if cut < math.inf else ():
                line_width = self.width(begin, end)
                if line_width > self._limit and end - begin > 1:
                    break
                num_lines, cost, _ = paths[begin - a]
                slack = max(0.0, 1 - line_width / self._limit)
                best = min(best, (num_lines + 1, cost + cut + _BALANCE * slack * slack, begin))
            paths.append(best)
        ends = [b]
        while ends[-1] > a:
            ends.append(paths[ends[-1] - a][2])
        return list(pairwise(ends[::-1]))

    def _longest_line(self, a: int, b: int) -> int:
        """Where the longest line that begins with unit a ends."""
        longest = a + 1
        for end in range(a + 1, b):
            if self.width(a, end) > self._limit:
                break
            if self._costs[end - 1] < math.inf:
                longest = end
        return longest
