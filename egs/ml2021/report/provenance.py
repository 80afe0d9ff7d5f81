"""How a run was made: commands, times, commit, machine, package versions, configuration."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.stage import read_done
from ml2021.report.markup import details, escape, number, table
from ml2021.report.results import render_table, stage_folders

PACKAGES = (
    "torch",
    "torchaudio",
    "lhotse",
    "numpy",
    "numba",
    "sentencepiece",
    "transformers",
    "ctranslate2",
    "sacrebleu",
    "kaldialign",
    "sherpa-onnx",
    "onnxruntime",
    "k2",
)


def commit(folder: Path) -> str:
    """The git commit of a folder, with "+changes" if files differ from it; "unknown" outside a checkout."""
    commit_id = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit_id:
        return "unknown"
    return commit_id + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def provenance_section(data: Path, exp: Path, conf: Path, results: Mapping[str, Any], has_bars: bool) -> str:
    """The section with all that is needed to repeat the run or to compare it with another."""
    facts = [
        ("commit", commit(Path(__file__).parent)),
        ("folders", f"{data}, {exp}, {conf}"),
        ("machine", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        ("packages", ", ".join(_versions(PACKAGES))),
    ]
    texts = [
        ("Table of results as text", render_table(results, has_bars)),
        ("All scores, with their sacreBLEU signatures", json.dumps(results["scores"], indent=1, ensure_ascii=False)),
        *((str(path), path.read_text(encoding="utf-8")) for path in sorted(conf.glob("*.yaml"))),
    ]
    return (
        f"<pre>{escape(_commands(data, exp, conf))}</pre>\n"
        + table([], [(f'<th scope="row">{escape(name)}</th>', escape(value)) for name, value in facts])
        + "<h3>Stages</h3>\n"
        + _stages(data, exp, results["wall_seconds"], results.get("side_by_side", {}))
        + "".join(details(name, f"<pre>{escape(text)}</pre>\n") for name, text in texts)
    )


def _commands(data: Path, exp: Path, conf: Path) -> str:
    lines = [
        "# all stages; stages that are up to date are skipped",
        f"./run.sh --conf {conf} --data {data} --exp {exp}",
        "# only this page",
        f"python local/make_report.py --conf {conf} --data {data} --exp {exp}",
    ]
    recogs = sorted(exp.glob("asr/*/recogs-*.txt")) + sorted(exp.glob("st/recogs-*.txt"))
    if recogs:
        lines.append("# error rates of the recognised texts")
        lines += [f"python -m ml2021.scoring.error_rate {path} {path}" for path in recogs]
    return "\n".join(lines)


def _stages(data: Path, exp: Path, wall_seconds: Mapping[str, float], side_by_side: Mapping[str, Sequence[str]]) -> str:
    first_of = {other: stage for stage, others in reversed([*side_by_side.items()]) for other in others}
    longest = max((s for stage, s in wall_seconds.items() if stage != "total"), default=0) or 1
    rows = []
    for stage, folders in stage_folders(data, exp).items():
        if stage not in wall_seconds or stage == "report":
            continue
        done = next(d for d in map(read_done, folders) if d is not None)
        beside = f" (beside {escape(first_of[stage])})" if stage in first_of else ""
        bar = f'<span class="share" style="width:{100 * wall_seconds[stage] / longest:.1f}%"></span>'
        rows.append(
            (
                f'<th scope="row">{escape(stage)}{beside}</th>',
                number(f"{wall_seconds[stage]:.1f}"),
                f'<td class="wide">{bar}</td>',
                escape(str(done.get("finished", ""))),
                f"<code>{escape(str(done['key'])[:12])}</code>",
            )
        )
    return table(["stage", "seconds", "", "finished", "key"], rows, "stages")


def _versions(packages: Iterable[str]) -> list[str]:
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package}: not installed")
    return versions
