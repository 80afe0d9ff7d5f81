"""CTC greedy search: the best symbol of each frame, with repeats merged and blanks removed.

Legend: N utterances, T frames, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID
from ml2021.asr.search.hypothesis import Hypothesis


def penalised(log_probs: Tensor, blank_penalty: float) -> Tensor:
    """Log-probs (..., V) with blank_penalty subtracted from the blank's, normalised again."""
    if blank_penalty == 0:
        return log_probs
    lowered = log_probs.clone()
    lowered[..., BLANK_ID] -= blank_penalty
    return lowered.log_softmax(dim=-1)


def ctc_greedy_search(log_probs: Tensor, lens: Tensor, blank_penalty: float = 0.0) -> list[Hypothesis]:
    """
    Args:
      log_probs: (N, T, V).
      lens: (N,).
      blank_penalty: subtracted from the blank's log-probability.
    Returns:
      One hypothesis per utterance; the frame of a token is the first of its run.
    """
    values, best = penalised(log_probs, blank_penalty).max(dim=2)  # (N, T)
    begins = best != BLANK_ID
    begins[:, 1:] &= best[:, 1:] != best[:, :-1]
    begins &= torch.arange(best.shape[1], device=lens.device) < lens[:, None]
    on_cpu = (x.cpu().numpy() for x in (begins, best, values.exp()))  # once a batch, as a GPU is waited for
    hypotheses = []
    for is_begin, symbols, probs in zip(*on_cpu):
        frames = np.flatnonzero(is_begin)
        scores = tuple(round(score, 4) for score in probs[frames].tolist())
        hypotheses.append(Hypothesis(tuple(symbols[frames].tolist()), tuple(frames.tolist()), scores))
    return hypotheses
