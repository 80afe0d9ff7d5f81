"""MER against a plain edit distance and by hand, and the result files."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.counts import Counts, ErrorRate, at_switches, by_lecture, count_errors, mer_tokens, score
from ml2021.scoring.icefall_files import write_icefall_files, write_wer_summary
from ml2021.scoring.texts import read_texts


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
    ("ref", "hyp", "counts"),
    [
        ("我 deep 的", "我 deep 的", (3, 0, 0, 0)),
        ("我 們 deep net 的 人", "你 他 deep nets 得 人", (4, 0, 0, 3)),  # not the first 我 and the last 人
        ("我 deep", "我 很 deep", (2, 1, 0, 0)),
        ("我 們 deep", "我 很 們 deep", (2, 0, 0, 0)),
        ("我 deep net", "我 net", (2, 0, 1, 0)),
        ("我 們", "你 deep", (0, 0, 0, 0)),
        ("", "我 deep", (0, 0, 0, 0)),
    ],
)
def test_errors_at_switches(ref: str, hyp: str, counts: tuple[int, ...]) -> None:
    switches = score([("a", ref, hyp)]).switches
    assert (switches.num_ref, switches.insertions, switches.deletions, switches.substitutions) == counts


@pytest.mark.parametrize("seed", range(20))
def test_a_switch_is_where_neighbours_are_in_two_languages(seed: int) -> None:
    rng = random.Random(seed)
    alignment = [rng.choice([("我", "我"), ("net", "x"), ("", "我"), ("好", "")]) for _ in range(rng.randint(0, 9))]
    languages = [ref == "net" for ref, _ in alignment if ref]
    expected, i = [], 0
    for ref, _ in alignment:
        neighbours = languages[max(0, i - 1) : i + (2 if ref else 1)]
        expected.append(len(set(neighbours)) == 2)
        i += ref != ""
    assert at_switches(alignment) == expected
    counts = count_errors({"a": alignment})
    one_by_one = Counts()
    for pair in alignment:
        one_by_one.add(*pair)
    assert counts.total == one_by_one and counts.switches.num_ref == sum(
        flag for flag, (ref, _) in zip(expected, alignment) if ref
    )


def test_lectures_are_scored_separately() -> None:
    result = score(
        [("w1_1-0001", "我 們", "我"), ("w1_1-0002", "好", "好"), ("w2-0001a", "net", "nets"), ("w3", "", "")]
    )
    parts = by_lecture(result)
    assert {name: str(r.total).split()[1:4] for name, r in parts.items()} == {
        "w1_1": ["(1", "/", "3:"],
        "w2": ["(1", "/", "1:"],
        "w3": ["reference", "tokens", "(0"],
    }
    assert sum(r.total.errors for r in parts.values()) == result.total.errors


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


def test_repeated_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="utterance a occurs twice"):
        score([("a", "我", "我"), ("a", "我", "我")])
    with pytest.raises(DataError, match="utterance a occurs twice"):
        write_icefall_files(tmp_path, "test", "x", "greedy", [("a", "我", "我"), ("a", "我", "我")])
    assert not list(tmp_path.iterdir())


def test_a_pair_of_tokens_is_kept_once_however_often_it_occurs() -> None:
    """A thousand hours have ten million tokens, of which some ten thousand differ."""
    result = score((f"u{i}", "我 們 deep net", "我 很 deep nets") for i in range(50))
    assert len({id(pair) for alignment in result.alignments.values() for pair in alignment}) == 4


PAIRS = [
    ("week1-0002", "我 們 用 deep net", "我 們 用 deep nets"),
    ("week1-0001", "it's a 'quoted' 機 器", "機 器 學"),
    ("week1-0003", "", "嗯"),
    ("week1-0004", "好", ""),
]


def test_recogs_file_is_read_unchanged(tmp_path: Path) -> None:
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
