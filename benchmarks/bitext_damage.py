#!/usr/bin/env python3
"""What damage to a real lecture's texts does to its sentence pairs, inside and outside the damage.

    . ./path.sh; python benchmarks/bitext_damage.py --data data/LECTURES --truth TRUTH --seeds 20

Each lecture is paired alone, without pauses, whole and then damaged at random places of each seed:
- sentences: 5% of the pairs lose their transcript and another 5% their translation;
- paragraph: about 150 words of the translation are missing;
- exchange: two paragraphs of about 150 words of the translation have changed places.

Printed of the known phrases outside the damage: the share that is in no pair; of the others the errors in words, as in
bitext_shared.py; the share that is in pairs that stage 7 keeps, and of these the share that is right, which means at
most NEAR words off. Then the share of pairs that stage 7 keeps, and of the tokens left without a translation the share
that is in such pairs. Where two paragraphs have changed places, a monotone search can pair either of them or what is
between them: what it leaves out is in no pair.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bitext_shared import anchors, errors

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import LectureText, Pair, make_pairs
from lhotse_prep.bitext.write import read_lectures
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.strict_config import load_config

NEAR = 5  # words
PARAGRAPH = 150  # words
KINDS = ("sentences", "paragraph", "exchange")


@dataclass(frozen=True)
class Damage:
    """What is left of a lecture: places in its whole texts, in their new order, and what lost its other side."""

    tokens: list[int]
    words: list[int]
    orphans: set[int]  # tokens without a translation at its place
    moved: set[int]  # words without a transcript at its place


@dataclass(frozen=True)
class Outcome:
    off: list[float]  # errors of the phrases outside the damage that are in a pair
    kept: list[bool]  # for each of them, whether its pair is kept
    num_unpaired: int  # phrases outside the damage that are in no pair
    pairs_kept: float  # share
    orphans_kept: float  # share of the orphans in a pair that is kept


def damage(kind: str, pairs: Sequence[Pair], num_tokens: int, num_words: int, rng: random.Random) -> Damage:
    """Damage of a kind at random places of a lecture with these pairs."""
    token_sets = [set(range(p.first_token, p.first_token + p.num_tokens)) for p in pairs]
    word_sets = [set(range(p.first_word, p.first_word + p.num_words)) for p in pairs]
    if kind == "sentences":
        chosen = rng.sample(range(len(pairs)), 2 * max(1, len(pairs) // 20))
        mute, untranslated = chosen[::2], chosen[1::2]
        no_tokens = set().union(*(token_sets[n] for n in mute))
        no_words = set().union(*(word_sets[n] for n in untranslated))
        tokens = [t for t in range(num_tokens) if t not in no_tokens]
        words = [w for w in range(num_words) if w not in no_words]
        orphans, moved = (set().union(*(s[n] for n in c)) for s, c in ((token_sets, untranslated), (word_sets, mute)))
        return Damage(tokens, words, orphans, moved)
    paragraphs = _paragraphs(pairs)
    first, second = sorted(rng.sample(range(len(paragraphs)), 2))
    a, b = (list(range(*paragraphs[n])) for n in (first, second))
    gone = set(a) if kind == "paragraph" else set(a) | set(b)
    orphans = set().union(*(t for t, w in zip(token_sets, word_sets) if w & gone))
    if kind == "paragraph":
        return Damage(list(range(num_tokens)), [w for w in range(num_words) if w not in gone], orphans, set())
    words = [*range(a[0]), *b, *range(a[-1] + 1, b[0]), *a, *range(b[-1] + 1, num_words)]
    return Damage(list(range(num_tokens)), words, orphans, gone)


def outcome(lecture: LectureText, hurt: Damage, known: Sequence[tuple[int, int]], config: BitextConfig) -> Outcome:
    """Pair a damaged lecture and compare it with its known phrases."""
    text = LectureText(lecture.id, [lecture.tokens[t] for t in hurt.tokens], [lecture.words[w] for w in hurt.words])
    pairs = make_pairs([text], config)[text.id]
    token_at, word_at = ({place: n for n, place in enumerate(side)} for side in (hurt.tokens, hurt.words))
    owners = [p for p in pairs for _ in range(p.num_tokens)]
    both = [p for p in pairs if p.num_tokens and p.num_words]
    outside = [
        (token_at[t], word_at[w])
        for t, w in known
        if t in token_at and w in word_at and t not in hurt.orphans and w not in hurt.moved
    ]
    paired = [(t, w) for t, w in outside if owners[t].num_words]
    off = errors(pairs, paired).tolist()
    kept = [owners[t].margin >= config.min_margin for t, _ in paired]
    in_kept = [token_at[t] for t in hurt.orphans if owners[token_at[t]].margin >= config.min_margin]
    return Outcome(
        off,
        kept,
        len(outside) - len(paired),
        sum(p.margin >= config.min_margin for p in both) / len(pairs),
        len(in_kept) / max(1, len(hurt.orphans)),
    )


def _paragraphs(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """(first word, end) of stretches of PARAGRAPH words or a little more that begin and end with pairs."""
    paragraphs, start = [], 0
    for p in pairs:
        end = p.first_word + p.num_words
        if end - start >= PARAGRAPH:
            paragraphs.append((start, end))
            start = end
    return paragraphs


def _report(name: str, outcomes: Sequence[Outcome]) -> None:
    off, kept = np.concatenate([o.off for o in outcomes]), np.concatenate([o.kept for o in outcomes])
    num_unpaired = sum(o.num_unpaired for o in outcomes)
    print(
        f"{name:<20} in no pair {100 * num_unpaired / (len(off) + num_unpaired):4.1f}%  median {np.median(off):4.1f}"
        f"  90% {np.percentile(off, 90):5.1f}  99% {np.percentile(off, 99):5.1f}  worst {off.max():5.1f}"
        f"  kept {100 * kept.mean():3.0f}%  right {100 * (off[kept] <= NEAR).mean():5.1f}%"
        f"  pairs kept {100 * np.mean([o.pairs_kept for o in outcomes]):3.0f}%"
        f"  orphans kept {100 * np.mean([o.orphans_kept for o in outcomes]):3.0f}%",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.tsv: phrase, tab, translation")
    parser.add_argument("--conf", type=Path, default=Path("conf/ml2021"))
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    config = load_config(args.conf / "prep.yaml", "bitext", BitextConfig)
    lectures = [replace(x, pauses=None) for part in PARTS for x in read_lectures(args.data, part)]
    for lecture in lectures:
        known = anchors(lecture, args.truth / f"{lecture.id}.tsv")
        sizes = len(lecture.tokens), len(lecture.words)
        whole = make_pairs([lecture], config)[lecture.id]
        nothing = Damage(list(range(sizes[0])), list(range(sizes[1])), set(), set())
        _report(f"{lecture.id} whole", [outcome(lecture, nothing, known, config)])
        for kind in KINDS:
            hurts = [damage(kind, whole, *sizes, random.Random(seed)) for seed in range(args.seeds)]
            _report(f"{lecture.id} {kind}", [outcome(lecture, hurt, known, config) for hurt in hurts])


if __name__ == "__main__":
    main()
