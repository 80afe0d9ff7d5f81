#!/usr/bin/env python3
"""How far sentence pairs are off on real lecture text, at phrases that start at the same point on both sides.

The position of a phrase in the translation is predicted by interpolating between the pairs' starts. Lectures are paired
as stage 7 pairs them, with the pauses of an alignment and without; the phrases are read only for measuring.

  benchmarks/bitext_shared.py --data data/ml2021_spoken --truth ml2021_spoken/bitext
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
    """(token, word) of each phrase of a .tsv file; a phrase that does not occur exactly once is an error."""
    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        source, target = line.split("\t")
        result.append((_place(lecture.tokens, source), _place(lecture.words, normalize_translation(target))))
    return result


def errors(pairs: Sequence[Pair], found: Sequence[tuple[int, int]]) -> np.ndarray:
    """Words by which each anchor's predicted place is off."""
    tokens = [p.first_token for p in pairs] + [pairs[-1].first_token + pairs[-1].num_tokens]
    words = [p.first_word for p in pairs] + [pairs[-1].first_word + pairs[-1].num_words]
    return np.abs(np.interp([t for t, _ in found], tokens, words) - [w for _, w in found])


def _place(text: Sequence[str], phrase: str) -> int:
    wanted = phrase.split()
    places = [i for i in range(len(text)) if list(text[i : i + len(wanted)]) == wanted]
    if len(places) != 1:
        raise SystemExit(f"{phrase!r} occurs {len(places)} times, not once")
    return places[0]


def _report(name: str, off: np.ndarray) -> None:
    print(f"{name:<12} median {np.median(off):5.1f}   90% {np.percentile(off, 90):5.1f}   worst {off.max():5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/ and aligned/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.tsv")
    parser.add_argument("--conf", type=Path, default=Path("conf/ml2021"))
    parser.add_argument("--show", action="store_true", help="print each phrase's error")
    args = parser.parse_args()
    config = load_config(args.conf / "prep.yaml", "bitext", BitextConfig)
    timed = [x for part in PARTS for x in read_lectures(args.data, part)]
    for name, lectures in (("pauses", timed), ("no pauses", [replace(x, pauses=None) for x in timed])):
        pairs = make_pairs(lectures, config)
        for lecture in lectures:
            path = args.truth / f"{lecture.id}.tsv"
            if not path.is_file():
                continue
            found = anchors(lecture, path)
            off = errors(pairs[lecture.id], found)
            _report(name, off)
            if args.show:
                for line, e in zip(path.read_text(encoding="utf-8").splitlines(), off):
                    print(f"  {e:5.1f} {line}")
    for lecture in timed:
        path = args.truth / f"{lecture.id}.tsv"
        if path.is_file():
            whole = [Pair(0, len(lecture.tokens), 0, len(lecture.words), 0.0)]
            _report("proportional", errors(whole, anchors(lecture, path)))


if __name__ == "__main__":
    main()
