"""Errors at and away from language switches, confusions, and intervals of error rates."""

from __future__ import annotations

import random
from pathlib import Path

import kaldialign
import pytest

from lhotse_prep.workflow.files import write_jsonl
from lhotse_prep.workflow.stage import Stage
from ml2021.report.errors import bootstrap_intervals, confusions, count_at_switches, read_recogs
from ml2021.report.intervals import bleu_interval
from ml2021.scoring.counts import count_errors, score
from ml2021.scoring.icefall_files import write_icefall_files


def test_a_token_next_to_the_other_language_is_at_a_switch() -> None:
    # 我 用 | net work | 做: 用, both words and 做 are at a switch, 我 is not
    alignment = [("我", "我"), ("用", "有"), ("net", "net"), ("work", ""), ("做", "做")]
    table = count_at_switches([alignment])
    assert table["zh", True].num_ref == 2 and table["zh", True].substitutions == 1
    assert table["zh", False].num_ref == 1 and table["zh", False].errors == 0
    assert table["en", True].num_ref == 2 and table["en", True].deletions == 1
    assert table["en", False].num_ref == 0


def test_an_insertion_is_at_a_switch_if_its_neighbours_differ_in_language() -> None:
    between = count_at_switches([[("我", "我"), ("", "x"), ("net", "net")]])
    assert between["en", True].insertions == 1
    within = count_at_switches([[("我", "我"), ("", "x"), ("用", "用"), ("", "好")]])
    assert within["en", False].insertions == 1 and within["zh", False].insertions == 1
    assert within["zh", False].num_ref == 2  # an insertion does not create a switch


@pytest.mark.parametrize("seed", range(20))
def test_places_add_up_to_the_languages(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [
        (str(i), *(" ".join(rng.choices(["我", "你a", "b好net", "用", "x"], k=rng.randint(0, 9))) for _ in "rh"))
        for i in range(9)
    ]
    rate = score(pairs)
    table = count_at_switches(rate.alignments.values())
    for part in ("zh", "en"):
        whole = getattr(rate, part)
        for name in ("num_ref", "insertions", "deletions", "substitutions"):
            assert getattr(table[part, True], name) + getattr(table[part, False], name) == getattr(whole, name)


def test_intervals_agree_with_kaldialign() -> None:
    rng = random.Random(1)
    refs = [[rng.choice("我你好用做") for _ in range(20)] for _ in range(150)]
    hyps = [[t if rng.random() > 0.1 else "x" for t in ref] for ref in refs]
    rate = score((str(i), " ".join(r), " ".join(h)) for i, (r, h) in enumerate(zip(refs, hyps)))
    peer = kaldialign.bootstrap_wer_ci(refs, hyps)
    low, high = bootstrap_intervals(rate)["mer"] or (0.0, 0.0)
    assert low == pytest.approx(100 * peer["ci95min"], abs=0.25) and high == pytest.approx(
        100 * peer["ci95max"], abs=0.25
    )
    assert bootstrap_intervals(rate)["en"] is None  # no English in the references


def test_few_utterances_have_no_interval() -> None:
    assert bootstrap_intervals(count_errors({"a": [("我", "你")]})) == {"mer": None, "zh": None, "en": None}
    assert bootstrap_intervals(count_errors({i: [("我", "你")] for i in "ab"}))["zh"] == (100.0, 100.0)


def test_most_frequent_errors_come_first_with_their_utterances() -> None:
    result = confusions({"a": [("我", "你"), ("我", "你"), ("x", "")], "b": [("我", "你"), ("", "好"), ("用", "用")]})
    assert result.most_frequent(2) == [("我", "你", 3, ["a", "b"]), ("", "好", 1, ["b"])]


def test_only_the_recogs_of_test_are_read(tmp_path: Path) -> None:
    assert read_recogs(tmp_path) is None
    for part in ("dev", "test"):
        write_icefall_files(tmp_path, part, "greedy", "greedy", [(f"{part}-0", "我 用 net", "我 有 net")])
    rate = read_recogs(tmp_path)
    assert rate is not None and set(rate.alignments) == {"test-0"} and rate.total.errors == 1


def test_a_decoding_that_a_user_added_to_a_stage_is_not_scored(tmp_path: Path) -> None:
    stage = Stage("asr-decode", tmp_path / "greedy", [], {})
    with stage.work() as out:
        write_icefall_files(out, "test", "greedy", "greedy", [("a", "我 用 net", "我 用 net")])
    write_icefall_files(stage.out_dir, "test", "zzz", "other", [("a", "我 用 net", "x")])
    rate = read_recogs(stage.out_dir)
    assert rate is not None and rate.total.errors == 0


def test_bleu_interval_is_around_the_score(tmp_path: Path) -> None:
    assert bleu_interval(tmp_path / "hyps.jsonl") is None
    text = "the model {} learns to {} long texts"
    hyps = [text.format(i, word) for i, word in enumerate(["read", "write"] * 20)]
    rows = [{"target": text.format(i, "read"), "hypothesis": hyp} for i, hyp in enumerate(hyps)]
    write_jsonl(tmp_path / "hyps.jsonl", rows)
    low, high = bleu_interval(tmp_path / "hyps.jsonl") or (0.0, 0.0)
    assert 40 < low < high < 100
