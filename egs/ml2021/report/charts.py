"""Charts as SVG. Their colours come from page.css, so they fit both the light and the dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml2021.report.markup import escape

Points = Sequence[tuple[float, float]]  # (x, y)
WIDTH, HEIGHT = 340, 200  # size of a chart in SVG units, about a pixel each
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 30  # margins around the plot
LOG_SPREAD = 20  # the y axis is logarithmic if the largest value is more than this many times the smallest


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    points: Points
    style: str  # CSS class in page.css: train, dev or faint


@dataclass(frozen=True)
class Axis:
    """Maps data values from `low` to `high` to positions from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """The position of a value, in SVG units."""
        low, high, value = (
            (map(math.log, (self.low, self.high, value))) if self.is_log else (self.low, self.high, value)
        )
        return self.begin + (self.end - self.begin) * ((value - low) / (high - low) if high > low else 0.5)

    def ticks(self) -> list[float]:
        """Round values within the axis to label."""
        return _log_ticks(self.low, self.high) if self.is_log else _linear_ticks(self.low, self.high)


def line_chart(series: Sequence[Series], label: str, x_label: str) -> str:
    """Draw lines over a common x axis.

    Args:
      series: in drawing order; values that are not finite are left out.
      label: description of the chart for screen readers.
      x_label: text below the x axis.
    Returns:
      An <svg>, or "" if there is no finite value.
    """
    finite = [Series(s.name, [p for p in s.points if all(map(math.isfinite, p))], s.style) for s in series]
    xs = [x for s in finite for x, _ in s.points]
    ys = [y for s in finite for _, y in s.points]
    if not xs:
        return ""
    is_log = min(ys) > 0 and max(ys) > LOG_SPREAD * min(ys)
    margin = 0.0 if is_log else 0.05 * (max(ys) - min(ys))
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = Axis(min(ys) - margin, max(ys) + margin, HEIGHT - BOTTOM, TOP, is_log)
    elements = [_frame(x_axis, y_axis, x_label)]
    for s in finite:
        places = [f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in s.points]
        if len(places) > 1:
            elements.append(f'<polyline class="line {s.style}" points="{" ".join(places)}"/>')
        if places and (len(places) == 1 or s.style != "faint"):
            x, y = places[-1].split(",")
            tooltip = f"{s.name}: {format_value(s.points[-1][1])} at {s.points[-1][0]:g}"
            elements.append(
                f'<circle class="dot {s.style}" cx="{x}" cy="{y}" r="3"><title>{escape(tooltip)}</title></circle>'
            )
    return _svg(elements, label)


def histogram(values: Sequence[float], low: float, high: float, num_bins: int, label: str, x_label: str) -> str:
    """Draw the counts of values in bins of equal width, and their median.

    Values outside low to high count in the first or last bin.

    Returns:
      An <svg>, or "" if there are no values.
    """
    if not len(values):
        return ""
    counts, edges = np.histogram(np.clip(values, low, high), bins=num_bins, range=(low, high))
    x_axis = Axis(low, high, LEFT, WIDTH - RIGHT)
    y_axis = Axis(0, float(counts.max()) * 1.05, HEIGHT - BOTTOM, TOP)
    elements = [_frame(x_axis, y_axis, x_label)]
    for count, a, b in zip(counts, edges, edges[1:]):
        left, right, top = x_axis.place(a), x_axis.place(b), y_axis.place(count)
        title = f"{format_value(a)} to {format_value(b)}: {count}"
        elements.append(
            f'<rect class="bar" x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}"><title>{title}</title></rect>'
        )
    middle = float(np.clip(np.median(values), low, high))
    place = x_axis.place(middle)
    elements.append(
        f'<line class="median" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>median {format_value(middle)}</title></line>"
    )
    return _svg(elements, label)


def format_value(value: float) -> str:
    """Format with three significant digits; with an exponent only for very small or large values."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")


def _linear_ticks(low: float, high: float, about: int = 4) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        ticks = [m * 10.0**p for p in powers for m in multiples if low <= m * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks


def _frame(x_axis: Axis, y_axis: Axis, x_label: str) -> str:
    """Draw grid lines with their values, and the label of the x axis."""
    elements = []
    for value in y_axis.ticks():
        y = y_axis.place(value)
        elements.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        elements.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{format_value(value)}</text>')
    for value in x_axis.ticks():
        x = x_axis.place(value)
        anchor = " end" if x > WIDTH - RIGHT - 14 else ""
        elements.append(
            f'<text class="tick{anchor or " middle"}" x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}">{value:g}</text>'
        )
    elements.append(
        f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    )
    elements.append(f'<text class="tick end" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}">{escape(x_label)}</text>')
    return "".join(elements)


def _svg(elements: Sequence[str], label: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(elements)}</svg>"
    )
