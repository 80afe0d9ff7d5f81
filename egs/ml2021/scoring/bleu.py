"""Corpus BLEU and chrF by sacreBLEU with signatures, COMET if installed, and paired bootstrap tests (Koehn, 2004).

    python -m ml2021.scoring.bleu REF HYP [--baseline HYP] [--source SRC --comet MODEL.ckpt]

All files have one sentence per line.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text
from ml2021.scoring.comet import comet_score

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TranslationScores:
    """Corpus scores in percent."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


@dataclass(frozen=True)
class Comparison:
    """A metric for two systems on the same sentences; the null hypothesis of `p_value`: they are equally good."""

    metric: str
    baseline: float
    system: float
    p_value: float
    signature: str


def score_translations(hypotheses: Sequence[str], references: Sequence[str]) -> TranslationScores:
    """Case-sensitive scores with 13a tokenisation and one reference per sentence.

    Raises:
      DataError: there are no sentences, or the numbers of hypotheses and references differ.
    """
    _check(hypotheses, references)
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(hypotheses), [list(references)]).score
    chrf_score = chrf.corpus_score(list(hypotheses), [list(references)]).score
    return TranslationScores(bleu_score, chrf_score, str(bleu.get_signature()), str(chrf.get_signature()))


def document_bleu(hypotheses: Mapping[str, str], references: Mapping[str, str]) -> float:
    """BLEU with each lecture as one segment, so that sentence boundaries do not matter.

    Args:
      hypotheses, references: the whole translation of each lecture by its id; lectures in only one of them are ignored.
    Raises:
      DataError: they have no lecture in common.
    """
    lectures = sorted(set(hypotheses) & set(references))
    if not lectures:
        raise DataError("no lecture has both a translation and a reference: use the same lecture ids in both")
    score = BLEU().corpus_score([hypotheses[x] for x in lectures], [[references[x] for x in lectures]])
    return float(score.score)


def compare_systems(
    baseline: Sequence[str], system: Sequence[str], references: Sequence[str], num_samples: int = 1000
) -> list[Comparison]:
    """BLEU and chrF of two systems, compared by sacreBLEU's paired bootstrap with `num_samples` resamplings.

    Raises:
      DataError: there are no sentences, or the numbers of translations and references differ.
    """
    _check(baseline, references)
    _check(system, references)
    metrics = {"bleu": BLEU(references=[list(references)]), "chrf": CHRF(references=[list(references)])}
    named: list[tuple[str, Sequence[str]]] = [("baseline", list(baseline)), ("system", list(system))]
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it logs every step
    test = PairedTest(named, metrics, references=None, test_type="bs", n_samples=num_samples)
    signatures, results = cast("tuple[dict[str, Any], dict[str, list[Any]]]", test())
    return [
        Comparison(name, rows[0].score, rows[1].score, float(rows[1].p_value), str(signatures[name]))
        for name, rows in results.items()
        if name in signatures
    ]


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise DataError(
            f"{len(hypotheses)} hypotheses for {len(references)} references: need equally many, and at least one"
        )


def main(argv: list[str]) -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.scoring.bleu",
        allow_abbrev=False,
        description="BLEU and chrF of translations by sacreBLEU, with signatures. Files have one sentence per line.",
    )
    parser.add_argument("reference", type=Path, help="reference translations")
    parser.add_argument("hypothesis", type=Path, help="translations to score, line by line")
    parser.add_argument("--baseline", type=Path, help="translations by another system, compared by paired bootstrap")
    parser.add_argument("--source", type=Path, help="source sentences, for --comet")
    parser.add_argument("--comet", type=Path, help="a COMET checkpoint; needs the command comet-score, and --source")
    args = parser.parse_args(argv)
    if (args.comet is None) != (args.source is None):
        parser.error("--comet and --source go together")
    references, hypotheses = _lines(args.reference), _lines(args.hypothesis)
    scores = score_translations(hypotheses, references)
    print(f"BLEU {scores.bleu:.2f} {scores.bleu_signature}\nchrF {scores.chrf:.2f} {scores.chrf_signature}")
    if args.comet is not None:
        comet = comet_score(_lines(args.source), hypotheses, references, args.comet)
        print("COMET -" if comet is None else f"COMET {comet:.4f}")
    if args.baseline is not None:
        for c in compare_systems(_lines(args.baseline), hypotheses, references):
            print(f"{c.metric}: baseline {c.baseline:.2f}, system {c.system:.2f}, p = {c.p_value:.4f} ({c.signature})")


def _lines(path: Path) -> list[str]:
    content = read_text(path)
    if content is None:
        raise DataError(f"no such file: {path}")
    return content.removesuffix("\n").split("\n") if content else []


if __name__ == "__main__":
    run_main(main)
