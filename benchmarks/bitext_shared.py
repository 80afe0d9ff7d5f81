#!/usr/bin/env python3
"""Errors of sentence pairs on real lectures, measured at phrases whose translations are known.

    . ./path.sh; python benchmarks/bitext_shared.py --data data/LECTURES --truth TRUTH

Lectures are paired as in stage 7, each alone and all together, with and without the pauses of an alignment. The
position of a phrase in the translation is predicted by interpolating between the starts of the pairs, and compared with
its true position. The phrases are not used for pairing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import LectureText, Pair, make_pairs
from lhotse_prep.bitext.write import read_lectures
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.text.normalize import normalize_translation
from lhotse_prep.workflow.strict_config import load_config


def anchors(lecture: LectureText, path: Path) -> list[tuple[int, int]]:
    """The (token, word) position of each phrase of a .tsv file; each must occur exactly once in its text."""
    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        source, target = line.split("\t")
        result.append((_place(lecture.tokens, source), _place(lecture.words, normalize_translation(target))))
    return result


def errors(pairs: Sequence[Pair], known: Sequence[tuple[int, int]]) -> np.ndarray:
    """The error of each anchor's predicted position, in words."""
    tokens = [p.first_token for p in pairs] + [pairs[-1].first_token + pairs[-1].num_tokens]
    words = [p.first_word for p in pairs] + [pairs[-1].first_word + pairs[-1].num_words]
    return np.abs(np.interp([t for t, _ in known], tokens, words) - [w for _, w in known])


def _place(text: Sequence[str], phrase: str) -> int:
    parts = phrase.split()
    places = [i for i in range(len(text)) if list(text[i : i + len(parts)]) == parts]
    if len(places) != 1:
        raise SystemExit(f"{phrase!r} occurs {len(places)} times, not once")
    return places[0]


def _report_lecture(name: str, lecture: LectureText, pairs: Sequence[Pair], truth: Path, show: bool) -> None:
    path = truth / f"{lecture.id}.tsv"
    if not path.is_file():
        return
    off = errors(pairs, anchors(lecture, path))
    print(f"{name:<32} median {np.median(off):5.1f}   90% {np.percentile(off, 90):5.1f}   worst {off.max():5.1f}")
    if show:
        for line, e in zip(path.read_text(encoding="utf-8").splitlines(), off):
            print(f"  {e:5.1f} {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/ and aligned/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.tsv: phrase, tab, translation")
    parser.add_argument("--conf", type=Path, default=Path("conf/ml2021"))
    parser.add_argument("--show", action="store_true", help="print the error of each phrase")
    args = parser.parse_args()
    config = load_config(args.conf / "prep.yaml", "bitext", BitextConfig)
    lectures = [x for part in PARTS for x in read_lectures(args.data, part)]
    groups = [("alone", [x]) for x in lectures] + [("together", lectures)] * (len(lectures) > 1)
    for how, group in groups:
        for name, texts in (("pauses", group), ("no pauses", [replace(x, pauses=None) for x in group])):
            pairs = make_pairs(texts, config)
            for lecture in texts:
                _report_lecture(f"{lecture.id} {how}, {name}", lecture, pairs[lecture.id], args.truth, args.show)
    for lecture in lectures:
        whole = [Pair(0, len(lecture.tokens), 0, len(lecture.words), 0.0)]
        _report_lecture(f"{lecture.id} in proportion", lecture, whole, args.truth, False)


if __name__ == "__main__":
    main()
