"""Charts draw the values at the right places."""

from __future__ import annotations

import math
import re

import pytest

from ml2021.report.charts import Axis, Series, format_value, histogram, line_chart


def polyline(svg: str, style: str) -> list[tuple[float, float]]:
    points = re.search(rf'class="line {style}" points="([^"]+)"', svg)
    assert points
    return [(float(x), float(y)) for x, y in (p.split(",") for p in points[1].split())]


def test_larger_values_are_higher_and_later_ones_to_the_right() -> None:
    points = polyline(line_chart([Series("a", [(0, 1.0), (10, 3.0), (20, 2.0)], "train")], "a", "steps"), "train")
    xs, ys = zip(*points)
    assert list(xs) == sorted(xs) and ys[1] < ys[2] < ys[0]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)


def test_a_wide_range_has_a_logarithmic_axis() -> None:
    ys = [y for _, y in polyline(line_chart([Series("a", [(0, 100.0), (1, 10.0), (2, 1.0)], "dev")], "a", "x"), "dev")]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.11)


def test_values_that_are_not_finite_are_left_out() -> None:
    assert (
        len(polyline(line_chart([Series("a", [(0, 1), (1, math.nan), (2, math.inf), (3, 2)], "dev")], "a", "x"), "dev"))
        == 2
    )
    assert line_chart([Series("a", [(0, math.nan)], "dev")], "a", "x") == ""
    assert 'cx="' in line_chart([Series("a", [(7, 0.0)], "dev")], "a", "x")  # one value is a dot


def test_labels_are_escaped() -> None:
    assert "<b>" not in line_chart([Series("<b>", [(0, 1), (1, 2)], "dev")], "<b>", "<b>")


def test_histogram_counts_everything() -> None:
    svg = histogram([0.1, 0.1, 0.5, 0.99, 1.0, 7.0, -3.0], 0, 1, 4, "c", "x")
    assert [int(n) for n in re.findall(r": (\d+)</title></rect>", svg)] == [3, 0, 1, 3]
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"><title>', svg)]
    assert heights[1] == 0 and heights[0] == heights[3] == pytest.approx(3 * heights[2], abs=0.2)
    assert histogram([], 0, 1, 4, "c", "x") == "" and "median 0.5" in svg


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (0.003, 0.0041), (-5.0, 17.0), (0.0, 123456.0), (2.0, 2.0)])
def test_ticks_are_few_and_within_the_axis(low_high: tuple[float, float]) -> None:
    ticks = Axis(*low_high, 0, 100).ticks()
    assert 1 <= len(ticks) <= 7 and all(low_high[0] - 1e-9 <= t <= low_high[1] * (1 + 1e-9) for t in ticks)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.0, "1"), (0.123456, "0.123"), (1234, "1234"), (5e-4, "5e-4"), (2.5e6, "2.5e6")]
)
def test_values_are_short(value: float, text: str) -> None:
    assert format_value(value) == text
