"""Where in the translation each part of a transcript may be: a coarse search over the whole plane, before the fine one.

The transcript is cut into A blocks of tokens, the translation into B blocks of words. A path gives each block of tokens
a block of words, in order, or none; blocks of words may be left over. The price of what is unpaired has a part for the
opening and one for the length, so a missing paragraph does not move what follows it. All places that a path almost as
good as the best one goes through are searched finely.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from lhotse_prep.bitext.search import (
    BACKGROUND,
    NEVER,
    NULL_RUN,
    NULL_STRETCH,
    NULL_TOKEN,
    NULL_WORD,
    TRANSLATION_WEIGHT,
    Band,
)

BLOCK = 10  # tokens
MAX_BLOCKS = 1200  # of a lecture; longer lectures have longer blocks
STEPS = (-2.0, -0.5, -1.5, -4.0)  # log-probability of going on by 0, 1, 2, 3 blocks of words
MARGINS = (20.0, 10.0, 5.0, 0.0)  # nats below the best path; the first whose cells are few enough is used
MAX_CELLS = 3_000_000
SLACK = 20  # tokens searched on either side of a place


class Blocks(NamedTuple):
    """The blocks of a lecture."""

    token_edges: np.ndarray  # (A + 1,), the first token of each block, and T
    word_edges: np.ndarray  # (B + 1,)
    gains: np.ndarray  # (A, B) float32, weighted log-likelihood ratio of a block's units to the background


def cut_into_blocks(
    source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], probs: np.ndarray, unigram: np.ndarray
) -> Blocks:
    """
    Args:
      source, target: unit ids of the tokens and words, and where each one's units start.
      probs, unigram: of the WordTable.
    """
    num_tokens, num_words = len(source[1]) - 1, len(target[1]) - 1
    num_blocks = int(np.clip(num_tokens // BLOCK, 1, MAX_BLOCKS))
    token_edges = np.linspace(0, num_tokens, num_blocks + 1).astype(np.int64)
    word_edges = np.linspace(0, num_words, min(num_blocks, num_words) + 1).astype(np.int64)
    edges = target[1][word_edges]
    gains = np.zeros((len(token_edges) - 1, len(word_edges) - 1), dtype=np.float32)
    for b in range(len(word_edges) - 1):  # a window of three blocks, because the blocks' edges differ
        units = target[0][edges[max(0, b - 1)] : edges[min(len(edges) - 1, b + 2)]]
        mean = probs[:, units].sum(axis=1) / max(1, len(units))
        ratio = TRANSLATION_WEIGHT * np.log(BACKGROUND + (1 - BACKGROUND) * mean / unigram)
        sums = np.concatenate([[0.0], np.cumsum(ratio[source[0]])])
        gains[:, b] = np.diff(sums[source[1][token_edges]])
    return Blocks(token_edges, word_edges, gains)


def band_of_places(blocks: Blocks, starts: np.ndarray) -> Band:
    """First and last column to search in each row of the fine search.

    Args:
      blocks: of the lecture.
      starts: (K + 1,), the first word of each segment, and the number of words.
    """
    through = _through(blocks)
    best = through.max()
    band = _band(blocks, starts, through >= best)
    for margin in MARGINS:
        wide = _band(blocks, starts, through >= best - margin)
        if int((wide.high - wide.low + 1).sum()) <= MAX_CELLS:
            return wide
    return band


def _through(blocks: Blocks) -> np.ndarray:
    """(A, B) score of the best path through each place."""
    token_costs = NULL_TOKEN * np.diff(blocks.token_edges)
    word_costs = NULL_WORD * np.diff(blocks.word_edges)
    paired, unpaired = _forward(blocks.gains, token_costs, word_costs, np.array(STEPS))
    back = _forward(blocks.gains[::-1, ::-1].copy(), token_costs[::-1].copy(), word_costs[::-1].copy(), np.array(STEPS))
    paired_back, unpaired_back = (x[::-1, ::-1] for x in back)
    following = np.maximum(unpaired_back, np.pad(unpaired_back[:, 1:], ((0, 0), (0, 1)), constant_values=NEVER))
    skipping = unpaired + following - NULL_STRETCH - token_costs[:, None]
    score: np.ndarray = np.maximum(paired + paired_back - blocks.gains, skipping)
    return score


@numba.njit(cache=True)
def _forward(gains, token_costs, word_costs, steps):
    """Best score of a path up to each place, (A, B): with the block of tokens paired, and with it unpaired."""
    num_rows, num_columns = gains.shape
    paired = np.full((num_rows, num_columns), NEVER, dtype=np.float32)
    unpaired = np.full((num_rows, num_columns), NEVER, dtype=np.float32)
    before = np.full(num_columns + 1, NEVER)  # column 0: before the first block of words
    before[0] = 0.0
    skipped = 0.0  # unpaired tokens at the beginning
    for a in range(num_rows):
        jump = NEVER
        for b in range(num_columns):
            best = NEVER
            for d in range(len(steps)):
                if b + 1 - d >= 0 and before[b + 1 - d] + steps[d] > best:
                    best = before[b + 1 - d] + steps[d]
            jump = max(jump + (word_costs[b - 1] if b else 0.0), before[b] + NULL_RUN)
            paired[a, b] = max(best, jump) + gains[a, b]
            if a:
                unpaired[a, b] = max(paired[a - 1, b] + NULL_STRETCH, unpaired[a - 1, b]) + token_costs[a]
        skipped += token_costs[a]
        before[0] = skipped + NULL_STRETCH
        for b in range(num_columns):
            before[b + 1] = max(paired[a, b], unpaired[a, b])
    return paired, unpaired


def _band(blocks: Blocks, starts: np.ndarray, places: np.ndarray) -> Band:
    """The columns of the blocks of tokens that are at `places`, (A, B) bool, with each row's blocks of words."""
    num_tokens, num_blocks = int(blocks.token_edges[-1]), len(blocks.word_edges) - 1
    occupied = places.any(axis=0)
    first = np.where(occupied, places.argmax(axis=0), len(places))
    last = np.where(occupied, len(places) - 1 - places[::-1].argmax(axis=0), -1)
    after = np.clip(np.searchsorted(blocks.word_edges, starts, side="right") - 1, 0, num_blocks - 1)
    before = np.clip(np.searchsorted(blocks.word_edges, starts, side="left") - 1, 0, num_blocks - 1)
    low = np.minimum(first[before], first[after])
    high = np.maximum(last[before], last[after])
    low = np.where(low < len(places), blocks.token_edges[np.minimum(low, len(places) - 1)] - SLACK, num_tokens)
    high = np.where(high >= 0, blocks.token_edges[high + 1] + SLACK, 0)
    low, high = np.clip(low, 0, num_tokens), np.clip(high, 0, num_tokens)
    low[0], high[-1] = 0, num_tokens
    low, high = np.minimum.accumulate(low[::-1])[::-1], np.maximum.accumulate(high)
    high = np.maximum(low, high)
    low[1:] = np.minimum(low[1:], high[:-1])  # a path goes from each row to the next
    return Band(low.astype(np.int64), high.astype(np.int64))
