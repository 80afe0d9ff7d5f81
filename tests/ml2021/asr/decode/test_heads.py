"""Dev by transducer and CTC in one pass: the errors of each head, and the warning."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml2021.asr.decode import heads
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.windows import decode_cuts
from ml2021.asr.model.load import load_model
from ml2021.scoring.counts import score

REFERENCES = [f"我 們 用 機 器 學 習 {i}" for i in range(20)]


def test_each_head_has_the_errors_of_its_own_decoding(trained, tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rates = heads.compare_heads(trained, tone_corpus.cuts, tmp_path)
    assert rates is not None
    model, tokens = load_model(trained)
    content = json.loads((tmp_path / "heads.json").read_text())
    for method, rate in rates.items():
        expected = score(decode_cuts(model, tokens, tone_corpus.cuts, "dev", DecodeConfig(method)))
        assert rate.total == expected.total and rate.alignments == expected.alignments
        assert content[method] == rate.percents()
    assert content.keys() == {"windows", "greedy_search", "ctc_greedy_search"} and content["windows"] == 4


def test_a_model_without_ctc_head_is_not_compared(
    trained, tone_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    model, tokens = load_model(trained)
    model.config = replace(model.config, ctc_loss_scale=0.0)
    monkeypatch.setattr(heads, "load_model", lambda _: (model, tokens))
    assert heads.compare_heads(trained, tone_corpus.cuts, tmp_path) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("num_wrong", "warns"), [(0, False), (1, False), (12, True)])
def test_a_warning_is_given_only_where_the_transducer_is_surely_behind(
    caplog: pytest.LogCaptureFixture, num_wrong: int, warns: bool
) -> None:
    """Of 20 utterances, the transducer leaves out the first `num_wrong`."""
    rows = [(str(i), ref, "" if i < num_wrong else ref) for i, ref in enumerate(REFERENCES)]
    right = [(str(i), ref, ref) for i, ref in enumerate(REFERENCES)]
    with caplog.at_level(logging.INFO):
        heads._report({heads.TRANSDUCER: score(rows), heads.CTC: score(right)}, 20)
    assert "dev, 20 windows, greedy search: MER by the transducer" in caplog.text
    assert ("--decoding-method ctc_prefix_beam_search" in caplog.text) == warns
    caplog.clear()
    heads._report({heads.TRANSDUCER: score(right), heads.CTC: score(rows)}, 20)
    assert "ctc_prefix_beam_search" not in caplog.text


def test_long_parts_are_decoded_here_and_there() -> None:
    cuts: list[Any] = [SimpleNamespace(id=f"{i:03d}", duration=4.0) for i in range(100)]
    assert [c.id for c in heads.spread(cuts[::-1], 100.0)] == [f"{i:03d}" for i in range(0, 100, 4)]
    assert len(heads.spread(cuts, 400.0)) == 100 and heads.spread(cuts, 399.0) == cuts[::2]
