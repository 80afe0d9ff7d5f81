"""95% intervals of scores: where a stage's scores.json carries them they are read, else some can be made from outputs.

Read are pairs [low, high] under one of these keys, KEY being that of the score and PART one of mer, zh, en:

    "KEY": {"PART": 2.0, "PART_ci95": [1.5, 2.6]}      "KEY": {"PART": 2.0, "ci95": {"PART": [1.5, 2.6]}}
    "KEY_ci95": {"PART": [1.5, 2.6]}                   "KEY_ci95": [1.5, 2.6]    (then PART is mer)

and the same with `interval` in the place of `ci95`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU

from lhotse_prep.stages import read_jsonl

NAMES = ("ci95", "interval")
MAIN = "mer"  # the part that a pair without a name belongs to
REPLICATIONS = 500
MIN_SENTENCES = 10
Interval = tuple[float, float]


def find_interval(scores: Mapping[str, Mapping[str, Any]], key: str, part: str = MAIN) -> Interval | None:
    """The interval of a score.

    Args:
      scores: {folder: its scores.json}, as in results.json; the first that has the score counts.
      key: such as mer_windows.
      part: of a score with parts.
    """
    own = next((s for s in scores.values() if key in s), {})
    inner = own.get(key)
    parts: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    for name in NAMES:
        pairs = [parts.get(f"{part}_{name}")]
        for found in (parts.get(name), own.get(f"{key}_{name}")):
            pairs.append(found.get(part) if isinstance(found, Mapping) else found if part == MAIN else None)
        for pair in pairs:
            if isinstance(pair, list | tuple) and len(pair) == 2:
                return float(pair[0]), float(pair[1])
    return None


def bleu_interval(hypotheses: Path) -> Interval | None:
    """Of the corpus BLEU of stage 9's hyps.jsonl, by sacreBLEU's bootstrap; None where there is too little."""
    rows = read_jsonl(hypotheses) if hypotheses.is_file() else []
    rows = [r for r in rows if "hypothesis" in r and "target" in r]
    if len(rows) < MIN_SENTENCES:
        return None
    score: Any = BLEU().corpus_score(
        [r["hypothesis"] for r in rows], [[r["target"] for r in rows]], n_bootstrap=REPLICATIONS
    )
    return score._mean - score._ci, score._mean + score._ci
