"""The page of a run: one HTML file that needs nothing else, to be read on any screen, light or dark."""

from __future__ import annotations

import base64
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lhotse import CutSet, SupervisionSet

from lhotse_prep.stages import read_jsonl, write_text
from ml2021.report import plots
from ml2021.report.results import render_table, table_rows

NUM_SENTENCES = 20  # shown of the test lecture
PACKAGES = ("torch", "torchaudio", "lhotse", "transformers", "ctranslate2", "sherpa-onnx", "sacrebleu", "k2")
STYLE = """
:root { color-scheme: light dark; --ink: #24292f; --paper: #ffffff; --line: #d0d7de; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #d0d7de; --paper: #0d1117; --line: #3d444d; --good: #3fb950; --bad: #f85149; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 62rem; padding: 1rem; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; padding-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td:first-child { white-space: pre-wrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.ok { color: var(--good); } .missed { color: var(--bad); font-weight: bold; }
figure { margin: 1rem 0; } figure img { background: #ffffff; border-radius: 6px; display: block; max-width: 100%; }
pre { border: 1px solid var(--line); overflow-x: auto; padding: .6rem; font-size: .85rem; }
"""


def write_page(path: Path, data: Path, exp: Path, conf: Path, results: Mapping[str, Any], has_bars: bool) -> None:
    """Write the page of a run.

    Args:
      path: the HTML file.
      data, exp, conf: the folders of the run, as run.sh knows them.
      results: as results.collect_results returns them.
      has_bars: whether the figures have bars to meet (the mini corpus).
    """
    lecture = _first_lecture(exp / "st")
    sections = [
        ("Results", _results_table(results, has_bars)),
        ("Time of each stage", _seconds_table(results["wall_seconds"])),
        ("Training of the recogniser", _training(exp / "asr")),
        ("Training of the translator", _training(exp / "mt")),
        ("Alignment", _alignment(data)),
        *([(f"Lecture {lecture}", _lecture(data, exp, lecture))] if lecture else []),
        ("How it was made", _provenance(data, exp, conf, results, has_bars)),
    ]
    title = f"ml2021: {data.name}"
    body = "".join(f"<section><h2>{escape(heading)}</h2>\n{content}</section>\n" for heading, content in sections)
    write_text(
        path,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}</main>\n</body>\n</html>\n",
    )


def commit(folder: Path) -> str:
    """The git commit of a folder, with "+changes" where files differ from it; "unknown" outside a checkout."""
    described = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not described:
        return "unknown"
    return described + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _first_lecture(st_dir: Path) -> str | None:
    """The test lecture to show: the first that went through the cascade."""
    return min((p.stem for p in st_dir.glob("*.jsonl")), default=None)


def _results_table(results: Mapping[str, Any], has_bars: bool) -> str:
    rows = []
    for name, value, bar, met in table_rows(results, has_bars):
        mark = f'<span class="{met.lower()}">{met}</span>' if met else ""
        rows.append((escape(name), f'<td class="number">{escape(value)}</td>', escape(bar), mark))
    head = ["", "value", "bar", ""] if has_bars else ["", "value"]
    return _table(head, [row[: len(head)] for row in rows])


def _seconds_table(wall_seconds: Mapping[str, float]) -> str:
    rows = [(escape(stage), f'<td class="number">{seconds:.1f}</td>') for stage, seconds in wall_seconds.items()]
    return _table(["stage", "seconds"], rows)


def _training(model_dir: Path) -> str:
    return _figure(
        plots.training_curves(plots.read_scalars(model_dir / "tensorboard")), "What training reports, against steps"
    )


def _alignment(data: Path) -> str:
    confidences = [
        supervision.custom["confidence"]
        for path in sorted((data / "aligned").glob("ml2021_supervisions_*.jsonl.gz"))
        for supervision in SupervisionSet.from_file(path)
    ]
    return _figure(plots.confidence_histogram(confidences), f"Confidence of {len(confidences)} stretches, all parts")


def _lecture(data: Path, exp: Path, lecture: str) -> str:
    """Time line and first sentences of a test lecture."""
    windows = [
        plots.Window(cut.start, cut.duration, sum(len((s.text or "").split()) for s in cut.supervisions))
        for cut in CutSet.from_file(data / "cuts" / "ml2021_cuts_test.jsonl.gz")
        if cut.recording_id == lecture
    ]
    stretches = [
        plots.Stretch(s.start, s.duration, s.custom["confidence"])
        for s in SupervisionSet.from_file(data / "aligned" / "ml2021_supervisions_test.jsonl.gz")
        if s.recording_id == lecture
    ]
    caption = f"{len(windows)} windows (above, one bar each) and {len(stretches)} aligned stretches"
    return _figure(plots.time_line(windows, stretches), caption) + _sentences(exp / "st" / f"{lecture}.jsonl")


def _sentences(path: Path) -> str:
    sentences = read_jsonl(path)
    rows = [
        (
            f'<td class="number">{row["start"]:.1f}</td>',
            f'<td lang="zh">{escape(row["source"])}</td>',
            escape(row["target"]),
        )
        for row in sentences[:NUM_SENTENCES]
    ]
    shown = f"<p>The first {len(rows)} of {len(sentences)} sentences of <code>{escape(str(path))}</code>:</p>\n"
    return shown + _table(["seconds", "recognised", "translated"], rows)


def _provenance(data: Path, exp: Path, conf: Path, results: Mapping[str, Any], has_bars: bool) -> str:
    facts = [
        ("commit", commit(Path(__file__).parent)),
        ("folders", f"{data}, {exp}, {conf}"),
        ("machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("packages", ", ".join(_versions(PACKAGES))),
    ]
    texts = [
        ("Table as text", render_table(results, has_bars)),
        (
            "All scores, with the signatures that reproduce them",
            json.dumps(results["scores"], indent=1, ensure_ascii=False),
        ),
        *((str(path), path.read_text(encoding="utf-8")) for path in sorted(conf.glob("*.yaml"))),
    ]
    folded = "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>\n" for name, text in texts
    )
    return _table(["", ""], [(escape(name), escape(value)) for name, value in facts]) + folded


def _versions(packages: Iterable[str]) -> list[str]:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package}: none")
    return found


def _figure(png: bytes | None, caption: str) -> str:
    if png is None:
        return "<p>Nothing to show.</p>\n"
    source = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are escaped already; a cell may bring its own <td>."""
    header = "".join(f'<th scope="col">{name}</th>' for name in head) if any(head) else ""
    body = "".join(
        "<tr>" + "".join(c if c.startswith("<td") else f"<td>{c}</td>" for c in row) + "</tr>\n" for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'
