"""MER against a plain edit distance and by hand, and files that other tools and we ourselves read."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from lhotse_prep.errors import DataError
from ml2021.scoring.error_rate import (
    ErrorRate,
    mer_tokens,
    read_texts,
    score,
    write_icefall_files,
    write_wer_summary,
)


def edit_distance(a: list[str], b: list[str]) -> int:
    @cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("我 們 用 Attention", ["我", "們", "用", "attention"]),
        ("我們用attention來做", ["我", "們", "用", "attention", "來", "做"]),
        ("self-supervised  learning 98%", ["self-supervised", "learning", "98%"]),
        ("l(x) 3×3的 \n t-sne", ["l(x)", "3×3", "的", "t-sne"]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert mer_tokens(text) == tokens


@pytest.mark.parametrize("seed", range(50))
def test_errors_are_the_edit_distance_and_its_parts_add_up(seed: int) -> None:
    rng = random.Random(seed)

    def sentence() -> list[str]:
        return rng.choices(["我", "你", "他", "deep", "net", "x"], k=rng.randint(0, 8))

    pairs = [(f"u{i}", sentence(), sentence()) for i in range(4)]
    result = score((i, " ".join(ref), " ".join(hyp)) for i, ref, hyp in pairs)
    assert result.total.errors == sum(edit_distance(ref, hyp) for _, ref, hyp in pairs)
    for name in ("num_ref", "insertions", "deletions", "substitutions"):
        assert getattr(result.total, name) == getattr(result.zh, name) + getattr(result.en, name)
    assert result.zh.num_ref == sum(t in "我你他" for _, ref, _ in pairs for t in ref)
    for i, ref, hyp in pairs:
        assert [a for a, _ in result.alignments[i] if a] == ref
        assert [b for _, b in result.alignments[i] if b] == hyp


def test_each_error_counts_for_the_language_it_happens_in() -> None:
    result = score([("a", "我 們 用 的 net 來 做 好", "我 用 的 nets 來 做 很 好"), ("b", "deep 的", "deep 的 net")])
    assert str(result.zh) == "25.00% (2 / 8: 1 ins, 1 del, 0 sub)"
    assert str(result.en) == "100.00% (2 / 2: 1 ins, 0 del, 1 sub)"
    assert str(result.total) == "40.00% (4 / 10: 2 ins, 1 del, 1 sub)"


@pytest.mark.parametrize(
    ("ref", "hyp", "percents"),
    [
        ("我 們", "我 們", {"mer": 0.0, "zh": 0.0, "en": None}),
        ("deep net", "", {"mer": 100.0, "zh": None, "en": 100.0}),
        ("", "", {"mer": None, "zh": None, "en": None}),
        ("", "我", {"mer": None, "zh": None, "en": None}),
        ("我 DEEP", "我 deep", {"mer": 0.0, "zh": 0.0, "en": 0.0}),
        ("我 deep", "我 深 deep", {"mer": 50.0, "zh": 100.0, "en": 0.0}),
    ],
)
def test_percents(ref: str, hyp: str, percents: dict[str, float | None]) -> None:
    assert score([("a", ref, hyp)]).percents() == percents


def test_id_that_is_there_twice_is_refused() -> None:
    with pytest.raises(DataError, match="utterance a is there twice"):
        score([("a", "我", "我"), ("a", "我", "我")])


PAIRS = [
    ("week1-0002", "我 們 用 deep net", "我 們 用 deep nets"),
    ("week1-0001", "it's a 'quoted' 機 器", "機 器 學"),
    ("week1-0003", "", "嗯"),
    ("week1-0004", "好", ""),
]


def test_recogs_come_back_as_they_were(tmp_path: Path) -> None:
    write_icefall_files(tmp_path, "test", "epoch-3-avg-2-greedy_search", "greedy_search", PAIRS)
    path = tmp_path / "recogs-test-epoch-3-avg-2-greedy_search.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "week1-0001:\tref=[\"it's\", 'a', \"'quoted'\", '機', '器']"
    assert lines[1] == "week1-0001:\thyp=['機', '器', '學']"
    assert read_texts(path, "ref") == {i: ref for i, ref, _ in PAIRS}
    assert read_texts(path, "hyp") == {i: hyp for i, _, hyp in PAIRS}


def test_errs_has_totals_details_and_tables(tmp_path: Path) -> None:
    result = write_icefall_files(tmp_path, "test", "x", "greedy_search", PAIRS)
    text = (tmp_path / "errs-test-x.txt").read_text(encoding="utf-8")
    assert text.startswith(f"%WER = {result.total.percent:.2f}\n")
    assert "week1-0002:\t我 們 用 deep (net->nets)\n" in text
    assert "week1-0003:\t(*->嗯)\n" in text and "week1-0004:\t(好->*)\n" in text
    assert "SUBSTITUTIONS: count ref -> hyp\n1   net -> nets\n" in text
    tables = text.split("\n\n")
    table = next(t for t in tables if t.startswith("PER-WORD STATS")).splitlines()[1:]
    rows = {row.split()[0]: [int(n) for n in row.split()[1:]] for row in table}
    assert rows["net"] == [0, 1, 1, 0] and rows["機"] == [1, 0, 1, 1] and rows["嗯"] == [0, 1, 0, 1]
    assert sum(r[2] for r in rows.values()) == result.total.num_ref
    assert (
        tmp_path / "wer-summary-test-x.txt"
    ).read_text() == f"settings\tWER\ngreedy_search\t{result.total.percent:.2f}\n"


def test_summary_is_best_first_and_unknown_last(tmp_path: Path) -> None:
    results = {"bad": score([("a", "我 們", "你")]), "none": ErrorRate(), "good": score([("a", "我", "我")])}
    write_wer_summary(tmp_path / "s.txt", results)
    assert (tmp_path / "s.txt").read_text() == "settings\tWER\ngood\t0.00\nbad\t100.00\nnone\tn/a\n"


def run_main(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    command = [sys.executable, "-m", "ml2021.scoring.error_rate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_command_line_scores_text_files_and_recogs(project: Path, tmp_path: Path) -> None:
    ref, hyp = tmp_path / "ref.txt", tmp_path / "hyp.txt"
    ref.write_text("a 我 們 deep\nb 好\n", encoding="utf-8")
    hyp.write_text("b\na 我 們 deep\n", encoding="utf-8")
    result = run_main(project, str(ref), str(hyp))
    assert result.stdout.splitlines()[0] == "MER 25.00% (1 / 4: 0 ins, 1 del, 0 sub)"
    write_icefall_files(tmp_path, "test", "x", "greedy_search", [("a", "我 們 deep", "我 deep"), ("b", "好", "好")])
    recogs = str(tmp_path / "recogs-test-x.txt")
    assert run_main(project, recogs, recogs).stdout.splitlines()[1] == " zh 33.33% (1 / 3: 0 ins, 1 del, 0 sub)"


def test_command_line_names_what_is_missing(project: Path, tmp_path: Path) -> None:
    ref, hyp = tmp_path / "ref.txt", tmp_path / "hyp.txt"
    ref.write_text("a 我\nb 好\n", encoding="utf-8")
    hyp.write_text("a 我\n", encoding="utf-8")
    result = run_main(project, str(ref), str(hyp))
    assert result.returncode == 1 and "1 ids" in result.stderr and "such as b" in result.stderr
    assert "no file" in run_main(project, str(tmp_path / "none"), str(hyp)).stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 我\na 你\n", "utterance a is there twice"),
        ("a:\tref=['我']\nbroken\n", "not a line of a recogs file: 'broken'"),
        ("a:\tref=['我']\na:\thyp=[oops]\n", "not a line of a recogs file"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / "x.txt", "ref")
