"""Make a file of hotwords of the rare English terms of a corpus.

python -m ml2021.asr.tuning.terms --cuts data/mini/cuts --texts data/mini/manifests/texts.jsonl slides.txt \\
    --out terms.txt
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.entry import number, run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import iterate_jsonl, read_text, write_text
from ml2021.asr.decode.options import (
    CUTS_FLAGS,
    CUTS_HELP,
    add_model_options,
    add_value_options,
    decode_config,
    given_values,
    weights_of,
)
from ml2021.asr.tuning.rare_terms import (
    Term,
    counts_of_transcripts,
    counts_of_translations,
    rare_terms,
    terms_of_translation,
    without_plurals,
)

# what stages write of the test part: manifests, hypotheses beside their references, sentence pairs
_OF_TEST = re.compile(r"ml2021_\w+_test\W.*|(?:recogs|errs)-test-.*|test\.jsonl")
SCORES = (0.5, 1.0, 1.5, 2.0, 3.0)  # for each token of a term
logger = logging.getLogger(__name__)


class Terms(NamedTuple):
    """The rare terms of a corpus."""

    all: set[Term]
    without_dev: set[Term]  # those of other texts than dev's transcripts


def terms_of_corpus(
    cuts: Path, texts: Sequence[Path], translations: Sequence[Path], manifests: Path | None, fewer_than: int
) -> Terms:
    """The rare terms of the transcripts of train and dev and of other texts; nothing of the test part is read.

    Args:
      cuts: stage 4's folder.
      texts: see texts_of_corpus.
      translations: English texts of lectures to recognise, plain or .jsonl with "translation".
      manifests: stage 1's folder with the translations of training, for `translations`.
      fewer_than: how often the transcripts of training have no rare term.
    Raises:
      DataError: a file is missing or damaged, or the training translations are.
      ConfigError: a file is of the test part.
    """
    from lhotse_prep.windows.read import read_windows
    from ml2021.asr.fusion.lexicon import texts_of_corpus

    for path in (*texts, *translations):
        if _OF_TEST.fullmatch(path.name):
            raise ConfigError(f"{path} is of the test part, whose transcripts must not be known: leave it out")
    train = counts_of_transcripts(texts_of_corpus(cuts, ()))
    others = counts_of_transcripts(texts_of_corpus(None, texts))
    dev = counts_of_transcripts(cut.supervisions[0].text for cut in read_windows(cuts, "dev"))
    translated = set[Term]()
    if translations:
        known = counts_of_translations(_training_translations(manifests))
        if not known:
            raise DataError(f"{manifests} has no translations of training, which tell rare terms from other words")
        new = counts_of_translations(text for path in translations for text in _translations(path))
        translated = {t for t in terms_of_translation(new, known, fewer_than) if train[t] < fewer_than}
    sets = [rare_terms(counts, train, fewer_than) | translated for counts in (train + others + dev, train + others)]
    return Terms(*(without_plurals(terms, train, fewer_than) for terms in sets))


def _training_translations(manifests: Path | None) -> Iterator[str]:
    """The translations of the train part and of the lectures without recordings."""
    from lhotse import SupervisionSet

    from lhotse_prep.manifests.files import TEXTS, iterate_texts, open_part

    if manifests is None:
        raise ConfigError(
            "--translations need --manifests, stage 1's folder: words that are rare in training are terms"
        )
    for s in open_part(manifests, "supervisions", "train", SupervisionSet):
        yield str(((s.custom or {}).get("translated_text") or {}).get("eng", ""))
    if (manifests / TEXTS).is_file():
        yield from (row.get("translation", "") for row in iterate_texts(manifests / TEXTS))


def _translations(path: Path) -> Iterable[str]:
    """The lines of a text, or what .jsonl has as "translation"."""
    if path.suffix == ".jsonl":
        rows = [row.get("translation") for row in iterate_jsonl(path)]
        if not any(rows) or not all(isinstance(row, str | None) for row in rows):
            raise DataError(f'{path}: expected rows with a text as "translation"')
        return [row for row in rows if row]
    if (content := read_text(path)) is None:
        raise DataError(f"no file {path} with a translation")
    return content.splitlines()


def write_terms(path: Path, terms: Iterable[Term], score: float | None = None) -> None:
    """Write a file of hotwords, sorted, with a score after each term if there is one."""
    ending = "" if score is None else f" :{score:g}"
    write_text(path, "".join(f"{' '.join(term)}{ending}\n" for term in sorted(terms)))


def main(argv: list[str]) -> None:
    """Write the English terms that the transcripts of training have fewer than N times, as a file of hotwords.

    They come from the transcripts of train and dev, from --texts and from --translations, never from the transcripts of
    the test part. With --exp-dir, their score is chosen by the errors on dev, without the terms that only dev's
    transcripts have; the options that say how it decodes are those of ml2021.asr.decode.
    """
    args = _parser().parse_args(argv)
    if args.fewer_than < 1:
        raise ConfigError(f"--fewer-than must be >= 1, got {args.fewer_than}")
    if args.manifests is not None and not args.translations:
        raise ConfigError("--manifests is for --translations: give these, or leave it out")
    fixed = given_values(args)
    others = (args.conf, args.epoch, args.iter or None, args.scores)
    if args.exp_dir is None and (fixed or any(value is not None for value in others)):
        raise ConfigError("options of decoding are for choosing a score on dev, which needs --exp-dir")
    if "hotwords_file" in fixed or "hotwords_score" in fixed:
        raise ConfigError("the terms are the hotwords, and --scores are their scores: leave out --hotwords-...")
    terms = terms_of_corpus(args.cuts, args.texts, args.translations, args.manifests, args.fewer_than)
    if args.exp_dir is not None:
        terms = _writable(terms, args.exp_dir)
    if not terms.all:
        raise DataError(f"no English term that training has fewer than {args.fewer_than} times: give --texts with some")
    score = None if args.exp_dir is None else _chosen_score(args, terms.without_dev)
    write_terms(args.out, terms.all, score)
    logger.info(
        "%s: %d terms that training has fewer than %d times, %d of them in dev's transcripts alone",
        args.out,
        len(terms.all),
        args.fewer_than,
        len(terms.all - terms.without_dev),
    )


def _writable(terms: Terms, exp_dir: Path) -> Terms:
    """The terms that the tokens of a recogniser can write; logs how many others there are."""
    from lhotse_prep.tokens.lang import load_lang
    from lhotse_prep.tokens.more_words import can_write

    tokens = load_lang(exp_dir / "lang")
    others = {term for term in terms.all | terms.without_dev if not can_write(tokens, " ".join(term))}
    if others:
        logger.info("%d terms cannot be written in the recogniser's tokens and are left out", len(others))
    return Terms(terms.all - others, terms.without_dev - others)


def _chosen_score(args: argparse.Namespace, terms: set[Term]) -> float:
    """The score with the fewest errors on dev; prints a table that also has those without hotwords."""
    if not terms:
        raise DataError(
            "all terms are of dev's transcripts, with which no score can be chosen on dev: give --texts with others, "
            "or leave out --exp-dir"
        )
    from ml2021.asr.decode.config import with_lm_dir
    from ml2021.asr.decode.options import with_values
    from ml2021.asr.tuning.decode_grid import outcomes_of
    from ml2021.asr.tuning.grid import Combination, combinations
    from ml2021.asr.tuning.outcome import RULE, rows_of, table

    exp, base, fixed = args.exp_dir.parent, decode_config(args.exp_dir, args.conf), given_values(args)
    plain = with_values(base, {**fixed, "hotwords_file": None})
    weights, _ = weights_of(args)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "terms.txt"
        write_terms(file, terms)
        grid = combinations(base, {**fixed, "hotwords_file": str(file)}, {"hotwords_score": args.scores or SCORES}, exp)
        without = Combination({}, plain, with_lm_dir(plain, exp), order=(len(grid),))
        outcomes = outcomes_of(args.exp_dir, args.cuts, "dev", [*grid, without], weights)
    best = next(o for o in outcomes if o.combination.values)
    sys.stdout.write(f"{table(rows_of(outcomes), ['hotwords_score'])}{RULE}; -: without hotwords\n")
    if len({o.total.errors for o in outcomes}) == 1:
        logger.warning(
            "dev has as many errors with any score as without hotwords: it says nothing about these terms, which "
            "get the smallest score"
        )
    elif outcomes[0] is not best:
        logger.warning(
            "dev has more errors with these hotwords than without them (MER %s and %s): the terms get the score with "
            "the fewest; see whether they help your lectures",
            best.total,
            outcomes[0].total,
        )
    return float(best.combination.values["hotwords_score"])


def _scores(text: str) -> list[float]:
    scores = [number(part) for part in text.split(",")]
    if min(scores) <= 0 or len(set(scores)) < len(scores):
        raise argparse.ArgumentTypeError(f"different numbers above 0, got {text!r}")
    return scores


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m ml2021.asr.tuning.terms", allow_abbrev=False, description=main.__doc__)
    p.add_argument(*CUTS_FLAGS, dest="cuts", type=Path, metavar="DIR", required=True, help=CUTS_HELP)
    p.add_argument(
        "--texts", type=Path, nargs="+", default=[], help=".jsonl as manifests/texts.jsonl, or plain text (slides)"
    )
    p.add_argument(
        "--translations",
        type=Path,
        nargs="+",
        default=[],
        help="English translations of the lectures to recognise, as plain text or .jsonl; needs --manifests",
    )
    p.add_argument("--manifests", type=Path, metavar="DIR", help="stage 1's folder, with the translations of training")
    p.add_argument("--fewer-than", type=int, default=3, metavar="N", help="[%(default)s]")
    p.add_argument("--out", type=Path, required=True, help="the file of hotwords")
    p.add_argument(
        "--scores",
        type=_scores,
        metavar="SCORE,SCORE,...",
        help=f"with --exp-dir: what to choose from [{','.join(f'{s:g}' for s in SCORES)}]",
    )
    add_model_options(p, is_required=False)
    add_value_options(p)
    return p


if __name__ == "__main__":
    run_main(main)
