"""The report of `python -m ml2021.scoring.error_rate`: rates, intervals and comparisons of systems."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.counts import Counts, by_utterance, score
from ml2021.scoring.error_rate import cut_lectures, report
from ml2021.scoring.icefall_files import write_icefall_files
from ml2021.scoring.lecture_ids import utterances_by_lecture
from ml2021.scoring.significance import chance_of_improvement, interval


def run_main(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    command = [sys.executable, "-m", "ml2021.scoring.error_rate", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_command_line_scores_systems_side_by_side(project: Path, tmp_path: Path) -> None:
    write_icefall_files(tmp_path, "test", "x", "greedy", [("w-1", "我 們 deep", "我 deep"), ("w-2", "好", "好")])
    recogs = tmp_path / "recogs-test-x.txt"
    (tmp_path / "other.ctm").write_text("w 1 0 1 我\nw 1 2 1 们\nw 1 3 1 deep\nw 1 4 1 好\n", encoding="utf-8")
    result = run_main(project, str(recogs), str(recogs), "--hyp2", str(tmp_path / "other.ctm"))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split("|")[0] for line in lines if line.startswith("norm:")] == ["norm:ours", "norm:gfd"]
    assert "MER 25.00% (1 / 4: 0 ins, 1 del, 0 sub)" in lines[1] and "2 utterances" in lines[2]
    assert lines[3:6] == [
        "  zh-CER 33.33% (1 / 3: 0 ins, 1 del, 0 sub)",
        "  en-WER 0.00% (0 / 1: 0 ins, 0 del, 0 sub)",
        "  at switches 50.00% (1 / 2: 0 ins, 1 del, 0 sub)",
    ]
    assert "other.ctm: MER 0.00%" in lines[6] and "whole lectures cut to the references" in lines[7]
    assert "other.ctm against" in lines[11] and "-1 errors" in lines[11]


@pytest.mark.parametrize(
    ("ref", "hyp", "options", "rate", "formats"),
    [
        ("第一講-0001 我 們\n第一講-0002 好\n", "第一講-0001 我\n第一講-0002 好\n", [], "33.33% (1 / 3", "kaldi"),
        ("第一講-1 我 們\n第一講-2 好\n", "第一講 我 們 好\n", [], "0.00% (0 / 3", "kaldi"),
        ("第一講 我 們\n第二講 好\n", "第一講 我\n第二講 好\n", ["--format", "kaldi"], "33.33% (1 / 3", "kaldi"),
        ("我們 好\n好\n", "我 好\n好\n", [], "25.00% (1 / 4", "bare"),
    ],
)
def test_text_is_read_as_the_last_line_says(
    project: Path, tmp_path: Path, ref: str, hyp: str, options: list[str], rate: str, formats: str
) -> None:
    for name, content in (("ref", ref), ("hyp", hyp)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    result = run_main(project, str(tmp_path / "ref"), str(tmp_path / "hyp"), *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"hyp: MER {rate}") == 2
    assert result.stdout.splitlines()[-1] == f"read as: {tmp_path}/ref {formats}, {tmp_path}/hyp {formats}"


def test_ambiguous_text_and_other_ids_are_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("第一講 我\n第二講 好\n", encoding="utf-8")
    result = run_main(project, str(tmp_path / "ref"), str(tmp_path / "ref"))
    assert result.returncode == 1 and "--format kaldi" in result.stderr and "Traceback" not in result.stderr
    (tmp_path / "ref").write_text("第一講-1 我\n第一講-2 好\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("第一講-1 我\n第一講-3 好\n", encoding="utf-8")
    result = run_main(project, str(tmp_path / "ref"), str(tmp_path / "hyp"))
    assert result.returncode == 1 and "(第一講-2, 第一講-3: 2 in all)" in result.stderr


def counts(refs: list[list[str]], hyps: list[list[str]]) -> list[Counts]:
    rows = zip(refs, hyps)
    return [u.total for u in by_utterance(score((str(i), " ".join(r), " ".join(h)) for i, (r, h) in enumerate(rows)))]


@pytest.mark.parametrize(
    ("refs", "hyps", "line"),
    [
        ({"a": ""}, {"a": ""}, "MER no reference tokens (0 / 0: 0 ins, 0 del, 0 sub)"),
        ({"a": "", "b": ""}, {"a": "嗯", "b": ""}, "MER no reference tokens (1 / 0: 1 ins, 0 del, 0 sub)"),
        ({"a": "我 們", "b": "好"}, {"a": "", "b": ""}, "en-WER no reference tokens (0 / 0: 0 ins, 0 del, 0 sub)"),
        ({"a": "deep net"}, {"a": "deep"}, "zh-CER no reference tokens (0 / 0: 0 ins, 0 del, 0 sub)"),
        ({"a": "deep net"}, {"a": "deep"}, "95% interval not known"),
    ],
)
def test_empty_sides_and_single_languages_are_defined(refs: dict[str, str], hyps: dict[str, str], line: str) -> None:
    assert report(refs, {"x": hyps}).count(line) == 2  # by both normalisers


def test_missing_utterances_are_named() -> None:
    with pytest.raises(DataError, match=r"x differ in .* \(b: 1 in all\)"):
        report({"a": "我", "b": "好"}, {"x": {"a": "我"}})


def test_interval_contains_the_true_rate_about_as_often_as_promised() -> None:
    rng = random.Random(0)
    refs = [["a"] * 20 for _ in range(100)]
    inside = 0
    for _ in range(100):
        hyps = [[w if rng.random() > 0.1 else "x" for w in ref] for ref in refs]
        confidence = interval(counts(refs, hyps))
        assert confidence is not None and confidence.low < confidence.high
        inside += confidence.low <= 10 <= confidence.high
    assert 88 <= inside <= 99


def test_only_a_better_system_is_reported_as_better() -> None:
    rng = random.Random(1)
    refs = [[rng.choice("abcd") for _ in range(15)] for _ in range(60)]
    worse_texts, better_texts = ([[w if rng.random() > p else "x" for w in ref] for ref in refs] for p in (0.2, 0.1))
    worse, better = counts(refs, worse_texts), counts(refs, better_texts)
    assert chance_of_improvement(worse, better) > 0.99  # type: ignore[operator]
    assert chance_of_improvement(better, worse) < 0.01  # type: ignore[operator]
    assert chance_of_improvement(better, better) == 0.0
    assert chance_of_improvement(worse[:1], better[:1]) is None


def cut(refs: dict[str, str], hyps: dict[str, str]) -> dict[str, str]:
    utterances = utterances_by_lecture(refs, hyps)
    assert utterances is not None
    return cut_lectures(refs, hyps, utterances)


@pytest.mark.parametrize("seed", range(20))
def test_cut_lectures_have_the_errors_of_whole_lectures(seed: int) -> None:
    rng = random.Random(seed)
    refs, hyps = {}, {}
    for lecture in ("w1", "w2"):
        words = []
        for i in range(rng.randint(1, 5)):
            text = rng.choices(["我", "們", "net", "deep"], k=rng.randint(0, 6))
            refs[f"{lecture}-{i:04d}"] = " ".join(text)
            words += [w for w in text if rng.random() < 0.8]
        hyps[lecture] = " ".join(words)
    texts = cut(refs, hyps)
    of_utterances = score((i, ref, texts[i]) for i, ref in refs.items())
    whole = score((w, " ".join(r for i, r in refs.items() if i.startswith(w)), hyps[w]) for w in hyps)
    assert of_utterances.total.errors == whole.total.errors and of_utterances.total.num_ref == whole.total.num_ref


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "form",
    [
        "{lecture}-{number}",
        "{lecture}-{number:04d}",
        "{lecture}-{number}a",
        "{lecture}_{number}",
        "{lecture}-{number}-a",
        "{lecture}.seg{number}",
        "{lecture}-a-{number}",
    ],
)
def test_perfect_lectures_have_no_errors_whatever_the_order_of_the_references(seed: int, form: str) -> None:
    rng = random.Random(seed)
    refs: dict[str, str] = {}
    hyps = {}
    for lecture in ("lec", "第二講", "week10_1"):
        texts = [" ".join(rng.choices(["我", "們", "net", "deep"], k=rng.randint(1, 6))) for _ in range(23)]
        refs |= {form.format(lecture=lecture, number=i): text for i, text in enumerate(texts, 1)}
        hyps[lecture] = " ".join(texts)
    shuffled = dict(sorted(refs.items()) if seed == 0 else rng.sample(sorted(refs.items()), len(refs)))
    assert cut(shuffled, hyps) == refs


def test_references_in_the_order_of_a_sorted_file_cost_a_perfect_hypothesis_nothing() -> None:
    refs = {f"lec-{i}": f"我 用 net{i} 來 做" for i in range(1, 24)}
    hyps = {"lec": " ".join(refs.values())}
    assert report(dict(sorted(refs.items())), {"x": hyps}).count("x: MER 0.00%") == 2


def test_parts_of_a_window_follow_each_other() -> None:
    refs = {"w-0002b": "好", "w-0010": "net", "w-0002aa": "我", "w-0002ab": "們"}
    assert cut(refs, {"w": "我 們 好 net"}) == refs


def test_numbers_give_the_order_whatever_separates_them() -> None:
    refs = {"lec_1": "我", "lec-2": "們", "lec_3": "好", "lec-10": "net"}
    assert cut(dict(sorted(refs.items())), {"lec": "我 們 好 net"}) == refs
    refs = {f"lec-{'9' * 5000}{i}": text for i, text in enumerate(("我", "們"))}
    assert cut(refs, {"lec": "我 們"}) == refs


def test_an_utterance_may_have_the_name_of_another_lecture() -> None:
    refs = {"lec-1-1": "我", "lec-1-2": "們", "lec-1-3": "好", "lec-1-2-1": "net", "lec-1-2-2": "deep"}
    hyps = {"lec-1": "我 們 好", "lec-1-2": "net deep"}
    assert cut(refs, hyps) == refs
    whole = {"lec-1-1": "我", "lec-1-3": "好", "lec-1-2": "net deep"}
    assert cut(whole, {"lec-1": "我 好", "lec-1-2": "net deep"}) == whole


def test_utterances_with_the_same_number_are_refused() -> None:
    with pytest.raises(DataError, match="utterances lec-1 and lec-01 have the same number.*rename one"):
        cut({"lec-1": "我", "lec-2": "好", "lec-01": "們"}, {"lec": "我 們 好"})
