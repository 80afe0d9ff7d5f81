"""Results of a run: collected from the folders of all stages and compared with their bars."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.report.results import HEADLINE, collect_results, decode_folders, render_table, table_rows

GOOD: dict[str, Any] = {
    "wall_seconds": {"corpus": 40.0, "total": 1400.0},
    "alignment_median_ms": 17.2,
    "alignment_p95_ms": 44.0,
    "alignment_end_median_ms": 42.0,
    "alignment_end_p95_ms": 95.0,
    "mer_windows": {"mer": 1.21, "zh": 1.0, "en": 4.5},
    "mer_lecture": {"mer": 1.4, "zh": 1.1, "en": 4.9},
    "bleu_mt": 84.5,
    "bleu_cascade": 82.0,
    "num_parameters_asr": 3_456_789,
    "num_parameters_mt": 2_000_000,
    "sherpa_mer": 3.3,
    "scores": {},
}


def finish(folder: Path, seconds: float, scores: dict[str, Any] | None = None, cpu: float | None = None) -> None:
    """Make the folder of a finished stage."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {"stage": "x", "key": "k", "seconds": seconds, "cpu_seconds": cpu, "finished": "now", "outputs": {}}
    (folder / ".done").write_text(json.dumps(done))
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores))


def test_seconds_of_stage_7_are_counted_once(tmp_path: Path) -> None:
    """Stage 7 writes two folders; both record the seconds since the start of the same process."""
    finish(tmp_path / "bitext", 8.0)
    finish(tmp_path / "translated_cuts", 9.0)
    assert collect_results(tmp_path, tmp_path / "exp")["wall_seconds"] == {"bitext": 8.0, "total": 8.0}


def test_scores_and_seconds_of_all_stages_are_merged(tmp_path: Path) -> None:
    data, exp = tmp_path / "data", tmp_path / "exp"
    finish(data / "source", 10.0)
    finish(data / "aligned", 20.5, {"alignment_median_ms": 40, "alignment_p95_ms": 100, "extra": 1})
    finish(exp / "asr", 30.0)
    finish(exp / "asr" / "beam", 5.0, {"mer_windows": {"mer": 9}})
    finish(exp / "asr" / "greedy_search", 4.0, {"mer_windows": {"mer": 3}, "num_parameters_asr": 7})
    finish(exp / "mt" / "decode", 1.0, {"bleu_mt": 70.5})
    results = collect_results(data, exp)
    assert results["wall_seconds"] == {
        "corpus": 10.0,
        "align": 20.5,
        "asr-train": 30.0,
        "asr-decode": 9.0,
        "mt-decode": 1.0,
        "total": 70.5,
    }
    assert results["alignment_median_ms"] == 40 and results["bleu_mt"] == 70.5 and results["num_parameters_asr"] == 7
    assert results["mer_windows"] == {"mer": 3}  # the newest decoding, greedy search, is in results.json
    assert results["bleu_cascade"] is None and results["mer_lecture"] is None
    assert set(results["scores"]) == {"aligned", "asr/beam", "asr/greedy_search", "mt/decode"}
    assert results["scores"]["aligned"]["extra"] == 1


def test_processor_seconds_are_those_of_stages_that_were_not_interrupted(tmp_path: Path) -> None:
    finish(tmp_path / "source", 10.0, cpu=12.5)
    finish(tmp_path / "aligned", 20.0, cpu=None)
    finish(tmp_path / "cuts", 5.0, cpu=4.0)
    results = collect_results(tmp_path, tmp_path / "exp")
    assert results["cpu_seconds"] == {"corpus": 12.5, "windows": 4.0, "total": 16.5}
    lines = render_table(results, has_bars=True).splitlines()
    assert lines[-1] == "processor seconds by stage: corpus 12, windows 4"
    slow = render_table(results | {"wall_seconds": {"total": 1e5}}, has_bars=True).splitlines()
    assert [line.split() for line in slow if line.startswith("wall")] == [
        ["wall", "time", "of", "all", "stages", "(s)", "100000"]
    ]


def test_results_of_an_empty_run_are_null(tmp_path: Path) -> None:
    results = collect_results(tmp_path, tmp_path)
    assert results["wall_seconds"] == {"total": 0} and all(results[key] is None for key in HEADLINE)
    assert "MISSED" in render_table(results, has_bars=True) and "MISSED" not in render_table(results, has_bars=False)


def test_decode_folders(tmp_path: Path) -> None:
    assert [p.name for p in decode_folders(tmp_path)] == ["greedy_search"]
    finish(tmp_path / "asr" / "beam", 1.0)
    (tmp_path / "asr" / "tensorboard").mkdir()
    assert [p.name for p in decode_folders(tmp_path)] == ["beam"]
    finish(tmp_path / "asr" / "a", 1.0)
    os.utime(tmp_path / "asr" / "beam" / ".done", (1, 1))
    assert [p.name for p in decode_folders(tmp_path)] == ["a", "beam"]  # the newest first


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_damaged_scores_are_named(tmp_path: Path, content: str) -> None:
    finish(tmp_path / "aligned", 1.0)
    (tmp_path / "aligned" / "scores.json").write_text(content)
    with pytest.raises(DataError, match=r"aligned/scores\.json"):
        collect_results(tmp_path, tmp_path)


