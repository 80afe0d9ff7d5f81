"""BPE-dropout (Provilkov et al. 2020), which skips random merges so that a model sees many splits of a word.

Sentencepiece can sample too, but whatever its seed, it mixes a value that is new in every process into its random
numbers (since 0.2.2, absl::BitGen), so no training could be repeated. Here the random numbers are the caller's.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

import sentencepiece

_WORDS = re.compile("▁[^▁]*|[^▁]+")  # no piece continues past a space, which sentencepiece writes as ▁
CACHE_SIZE = 2**16  # words


class BpeDropout:
    """Splits texts into the pieces of a sentencepiece BPE model, skipping each merge with a probability."""

    def __init__(self, spm: sentencepiece.SentencePieceProcessor) -> None:
        self.spm = spm
        ordinary = (i for i in range(len(spm)) if not (spm.is_control(i) or spm.is_unknown(i)))
        self.ranks = {spm.id_to_piece(i): -spm.get_score(i) for i in ordinary}  # merges of a low rank come first
        assert not any("▁" in piece[1:] for piece in self.ranks), "a piece with a space inside"
        self._whole = lru_cache(CACHE_SIZE)(lambda word: self._merge(word, len(word), lambda: 0)[0])

    def split(self, text: str, dropout: float, rng: random.Random) -> list[str]:
        """
        Args:
          text: any text.
          dropout: probability of skipping a merge, below 1; with 0 the pieces are those of sentencepiece.
          rng: random numbers.
        Returns:
          The pieces, with the characters that the model lacks as they are; a run of these is one piece.
        """
        scale = 1 / math.log1p(-dropout) if dropout > 0 else -math.inf

        def merges_before_a_skip() -> float:  # has a geometric distribution
            return math.log(1 - rng.random()) * scale // 1 if dropout > 0 else math.inf

        pieces: list[str] = []
        num_kept = merges_before_a_skip()
        for word in _WORDS.findall(self.spm.normalize(text)):
            merged = self._whole(word)
            num_merges = len(word) - len(merged)  # every merge saves one piece
            if num_merges <= num_kept:
                num_kept -= num_merges
            elif len(word) == 2:  # such as a space and a Chinese character: their only merge is skipped
                merged, num_kept = list(word), merges_before_a_skip()
            else:
                merged, num_kept = self._merge(word, num_kept, merges_before_a_skip)
            pieces.extend(merged)
        if self.ranks.keys() >= set(pieces):
            return pieces
        runs = groupby(pieces, self.ranks.__contains__)
        return [piece for known, run in runs for piece in (run if known else ["".join(run)])]

    def _merge(self, word: str, num_kept: float, merges_before_a_skip: Callable[[], float]) -> tuple[list[str], float]:
        """Merge the characters of a word, the merge of the lowest rank first.

        Args:
          word: the word.
          num_kept: how many merges are kept before the next one is skipped.
          merges_before_a_skip: draws this number anew.
        Returns:
          The pieces, and num_kept after them.
        """
        pieces = list(word)  # a piece that was merged into the one before it is empty
        end = len(pieces)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))  # neighbours that are not empty
        candidates: list[tuple[float, int, int]] = []  # merges: rank, index of the left piece, length of the result

        def add_candidate(left: int) -> None:
            if left >= 0 and after[left] < end:
                merged = pieces[left] + pieces[after[left]]
                if merged in self.ranks:
                    heapq.heappush(candidates, (self.ranks[merged], left, len(merged)))

        for left in range(end):
            add_candidate(left)
        while candidates:
            _, left, length = heapq.heappop(candidates)
            right = after[left]
            if not pieces[left] or right == end or len(pieces[left]) + len(pieces[right]) != length:
                continue  # one of the two was merged with another
            if num_kept == 0:
                num_kept = merges_before_a_skip()
                continue
            num_kept -= 1
            pieces[left], pieces[right] = pieces[left] + pieces[right], ""
            after[left] = after[right]
            if after[left] < end:
                before[after[left]] = left
            add_candidate(before[left])
            add_candidate(left)
        return [p for p in pieces if p], num_kept
