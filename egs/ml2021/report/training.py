"""The training curves of a model, from its TensorBoard event files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ml2021.report.charts import Points, Series, format_value, line_chart
from ml2021.report.markup import details, escape, note, number, table

OTHERS = ("learning_rate", "grad_norm", "audio_seconds_per_second")  # tags train/NAME, drawn after the losses
KEY = '<p class="key"><span class="swatch train"></span>train <span class="swatch dev"></span>dev</p>\n'


def read_scalars(event_dir: Path) -> dict[str, Points]:
    """Read all scalars of a folder of TensorBoard event files: {tag: points}, empty if there are none."""
    if not event_dir.is_dir():
        return {}
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it logs the end of every file
    events = EventAccumulator(str(event_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def training_section(model_dir: Path) -> str:
    """Charts of all quantities that training reports per epoch, and of learning rate, gradient norm and speed."""
    scalars = read_scalars(model_dir / "tensorboard")
    names = [tag.removeprefix("train/epoch_") for tag in sorted(scalars) if tag.startswith("train/epoch_")]
    charts = [_curves(name, scalars) for name in names] + [_other(name, scalars) for name in OTHERS]
    if not any(charts):
        return note(f"Not shown: there are no training curves in {model_dir / 'tensorboard'}.")
    return (
        KEY + f'<div class="charts">{"".join(charts)}</div>\n' + details("Values by epoch", _by_epoch(names, scalars))
    )


def _curves(name: str, scalars: Mapping[str, Points]) -> str:
    series = [
        Series("train, per batch", scalars.get(f"train/current_{name}", []), "faint"),
        Series("train", scalars[f"train/epoch_{name}"], "train"),
        Series("dev", scalars.get(f"valid/{name}", []), "dev"),
    ]
    last = [f"{s.name} {format_value(s.points[-1][1])}" for s in series[1:] if s.points]
    return _figure(line_chart(series, f"{name} by step; final values: {', '.join(last)}", "steps"), name, last)


def _other(name: str, scalars: Mapping[str, Points]) -> str:
    points = scalars.get(f"train/{name}", [])
    chart = line_chart([Series(name, points, "train")], f"{name} by step", "steps")
    return _figure(chart, name, [format_value(points[-1][1])]) if chart else ""


def _figure(chart: str, name: str, last: list[str]) -> str:
    caption = f"<b>{escape(name.replace('_', ' '))}</b> <span>{escape(', '.join(last))}</span>"
    return f"<figure><figcaption>{caption}</figcaption>{chart}</figure>\n"


def _by_epoch(names: list[str], scalars: Mapping[str, Points]) -> str:
    tags = [f"{side}{name}" for name in names for side in ("train/epoch_", "valid/")]
    tags = [tag for tag in tags if scalars.get(tag)]
    by_step = {tag: dict(scalars[tag]) for tag in tags}
    steps = sorted({step for values in by_step.values() for step in values})
    head = ["epoch", "step", *(tag.replace("train/epoch_", "train ").replace("valid/", "dev ") for tag in tags)]
    rows = [
        [number(str(epoch)), number(f"{step:g}")]
        + [number(format_value(by_step[tag][step]) if step in by_step[tag] else "") for tag in tags]
        for epoch, step in enumerate(steps, 1)
    ]
    return table(head, rows, "values by epoch")
