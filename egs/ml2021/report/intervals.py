"""The 95% interval of a BLEU score, from the translations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from lhotse_prep.workflow.files import read_jsonl
from ml2021.scoring.significance import Interval

REPLICATIONS = 500
MIN_SENTENCES = 10


def bleu_interval(hypotheses: Path) -> Interval | None:
    """Interval of the corpus BLEU of stage 9's hyps.jsonl, by the bootstrap of sacreBLEU.

    None if the file is missing or has fewer than MIN_SENTENCES sentences.
    """
    rows = read_jsonl(hypotheses) if hypotheses.is_file() else []
    rows = [r for r in rows if "hypothesis" in r and "target" in r]
    if len(rows) < MIN_SENTENCES:
        return None
    score: Any = BLEU().corpus_score(
        [r["hypothesis"] for r in rows], [[r["target"] for r in rows]], n_bootstrap=REPLICATIONS
    )
    return Interval(score._mean - score._ci, score._mean + score._ci)
