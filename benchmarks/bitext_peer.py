#!/usr/bin/env python3
"""A peer beside stage 7's pairs: vecalign (Thompson and Koehn, 2019), with vectors of words from the same dictionary.

    . ./path.sh; python benchmarks/bitext_peer.py --data data/LECTURES --truth TRUTH --vecalign OTHER_ENV/bin/vecalign

vecalign (Apache-2.0; https://github.com/thompsonb/vecalign) needs a C compiler to install, best in an environment of
its own. Its usual vectors are those of LASER, a pretrained model; here the vector of a text is the sum of its words'
vectors: of an English stem a random direction, weighted by how rare it is; of a Chinese word the mean of those of its
translations in the dictionary. vecalign wants sentences, which transcripts do not have: they are cut into as many
pieces as the translation has, with pauses at the longest ones, and without at even distances, between words.

Each lecture is paired alone; errors are measured as in bitext_shared.py.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from bitext_shared import anchors, errors

from lhotse_prep.bitext.dictionary import Dictionary
from lhotse_prep.bitext.pairs import LectureText, Pair
from lhotse_prep.bitext.sentence_starts import segment_starts
from lhotse_prep.bitext.word_table import units_of
from lhotse_prep.bitext.write import read_lectures
from lhotse_prep.corpora.source.splits import PARTS

SIZE = 1024  # of a vector
MAX_MERGE = 6  # sentences of both sides of a pair together
Embed = Callable[[str], np.ndarray]


def pieces_of_transcript(lecture: LectureText, dictionary: Dictionary, num_pieces: int) -> list[int]:
    """(P + 1,) the first token of each piece, and the number of tokens."""
    num_tokens = len(lecture.tokens)
    inside = [i for i, _ in dictionary.segment(lecture.tokens)][1:]
    if lecture.pauses:
        longest = sorted(inside, key=lambda i: lecture.pauses[i] or 0.0, reverse=True)[: num_pieces - 1]  # type: ignore[index]
        return [0, *sorted(longest), num_tokens]
    even = np.linspace(0, num_tokens, num_pieces + 1)[1:-1]
    return [0, *sorted({inside[int(np.abs(np.array(inside) - place).argmin())] for place in even}), num_tokens]


def embedders(lecture: LectureText, dictionary: Dictionary) -> tuple[Embed, Embed]:
    """The functions that give vectors of a piece of the transcript, and of the translation; spaces join both."""
    counts = Counter(u for word in lecture.words for u in units_of(word))
    vectors: dict[str, np.ndarray] = {}

    def of_unit(unit: str) -> np.ndarray:
        if unit not in vectors:
            rng = np.random.default_rng(list(unit.encode()))
            vectors[unit] = rng.standard_normal(SIZE) / np.sqrt(SIZE) * np.log(1 + len(lecture.words) / counts[unit])
        return vectors[unit]

    def of_source(text: str) -> np.ndarray:
        total = np.zeros(SIZE)
        for _, word in dictionary.segment(text.split()):
            translations = dictionary.translations.get(word) or dict.fromkeys(units_of(word), 1.0)
            for unit, share in translations.items():
                if unit in counts:
                    total += share * of_unit(unit)
        return total

    def of_target(text: str) -> np.ndarray:
        total: np.ndarray = np.sum(
            [np.zeros(SIZE), *(of_unit(u) for word in text.split() for u in units_of(word))], axis=0
        )
        return total

    return of_source, of_target


def write_side(folder: Path, name: str, lines: Sequence[str], embed: Embed) -> list[str]:
    """Write the sentences of a side, and the stretches of them with their vectors; returns the files' paths."""
    stretches = {" ".join(lines[i : i + n]) for n in range(1, MAX_MERGE + 1) for i in range(len(lines) - n + 1)}
    ordered = ["PAD", *sorted(stretches)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"{name}.overlaps").write_text("\n".join(ordered) + "\n", encoding="utf-8")
    vectors = np.stack([embed(x) if x != "PAD" else np.zeros(SIZE) for x in ordered])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    vectors.astype(np.float32).tofile(folder / f"{name}.vectors")
    return [str(folder / f"{name}{suffix}") for suffix in ("", ".overlaps", ".vectors")]


def pairs_of_vecalign(lecture: LectureText, vecalign: Path) -> list[Pair]:
    """The pairs that vecalign makes of a lecture."""
    dictionary = Dictionary([lecture.tokens])
    word_edges = [*segment_starts(lecture.words), len(lecture.words)]
    token_edges = pieces_of_transcript(lecture, dictionary, len(word_edges) - 1)
    sides = ((lecture.tokens, token_edges), (lecture.words, word_edges))
    lines = [[" ".join(text[a:b]) for a, b in pairwise(edges)] for text, edges in sides]
    with tempfile.TemporaryDirectory() as work:
        (source, *of_source), (target, *of_target) = (
            write_side(Path(work), name, side, embed)
            for name, side, embed in zip(("source", "target"), lines, embedders(lecture, dictionary))
        )
        command = [str(vecalign), "-a", str(MAX_MERGE), "-s", source, "-t", target]
        command += ["--src_embed", *of_source, "--tgt_embed", *of_target]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = []
    at_token = at_word = 0
    for line in output.splitlines():
        rows, columns = (ast.literal_eval(part) for part in line.split(":")[:2])
        end_token = token_edges[rows[-1] + 1] if rows else at_token
        end_word = word_edges[columns[-1] + 1] if columns else at_word
        pairs.append(Pair(at_token, end_token - at_token, at_word, end_word - at_word, 0.0))
        at_token, at_word = end_token, end_word
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/ and aligned/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.tsv: phrase, tab, translation")
    parser.add_argument("--vecalign", type=Path, required=True, help="vecalign's executable")
    args = parser.parse_args()
    for lecture in (x for part in PARTS for x in read_lectures(args.data, part)):
        for name, text in (("pauses", lecture), ("no pauses", replace(lecture, pauses=None))):
            off = errors(pairs_of_vecalign(text, args.vecalign), anchors(text, args.truth / f"{text.id}.tsv"))
            print(
                f"{text.id} vecalign, {name:<10} median {np.median(off):5.1f}   90% {np.percentile(off, 90):5.1f}"
                f"   worst {off.max():5.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
