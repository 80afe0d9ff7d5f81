"""A lexicon: words and their units of pronunciation, in the format of Kaldi's lexicon.txt, and as a trie for a search.

python -m ml2021.asr.fusion.lexicon --exp-dir exp/mini/asr --cuts data/mini/cuts \\
    --texts data/mini/manifests/texts.jsonl slides.txt --out exp/mini/lexicon/lexicon.txt

A line is `word unit unit ...`; a word with several readings has several lines. The words are Han characters and English
words of normalised text.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.tokens.more_words import can_write, with_words
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text, write_text
from ml2021.asr.model.spelling import Spelling, load_spelling

Readings = Mapping[str, Sequence[tuple[int, ...]]]  # {word: the unit ids of each of its readings}
logger = logging.getLogger(__name__)


class Trie(NamedTuple):
    """The readings of all words as a tree of units, in arrays for numba. Node 0 is the root.

    The children of node i are entries first_child[i]..first_child[i + 1] of `unit` and `child`; the words whose reading
    ends there are entries first_word[i]..first_word[i + 1] of `word`.
    """

    first_child: NDArray[np.int64]
    unit: NDArray[np.int64]
    child: NDArray[np.int64]
    first_word: NDArray[np.int64]
    word: NDArray[np.int64]


class Lexicon:
    """Words, their readings and their tokens.

    Words that the recogniser's tokens cannot write are tokens of `table`, after those of the recogniser. For a language
    model they are all its unknown token, whose probability they share.
    """

    def __init__(self, readings: Readings, tokens: TokenTable) -> None:
        """
        Args:
          readings: of each word, at least one of at least one unit.
          tokens: of the recogniser.
        """
        self.words = list(readings)
        others = [word for word in self.words if not can_write(tokens, word)]
        self.num_others = len(others)
        self.table = with_words(tokens, others)
        ids = {word: [len(tokens) + i] for i, word in enumerate(others)}
        # of each word: its token ids in the table, and its tokens for a language model
        self.tokens = [ids[word] if word in ids else tokens.encode(word) for word in self.words]
        self.lm_tokens = [[tokens.special.unk] if word in ids else tokens.encode(word) for word in self.words]
        self.is_other = np.array([word in ids for word in self.words], dtype=bool)
        self.trie = _trie([readings[word] for word in self.words])


def _trie(readings: Sequence[Sequence[tuple[int, ...]]]) -> Trie:
    children: list[dict[int, int]] = [{}]
    ends: list[list[int]] = [[]]
    for word, of_word in enumerate(readings):
        for units in sorted(set(of_word)):
            node = 0
            for unit in units:
                if unit not in children[node]:
                    children[node][unit] = len(children)
                    children.append({})
                    ends.append([])
                node = children[node][unit]
            ends[node].append(word)
    flat = [(unit, child) for of_node in children for unit, child in sorted(of_node.items())]
    units_of, nodes_of = np.array(flat, dtype=np.int64).reshape(-1, 2).T.copy()
    words_of = np.array([word for of_node in ends for word in of_node], dtype=np.int64)
    counts = np.array([[len(c), len(e)] for c, e in zip(children, ends)])
    first_child, first_word = np.concatenate([np.zeros((1, 2), np.int64), counts.cumsum(axis=0)]).T.copy()
    return Trie(first_child, units_of, nodes_of, first_word, words_of)


def readings_of_texts(texts: Iterable[str], units: PronunciationUnits) -> tuple[dict[str, list[tuple[int, ...]]], int]:
    """The readings of each word in normalised texts: those that it has in them, and the one that it has alone.

    Returns:
      {word: unit ids of each reading}, sorted, and the number of words that the units cannot write.
    """
    counts = Counter[tuple[str, tuple[int, ...]]]()
    unknown, all_words = set[str](), set[str]()
    for text in texts:
        words = text.split()
        all_words.update(words)
        for word, ids in zip(words, units.write_words(words), strict=True):
            if ids:
                counts[word, tuple(ids)] += 1
            else:
                unknown.add(word)
    for word in all_words - unknown:
        (alone,) = units.write_words([word])
        if alone:
            counts[word, tuple(alone)] += 1
    readings: dict[str, list[tuple[int, ...]]] = {}
    for word, reading in sorted(counts):
        readings.setdefault(word, []).append(reading)
    return readings, len(unknown - readings.keys())


def write_lexicon(path: Path, texts: Iterable[str], units: PronunciationUnits) -> int:
    """Write the lexicon of normalised texts; returns the number of its words.

    Raises:
      DataError: the units can write none of the words.
    """
    readings, num_unknown = readings_of_texts(texts, units)
    if not readings:
        raise DataError(f"{path}: the texts have no words that the recogniser's units of pronunciation can write")
    symbols = ["", *units.symbols]
    lines = (f"{word} {' '.join(symbols[i] for i in ids)}\n" for word, of_word in readings.items() for ids in of_word)
    write_text(path, "".join(lines))
    logger.info("%s: %d words; %d others cannot be written in units", path, len(readings), num_unknown)
    return len(readings)


def read_lexicon(path: Path, units: PronunciationUnits) -> dict[str, list[tuple[int, ...]]]:
    """The readings in a file of write_lexicon, maybe with lines added by hand.

    Raises:
      DataError: there is no such file, it is empty, or a line has no units or one that the recogniser does not have.
    """
    text = read_text(path)
    if text is None:
        raise DataError(
            f"no lexicon {path}: stage 6 of run.sh makes it with decoding_method lexicon_search, or name one with "
            "lexicon_file (--lexicon-file)"
        )
    ids = {symbol: i for i, symbol in enumerate(units.symbols, 1)}
    readings: dict[str, list[tuple[int, ...]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        word, *spelled = line.split()
        unknown = [unit for unit in spelled if unit not in ids]
        if unknown or not spelled:
            what = f"{unknown[0]!r} is no unit of the recogniser (units/units.txt)" if unknown else "no units"
            raise DataError(f"{path}, line {number}: expected `word unit unit ...`: {what}")
        readings.setdefault(word, []).append(tuple(ids[unit] for unit in spelled))
    if not readings:
        raise DataError(f"{path} has no words")
    return readings


@lru_cache(maxsize=2)
def _loaded(path: str, modified: int, size: int, spelling: Spelling) -> Lexicon:
    return Lexicon(read_lexicon(Path(path), spelling.units), spelling.tokens)


def load_lexicon(path: Path, spelling: Spelling) -> Lexicon:
    """The lexicon in a file; it is read again only after it has changed. Raises DataError: see read_lexicon."""
    stat = path.stat() if path.is_file() else None
    return _loaded(str(path), stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0, spelling)


def texts_of_corpus(cuts: Path | None, texts: Iterable[Path]) -> Iterator[str]:
    """Normalised texts for a lexicon.

    Args:
      cuts: stage 4's folder, whose train windows have texts; None: none.
      texts: files of plain text in the script of the transcripts, or .jsonl like stage 1's texts.jsonl; as for a
        language model, an untranslated.jsonl beside a texts.jsonl is read too.
    Raises:
      DataError: a file is missing or damaged.
    """
    # these import Lhotse, which --help does without
    from lhotse_prep.manifests.files import TEXTS, UNTRANSLATED, iterate_texts
    from lhotse_prep.windows.read import read_windows

    if cuts is not None:
        yield from (cut.supervisions[0].text for cut in read_windows(cuts, "train"))
    for path in texts:
        beside = path.with_name(UNTRANSLATED)
        if path.suffix == ".jsonl":
            for file in [path, beside] if path.name == TEXTS and beside.is_file() else [path]:
                yield from (row["text"] for row in iterate_texts(file))
        elif (content := read_text(path)) is None:
            raise DataError(f"no file {path} with texts for the lexicon")
        else:
            yield from map(normalize_transcript, content.splitlines())


def main(argv: list[str]) -> None:
    """Write the lexicon of a recogniser that has a head on units, from texts."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.asr.fusion.lexicon", description=main.__doc__)
    parser.add_argument("--exp-dir", type=Path, required=True, help="stage 5's folder, with units/")
    parser.add_argument("--cuts", type=Path, help="stage 4's folder, whose train windows have texts")
    parser.add_argument(
        "--texts", type=Path, nargs="+", default=[], help=".jsonl as manifests/texts.jsonl, or plain text"
    )
    parser.add_argument("--out", type=Path, required=True, help="such as exp/mini/lexicon/lexicon.txt")
    args = parser.parse_args(argv)
    spelling = load_spelling(args.exp_dir, load_lang(args.exp_dir / "lang"))
    write_lexicon(args.out, texts_of_corpus(args.cuts, args.texts), spelling.units)


if __name__ == "__main__":
    run_main(main)
