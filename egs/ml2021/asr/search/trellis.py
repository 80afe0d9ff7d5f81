"""Back-pointers of a batch of hypotheses, to trace the best one at the end, and hashes to detect equal ones.

Legend: N utterances, K hypotheses per utterance, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID
from ml2021.asr.search.hypothesis import Hypothesis

_MULTIPLIER = 6364136223846793005  # of Knuth's MMIX generator; products wrap at 64 bits


def start_hashes(num_utterances: int, beam: int, device: torch.device) -> Tensor:
    """Hashes of empty token sequences, (N, K)."""
    return torch.zeros(num_utterances, beam, dtype=torch.int64, device=device)


def extended(hashes: Tensor, tokens: Tensor) -> Tensor:
    """Hashes of token sequences, any shape, after one more token each; equal sequences have equal hashes."""
    mixed = (hashes ^ (tokens + 1)) * _MULTIPLIER
    return mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)


class Trellis:
    """The parent, token and token probability of each hypothesis at each frame."""

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, parents: Tensor, tokens: Tensor, probs: Tensor) -> None:
        """Add a frame, (N, K) each; the token is blank if none was emitted."""
        self.steps.append((parents, tokens, probs))

    def trace(self, best: Tensor) -> list[Hypothesis]:
        """Trace back hypothesis number best[n] of each utterance n; best (N,)."""
        if not self.steps:
            return [Hypothesis((), (), ()) for _ in range(len(best))]
        parents, tokens, probs = (torch.stack(x).cpu().numpy() for x in zip(*self.steps))  # (T, N, K)
        hypotheses = []
        for n, k in enumerate(best.tolist()):
            emitted = []
            for t in range(len(parents) - 1, -1, -1):
                if tokens[t, n, k] != BLANK_ID:
                    emitted.append((int(tokens[t, n, k]), t, round(float(probs[t, n, k]), 4)))
                k = int(parents[t, n, k])
            rows = list(zip(*reversed(emitted))) or [(), (), ()]
            hypotheses.append(Hypothesis(*rows))
        return hypotheses
