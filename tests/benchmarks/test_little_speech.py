"""How the benchmark of little speech reads its options and changes a configuration."""

from __future__ import annotations

import pytest

from benchmarks.little_speech import as_texts, merged, nested, options_of, table_row
from lhotse_prep.workflow.errors import ConfigError
from ml2021.scoring.counts import by_utterance, score
from ml2021.scoring.significance import chance_of_improvement


def test_options_are_yaml() -> None:
    assert options_of(["plain", "slow=train.base_lr: 1e-3, train.lr_scales: [0.5, 0.1]"]) == [
        ("plain", {}),
        ("slow", {"train.base_lr": "1e-3", "train.lr_scales": [0.5, 0.1]}),
    ]
    with pytest.raises(ConfigError, match="expected NAME=KEY: VALUE"):
        options_of(["bad=[1"])
    for bad in ("x=5", "x=train.seed"):
        with pytest.raises(ConfigError, match="expected NAME=KEY: VALUE"):
            options_of([bad])


def test_lines_of_a_text_become_normalised_texts() -> None:
    assert as_texts("今天，GAN好！\n\n…\n第二行") == '{"text": "今 天 gan 好"}\n{"text": "第 二 行"}\n'


def test_values_replace_single_keys_of_a_section() -> None:
    old = {"model": {"encoder": {"dim": 3}, "warm_step": 1}, "train": {"num_epochs": 2}}
    new = merged(old, nested({"model.warm_step": 5, "train.seed": 7, "compile": True}))
    assert new == {
        "model": {"encoder": {"dim": 3}, "warm_step": 5},
        "train": {"num_epochs": 2, "seed": 7},
        "compile": True,
    }
    assert old["model"] == {"encoder": {"dim": 3}, "warm_step": 1}


def test_row_has_the_errors_and_the_comparison() -> None:
    refs = {f"cut{i}": "我 們 學 習" for i in range(8)}
    bad = score((i, ref, "我 學") for i, ref in refs.items())
    good = score((i, ref, ref) for i, ref in refs.items())
    bad_counts, good_counts = ([u.total for u in by_utterance(x)] for x in (bad, good))
    chance = chance_of_improvement(bad_counts, good_counts)
    assert table_row(bad, bad_counts, None) == ["50.00", "[50.00, 50.00]", "16", "0", "0", "-", "-"]
    assert table_row(good, good_counts, chance) == ["0.00", "[0.00, 0.00]", "0", "0", "0", "-", "100.0%"]