def marks(results: dict[str, Any]) -> dict[str, str]:
    return {name: mark for name, _, _, mark in table_rows(results, has_bars=True) if mark}


def test_good_results_are_ok() -> None:
    assert set(marks(GOOD).values()) == {"ok"} and len(marks(GOOD)) == 9


@pytest.mark.parametrize(
    ("key", "value", "row"),
    [
        ("alignment_median_ms", 20.1, "starts of sentences off by, median (ms)"),
        ("alignment_p95_ms", 51, "starts of sentences off by, 95% (ms)"),
        ("alignment_end_median_ms", 60.1, "ends of sentences off by, median (ms)"),
        ("alignment_end_p95_ms", 201, "ends of sentences off by, 95% (ms)"),
        ("mer_windows", {"mer": 1.31, "zh": 1.0, "en": 1.0}, "MER of windows (%)"),
        ("mer_lecture", {"mer": 1.51, "zh": 1.0, "en": 1.0}, "MER of whole lectures (%)"),
        ("mer_lecture", {"mer": 1.4, "zh": 1.0, "en": 5.1}, "  English words"),
        ("bleu_mt", 83.9, "BLEU, translation of the transcript"),
        ("bleu_cascade", 81.4, "BLEU, cascade on whole lectures"),
        ("mer_windows", None, "MER of windows (%)"),
    ],
)
def test_result_that_misses_its_bar_is_marked(key: str, value: Any, row: str) -> None:
    assert [name for name, mark in marks(GOOD | {key: value}).items() if mark == "MISSED"] == [row]


def test_table_shows_values_in_columns() -> None:
    lines = render_table(GOOD, has_bars=True).splitlines()
    assert any(line.split() == ["MER", "of", "windows", "(%)", "1.21", "<=", "1.3", "ok"] for line in lines)
    assert any("3,456,789" in line for line in lines) and lines[-1] == "seconds by stage: corpus 40"
    ends = {line.index("1.21") + 4 for line in lines if "1.21" in line} | {
        line.index("17") + 2 for line in lines if " 17 " in line
    }
    assert len(ends) == 1  # right-aligned
    assert "<=" not in render_table(GOOD, has_bars=False)


def test_words_outside_of_windows_are_in_the_table() -> None:
    covered = {"coverage_windows": {"percent": 90.0}, "mer_windows_complete": {"mer": 12.5}}
    scores = {"asr/beam": {"mer_windows": {"mer": 3.21}, **covered}, "asr/greedy_search": {"mer_windows": {"mer": 4.0}}}
    table = table_rows({**GOOD, "scores": scores}, has_bars=True)
    rows = {name: value for name, value, _, _ in table}
    assert rows["words of the transcripts in windows (%)"] == "90.00"
    assert rows["MER of windows with all other words (%)"] == "12.50"
    others = dict(reversed(scores.items()))  # what the newest decoding lacks is not taken from another one
    assert len(table_rows({**GOOD, "scores": others}, True)) == len(table_rows(GOOD, True)) == len(table) - 2


def test_seconds_of_stages_that_ran_side_by_side_count_once(tmp_path: Path) -> None:
    finish(tmp_path / "exp" / "asr", 400.0)
    finish(tmp_path / "exp" / "mt", 330.0)  # 30 of them in an earlier run
    finish(tmp_path / "exp" / "mt" / "decode", 5.0)

    def set_last_run(folder: str, begin: float, end: float) -> None:
        path = tmp_path / "exp" / folder / ".done"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"last_run": [begin, end]}))

    set_last_run("asr", 1000.0, 1400.0)
    set_last_run("mt", 1110.0, 1410.0)
    set_last_run("mt/decode", 1409.8, 1414.8)
    results = collect_results(tmp_path, tmp_path / "exp")
    assert results["wall_seconds"] == {"asr-train": 400.0, "mt-train": 330.0, "mt-decode": 5.0, "total": 445.0}
    assert results["side_by_side"] == {"asr-train": ["mt-train"]}
    last = render_table(results, has_bars=False).splitlines()[-1]
    assert last == "mt-train ran beside asr-train; common seconds count once in the wall time"
    finish(tmp_path / "exp" / "asr" / "greedy_search", 20.0)
    finish(tmp_path / "exp" / "asr" / "beam", 30.0)
    set_last_run("asr/greedy_search", 1400.0, 1420.0)  # beside the end of mt-train and all of mt-decode
    set_last_run("asr/beam", 2000.0, 2030.0)
    results = collect_results(tmp_path, tmp_path / "exp")
    assert results["wall_seconds"]["total"] == pytest.approx(445.0 + 50.0 - 10.0 - 5.0)
    assert results["side_by_side"] == {"asr-train": ["mt-train"], "asr-decode": ["mt-train", "mt-decode"]}
    set_last_run("asr", 9000.0, 9400.0)  # trained again later
    results = collect_results(tmp_path, tmp_path / "exp")
    assert results["wall_seconds"]["total"] == pytest.approx(785.0 - 15.0)
    assert results["side_by_side"] == {"asr-decode": ["mt-train", "mt-decode"]}
