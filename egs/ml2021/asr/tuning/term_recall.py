"""How many terms a recogniser recognises: recall and precision of hotwords, or of rare English words, in recogs files.

python -m ml2021.asr.tuning.term_recall --recogs exp/mini/asr/METHOD/recogs-test-METHOD.txt --terms terms.txt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode.options import CUTS_FLAGS
from ml2021.asr.tuning.rare_terms import counts_of_transcripts, is_term_word
from ml2021.asr.words.hotwords import read_terms
from ml2021.scoring.counts import ErrorRate, mer_tokens, score
from ml2021.scoring.significance import interval
from ml2021.scoring.term_scores import Term, TermScores, term_scores
from ml2021.scoring.texts import read_texts

_MOST_MISSED = 10  # terms that are listed


def read_recogs(path: Path) -> ErrorRate:
    """Score a recogs file; raises DataError if it is missing or damaged."""
    refs, hyps = (read_texts(path, side, "recogs") for side in ("ref", "hyp"))
    if not refs or refs.keys() != hyps.keys():
        raise DataError(f"{path}: expected a ref= and a hyp= line for each utterance, as stage 6 writes")
    return score((i, ref, hyps[i]) for i, ref in refs.items())


def terms_of_file(path: Path) -> set[Term]:
    """The terms of a file of hotwords, as tokens of scoring."""
    return {tuple(mer_tokens(term.text)) for term in read_terms(path)}


def rare_words(rate: ErrorRate, cuts: Path, fewer_than: int) -> set[Term]:
    """English words of references and hypotheses that the train windows have fewer than `fewer_than` times."""
    from ml2021.asr.fusion.lexicon import texts_of_corpus

    train = counts_of_transcripts(texts_of_corpus(cuts, ()))
    words = {word for alignment in rate.alignments.values() for pair in alignment for word in pair if word}
    return {(word,) for word in words if is_term_word(word) and train[(word,)] < fewer_than}


def report(name: str, scores: TermScores) -> str:
    """Lines on the terms in a file."""
    num_ref, num_hyp = scores.in_ref.total(), scores.in_hyp.total()
    missed = interval(scores.utterances)
    confidence = "not known" if missed is None else f"[{100 - missed.high:.2f}, {100 - missed.low:.2f}]"
    lines = [
        f"{name}: {len(scores.in_ref)} terms in the references, {len(scores.in_hyp)} in the hypotheses",
        f"  recall {_shown(scores.recall)} ({scores.recognised.total()} / {num_ref}), 95% interval {confidence}",
        f"  precision {_shown(scores.precision)} ({scores.right.total()} / {num_hyp})",
    ]
    misses = (scores.in_ref - scores.recognised).items()
    worst = sorted(misses, key=lambda item: (-item[1], item[0]))[:_MOST_MISSED]
    listed = ", ".join(f"{' '.join(term)} {n} of {scores.in_ref[term]}" for term, n in worst)
    return "\n".join([*lines, f"  missed: {listed or 'none'}"]) + "\n"


def _shown(percent: float | None) -> str:
    return "not known, there are none" if percent is None else f"{percent:.2f}%"


def main(argv: Sequence[str]) -> None:
    """Recall and precision of terms, by aligning reference and hypothesis of each utterance.

    The terms are those of a file of hotwords (--terms), or the English words that the train windows have fewer than N
    times (--cuts). A term of several words is recognised if all of them are.
    """
    p = argparse.ArgumentParser(prog="python -m ml2021.asr.tuning.term_recall", description=main.__doc__)
    p.add_argument("--recogs", type=Path, nargs="+", required=True, help="recogs files of stage 6 or ml2021.asr.decode")
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--terms", type=Path, help="a file of hotwords, such as ml2021.asr.tuning.terms writes")
    source.add_argument(*CUTS_FLAGS, dest="cuts", type=Path, metavar="DIR", help="stage 4's folder")
    p.add_argument("--fewer-than", type=int, metavar="N", help="with --cuts [3]")
    args = p.parse_args(argv)
    if args.fewer_than is not None and (args.terms is not None or args.fewer_than < 1):
        raise ConfigError("--fewer-than is for --cuts, and must be >= 1")
    for path in args.recogs:
        rate = read_recogs(path)
        terms = terms_of_file(args.terms) if args.terms else rare_words(rate, args.cuts, args.fewer_than or 3)
        sys.stdout.write(report(str(path), term_scores(rate.alignments, terms)))


if __name__ == "__main__":
    run_main(main)
