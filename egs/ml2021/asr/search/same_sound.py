"""Which of the words that sound alike was said, by the CTC head on tokens.

Legend: T frames, V tokens, W words, P places of words in a trie (a word is at one for each of its readings), S those of
them where several words sound alike.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.fusion.lexicon import Lexicon

NEAR = 4  # frames by which the two heads may emit a word apart
FLOOR = -7.0  # natural log-prob of tokens that are less probable, or that the recogniser does not have


class WordsAlike:
    """The words of a lexicon that share their sound with others."""

    def __init__(self, lexicon: Lexicon) -> None:
        counts = np.diff(lexicon.trie.first_word)
        is_alike = np.repeat(counts > 1, counts)
        self.column = np.where(is_alike, np.cumsum(is_alike) - 1, -1)  # (P,) from 0 to S - 1; -1: it has a sound alone
        self._last = np.array([ids[-1] for ids in lexicon.tokens])[lexicon.trie.word[is_alike]]  # (S,) last token
        self._counts = counts[counts > 1]
        self._begins = np.cumsum(self._counts) - self._counts

    def evidence(self, log_probs: Tensor) -> NDArray[np.float32]:
        """How much less probable the last token of each word is than that of the best word of its sound, (T, S).

        The log-prob of a word at a frame is the largest that its last token has within NEAR frames. Values are 0 for
        the most probable word of a sound, and below 0 for the others.

        Args:
          log_probs: of tokens, (T, V); words that the tokens cannot write have numbers from V on.
        """
        if not len(self._last):
            return np.zeros((len(log_probs), 0), np.float32)
        rows = torch.nn.functional.max_pool1d(log_probs.T[None], 2 * NEAR + 1, stride=1, padding=NEAR)[0].T
        has_token = self._last < rows.shape[1]
        values = rows.cpu().float().numpy()[:, np.where(has_token, self._last, 0)]
        values = np.where(has_token, np.maximum(values, FLOOR), FLOOR)
        best = np.repeat(np.maximum.reduceat(values, self._begins, axis=1), self._counts, axis=1)
        evidence: NDArray[np.float32] = (values - best).astype(np.float32)
        return evidence
