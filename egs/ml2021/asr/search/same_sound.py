"""Which of the words that sound alike was said, by the CTC head on tokens.

Legend: T frames, V tokens, P places of words in a trie (a word is at one for each of its readings).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.fusion.lexicon import Lexicon

NEAR = 4  # frames by which the two heads may emit a word apart
FLOOR = -7.0  # natural log-prob of tokens that are less probable, or that the recogniser does not have


def token_evidence(log_probs: Tensor, lexicon: Lexicon) -> NDArray[np.float32]:
    """How much less probable the last token of each word is than that of another word of the same sound, (T, P).

    The log-prob of a word at a frame is the largest that its last token has within NEAR frames. Values are 0 for the
    most probable word at each node of the trie, and below 0 for the others.

    Args:
      log_probs: of tokens, (T, V).
      lexicon: the words.
    """
    rows = torch.nn.functional.max_pool1d(log_probs.T[None], 2 * NEAR + 1, stride=1, padding=NEAR)[0].T
    num_tokens = rows.shape[1]
    last = np.array([ids[-1] for ids in lexicon.tokens])[lexicon.trie.word]
    has_token = last < num_tokens  # words that the tokens cannot write come after them
    values = rows.cpu().float().numpy()[:, np.where(has_token, last, 0)]
    values = np.maximum(np.where(has_token, values, FLOOR), FLOOR)
    counts = np.diff(lexicon.trie.first_word)
    begins = lexicon.trie.first_word[:-1][counts > 0]
    best: NDArray[np.float32] = np.repeat(np.maximum.reduceat(values, begins, axis=1), counts[counts > 0], axis=1)
    return values - best
