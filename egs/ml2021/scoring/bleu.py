"""Corpus BLEU and chrF by sacreBLEU, each with the signature that reproduces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

from lhotse_prep.errors import DataError


@dataclass(frozen=True)
class TranslationScores:
    """Corpus scores in percent."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score_translations(hypotheses: Sequence[str], references: Sequence[str]) -> TranslationScores:
    """Case-sensitive scores, 13a tokenisation, one reference a sentence.

    Raises:
      DataError: no sentences, or not as many hypotheses as references.
    """
    if len(hypotheses) != len(references) or not references:
        raise DataError(
            f"{len(hypotheses)} hypotheses for {len(references)} references: need as many, and at least one"
        )
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(hypotheses), [list(references)]).score
    chrf_score = chrf.corpus_score(list(hypotheses), [list(references)]).score
    return TranslationScores(bleu_score, chrf_score, str(bleu.get_signature()), str(chrf.get_signature()))
