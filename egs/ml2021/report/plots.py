"""The plots of the page: SVG text, whose ink follows the reader's light or dark theme. No text from data goes in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

INK = "#010203"  # stands for the colour of text and axes until the SVG is written
BLUE, ORANGE = "#3b82c4", "#d9822b"  # readable on white and on near-black
THEME = "svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#d0d7de}}"
Points = list[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class Window:
    """One window of a lecture's time line."""

    start: float  # seconds
    duration: float  # seconds
    num_tokens: int


@dataclass(frozen=True)
class Stretch:
    """One aligned stretch of speech."""

    start: float  # seconds
    duration: float  # seconds
    confidence: float


def read_scalars(event_dir: Path) -> dict[str, Points]:
    """Every scalar of a folder of TensorBoard event files, by tag; empty where there are none."""
    if not event_dir.is_dir():
        return {}
    events = EventAccumulator(str(event_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def training_curves(scalars: Mapping[str, Points]) -> str | None:
    """SVG with a panel for each quantity that training reports by epoch: train and dev against steps.

    Args:
      scalars: tags `train/epoch_NAME` and `valid/NAME`; others are left out.
    Returns:
      The SVG, or None where nothing was reported.
    """
    names = [tag.removeprefix("train/epoch_") for tag in sorted(scalars) if tag.startswith("train/epoch_")]
    if not names:
        return None
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
    for name, axes in zip(names, np.ravel(figure.subplots(rows, columns, squeeze=False))[: len(names)], strict=True):
        _plot_points(axes, scalars[f"train/epoch_{name}"], BLUE, "train")
        _plot_points(axes, scalars.get(f"valid/{name}", []), ORANGE, "dev")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("steps")
        axes.legend(frameon=False, fontsize=8)
    for axes in figure.axes[len(names) :]:
        axes.set_visible(False)
    return to_svg(figure)


def confidence_histogram(confidences: Sequence[float]) -> str | None:
    """SVG with the number of stretches by alignment confidence; None where there are no stretches."""
    if not confidences:
        return None
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.hist(confidences, bins=30, color=BLUE)
    axes.set_xlabel("alignment confidence")
    axes.set_ylabel("stretches")
    return to_svg(figure)


def time_line(windows: Sequence[Window], stretches: Sequence[Stretch]) -> str | None:
    """SVG of one lecture over minutes: tokens a second in each window, confidence of each stretch."""
    if not windows:
        return None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rate_axes, confidence_axes = figure.subplots(2, 1, sharex=True)
    rate_axes.bar(
        [w.start / 60 for w in windows],
        [w.num_tokens / w.duration for w in windows],
        width=[w.duration / 60 for w in windows],
        align="edge",
        color=[BLUE, ORANGE] * (len(windows) // 2) + [BLUE] * (len(windows) % 2),
    )
    rate_axes.set_ylabel("tokens a second")
    confidence_axes.hlines(
        [s.confidence for s in stretches],
        [s.start / 60 for s in stretches],
        [(s.start + s.duration) / 60 for s in stretches],
        color=BLUE,
        linewidth=3,
    )
    confidence_axes.set_ylabel("confidence")
    confidence_axes.set_xlabel("minutes")
    return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """The figure as SVG that scales to its place and takes the ink of the reader's theme."""
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=INK)
        axes.spines[:].set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
        legend = axes.get_legend()
        for text in texts + (legend.get_texts() if legend else []):
            text.set_color(INK)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ml2021"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r"(<svg[^>]*>)", rf"\1<style>{THEME}</style>", svg, count=1)


def _plot_points(axes: Axes, points: Points, color: str, label: str) -> None:
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=color, label=label, marker="." if len(points) < 3 else None)
