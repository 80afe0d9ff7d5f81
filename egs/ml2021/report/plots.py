"""The plots of the page, as PNG. Only numbers go in: a font for Chinese is not at hand everywhere."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

BLUE, ORANGE = "#3b82c4", "#d9822b"
DPI = 144  # sharp where a pixel of the page is up to 1.5 of the screen
Points = Sequence[tuple[float, float]]  # (step, value)


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
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells that it has come to the end of a file
    events = EventAccumulator(str(event_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def training_curves(scalars: Mapping[str, Points]) -> bytes | None:
    """A panel for each quantity that training reports by epoch: train and dev against steps.

    Args:
      scalars: tags `train/epoch_NAME` and `valid/NAME`; others are left out.
    Returns:
      None where nothing was reported.
    """
    names = [tag.removeprefix("train/epoch_") for tag in sorted(scalars) if tag.startswith("train/epoch_")]
    if not names:
        return None
    num_columns = min(3, len(names))
    num_rows = -(-len(names) // num_columns)
    figure = Figure(figsize=(3.2 * num_columns, 2.6 * num_rows))
    for index, name in enumerate(names, 1):
        axes = figure.add_subplot(num_rows, num_columns, index)
        _plot_points(axes, scalars[f"train/epoch_{name}"], BLUE, "train")
        _plot_points(axes, scalars.get(f"valid/{name}", []), ORANGE, "dev")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("steps")
        axes.legend(frameon=False, fontsize=8)
    return _to_png(figure)


def confidence_histogram(confidences: Sequence[float]) -> bytes | None:
    """The number of stretches by alignment confidence; None where there are no stretches."""
    if not confidences:
        return None
    figure = Figure(figsize=(6, 2.4))
    axes = figure.add_subplot()
    axes.hist(confidences, bins=30, range=(0, 1), color=BLUE)
    axes.set_xlabel("alignment confidence")
    axes.set_ylabel("stretches")
    return _to_png(figure)


def time_line(windows: Sequence[Window], stretches: Sequence[Stretch]) -> bytes | None:
    """One lecture over minutes: tokens a second in each window, confidence of each stretch; None without windows."""
    if not windows:
        return None
    figure = Figure(figsize=(9, 3.6))
    rate_axes = figure.add_subplot(2, 1, 1)
    confidence_axes = figure.add_subplot(2, 1, 2, sharex=rate_axes)
    rate_axes.bar(
        [w.start / 60 for w in windows],
        [w.num_tokens / w.duration for w in windows],
        width=[w.duration / 60 for w in windows],
        align="edge",
        color=[(BLUE, ORANGE)[i % 2] for i in range(len(windows))],
    )
    rate_axes.set_ylabel("tokens a second")
    confidence_axes.hlines(
        [s.confidence for s in stretches],
        [s.start / 60 for s in stretches],
        [(s.start + s.duration) / 60 for s in stretches],
        color=BLUE,
        linewidth=3,
    )
    confidence_axes.set_ylim(0, 1)
    confidence_axes.set_ylabel("confidence")
    confidence_axes.set_xlabel("minutes")
    return _to_png(figure)


def _plot_points(axes: Axes, points: Points, color: str, label: str) -> None:
    if points:
        steps, values = zip(*points)
        axes.plot(steps, values, color=color, label=label, marker="." if len(points) < 3 else None)


def _to_png(figure: Figure) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.set_layout_engine("constrained")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()
