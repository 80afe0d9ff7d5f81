"""The results of a run: scores and times of all stages merged into results.json, and the table printed at the end.

Imported even if the stage has nothing to do, so it must import nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.stage import read_done

# Keys of results.json for every corpus; null if a corpus cannot have them (for example without true times).
HEADLINE = (
    "alignment_median_ms",
    "alignment_p95_ms",
    "alignment_end_median_ms",
    "alignment_end_p95_ms",
    "mer_windows",
    "mer_lecture",
    "bleu_mt",
    "bleu_cascade",
    "num_parameters_asr",
    "num_parameters_mt",
    "sherpa_mer",
)
Row = tuple[str, str, str, str]  # name, value, bar (the target), "ok" or "MISSED"; the last two may be empty


def stage_folders(data: Path, exp: Path) -> dict[str, list[Path]]:
    """{stage: the folders with its `.done`}, in order; stage 6 has a folder for each decoding method."""
    return {
        "corpus": [data / "source"],
        "manifests": [data / "manifests"],
        "lang": [data / "lang"],
        "align": [data / "aligned"],
        "windows": [data / "cuts"],
        "asr-train": [exp / "asr"],
        "asr-decode": decode_folders(exp),
        "bitext": [data / "bitext"],  # not translated_cuts too, which has the same seconds
        "mt-train": [exp / "mt"],
        "mt-decode": [exp / "mt" / "decode"],
        "st": [exp / "st"],
        "export": [exp / "export"],
        "report": [exp / "report"],
    }


def decode_folders(exp: Path) -> list[Path]:
    """Folders of the recogniser's finished decodings, the newest first; results.json has the scores of the newest.

    If there are none, returns only the folder of greedy search, so that messages can name it.
    """
    done = sorted((exp / "asr").glob("*/.done"), key=lambda p: (-p.stat().st_mtime_ns, p))
    return [p.parent for p in done] or [exp / "asr" / "greedy_search"]


def collect_results(data: Path, exp: Path) -> dict[str, Any]:
    """Merge scores.json and the seconds of all stages.

    Returns:
      {"wall_seconds": {stage: seconds, ..., "total": seconds}, "cpu_seconds": the same of the processors, without
      stages that were interrupted, "side_by_side": {stage: later stages that ran at the same time}, of whose last runs
      common seconds count once in the total, the HEADLINE keys, "scores": {folder: its scores.json}}.
    Raises:
      DataError: a scores.json is damaged.
    """
    scores: dict[str, Any] = {}
    wall_seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    last_runs: list[tuple[str, Sequence[float]]] = []  # begin and end
    for stage, folders in stage_folders(data, exp).items():
        done = [d for d in map(read_done, folders) if d is not None]
        if done:
            wall_seconds[stage] = round(sum(d["seconds"] for d in done), 2)
        if done and all(d.get("cpu_seconds") is not None for d in done):
            cpu_seconds[stage] = round(sum(d["cpu_seconds"] for d in done), 2)
        last_runs += [(stage, d["last_run"]) for d in done if "last_run" in d]
        for folder in folders:
            if (folder / "scores.json").is_file():
                scores[_folder_name(folder, data, exp)] = _read_scores(folder / "scores.json")
    common = _common_seconds(last_runs)
    side_by_side = {first: [b for a, b in common if a == first] for first, _ in common}
    wall_seconds["total"] = round(sum(wall_seconds.values()) - sum(common.values()), 2)
    cpu_seconds["total"] = round(sum(cpu_seconds.values()), 2)
    headline = {key: next((s[key] for s in scores.values() if key in s), None) for key in HEADLINE}
    seconds = {"wall_seconds": wall_seconds, "cpu_seconds": cpu_seconds, "side_by_side": side_by_side}
    return {**seconds, **headline, "scores": scores}


def _common_seconds(runs: Sequence[tuple[str, Sequence[float]]]) -> dict[tuple[str, str], float]:
    """{(stage, later stage): how long they ran at the same time}, if longer than a second."""
    common: dict[tuple[str, str], float] = {}
    for (a, (begin_a, end_a)), (b, (begin_b, end_b)) in combinations(runs, 2):
        seconds = min(end_a, end_b) - max(begin_a, begin_b)
        if a != b and seconds > 1:
            common[a, b] = common.get((a, b), 0.0) + seconds
    return common


def table_rows(results: Mapping[str, Any], has_bars: bool) -> list[Row]:
    """The rows of the table of results.

    Args:
      results: from collect_results.
      has_bars: show the bars (the targets of the mini corpus) and whether they are met.
    """
    bleu_mt = results["bleu_mt"]
    rows = [
        _row("starts of sentences off by, median (ms)", results["alignment_median_ms"], "{:.0f}", at_most=20),
        _row("starts of sentences off by, 95% (ms)", results["alignment_p95_ms"], "{:.0f}", at_most=50),
        _row("ends of sentences off by, median (ms)", results["alignment_end_median_ms"], "{:.0f}", at_most=60),
        _row("ends of sentences off by, 95% (ms)", results["alignment_end_p95_ms"], "{:.0f}", at_most=200),
        *_mer_rows("MER of windows", results["mer_windows"], 1.3),
        *_coverage_rows(results.get("scores", {})),
        *_mer_rows("MER of whole lectures", results["mer_lecture"], 1.5, 5),
        _row("BLEU, translation of the transcript", bleu_mt, "{:.1f}", at_least=84),
        _row(
            "BLEU, cascade on whole lectures",
            results["bleu_cascade"],
            "{:.1f}",
            at_least=None if bleu_mt is None else round(bleu_mt - 3, 1),
        ),
        _row("MER of the exported recogniser (%)", results["sherpa_mer"], "{:.2f}"),
        _row("parameters, recogniser", results["num_parameters_asr"], "{:,}"),
        _row("parameters, translator", results["num_parameters_mt"], "{:,}"),
        _row("wall time of all stages (s)", results["wall_seconds"]["total"], "{:.0f}"),
        _row("processor time of all stages (s)", results.get("cpu_seconds", {}).get("total"), "{:.0f}"),
    ]
    return rows if has_bars else [(name, value, "", "") for name, value, _, _ in rows]


def render_table(results: Mapping[str, Any], has_bars: bool) -> str:
    """The table of results as text, and below it the seconds of each stage."""
    rows: list[Row] = [("", "value", "bar" if has_bars else "", ""), *table_rows(results, has_bars)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {bar:<{widths[2]}}  {mark}".rstrip()
        for name, value, bar, mark in rows
    ]
    for title, key in (("seconds", "wall_seconds"), ("processor seconds", "cpu_seconds")):
        seconds = ", ".join(f"{k} {v:.0f}" for k, v in results.get(key, {}).items() if k != "total")
        lines += [f"{title} by stage: {seconds}"] if seconds else []
    for name, others in results.get("side_by_side", {}).items():
        lines.append(f"{', '.join(others)} ran beside {name}; common seconds count once in the wall time")
    return "\n".join(lines)


def _coverage_rows(scores: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """How many of the transcripts' words the windows hold, and the rate with the other words as deletions."""
    decoding = next((s for s in scores.values() if "mer_windows" in s), {})
    if "coverage_windows" not in decoding:
        return []
    return [
        _row("words of the transcripts in windows (%)", decoding["coverage_windows"]["percent"], "{:.2f}"),
        _row("MER of windows with all other words (%)", decoding["mer_windows_complete"]["mer"], "{:.2f}"),
    ]


def _mer_rows(
    name: str, mer: Mapping[str, float | None] | None, limit: float, limit_en: float | None = None
) -> list[Row]:
    mer = mer or {"mer": None, "zh": None, "en": None}
    return [
        _row(f"{name} (%)", mer["mer"], "{:.2f}", at_most=limit),
        _row("  Chinese characters", mer["zh"], "{:.2f}"),
        _row("  English words", mer["en"], "{:.2f}", at_most=limit_en),
    ]


def _row(name: str, value: float | None, form: str, at_most: float | None = None, at_least: float | None = None) -> Row:
    bar = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}" if at_least is not None else ""
    if value is None:
        return name, "-", bar, "MISSED" if bar else ""
    met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return name, form.format(value), bar, ("ok" if met else "MISSED") if bar else ""


def _folder_name(folder: Path, data: Path, exp: Path) -> str:
    return str(folder.relative_to(exp if folder.is_relative_to(exp) else data))


def _read_scores(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} cannot be read ({e}); remove its folder and run its stage again") from e
    if not isinstance(content, dict):
        raise DataError(f"{path} must contain a mapping, got {type(content).__name__}; run its stage again")
    return content
