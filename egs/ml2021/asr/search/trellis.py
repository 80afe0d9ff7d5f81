"""Back-pointers of a batch of hypotheses, to trace the best one, and hashes to detect equal ones.

Legend: N utterances, K hypotheses per utterance, T frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID
from ml2021.asr.search.hypothesis import Hypothesis

_MULTIPLIER = 6364136223846793005  # of Knuth's MMIX generator; products wrap at 64 bits
_MOST_STEPS = 1000  # frames whose back-pointers are kept; those of a longer stream are traced as it goes on
_Emitted = tuple[list[int], list[int], list[float]]  # tokens, their frames, their probabilities


def start_hashes(num_utterances: int, beam: int, device: torch.device) -> Tensor:
    """Hashes of empty token sequences, (N, K)."""
    return torch.zeros(num_utterances, beam, dtype=torch.int64, device=device)


def extended(hashes: Tensor, tokens: Tensor) -> Tensor:
    """Hashes of token sequences, any shape, after one more token each; equal sequences have equal hashes."""
    mixed = (hashes ^ (tokens + 1)) * _MULTIPLIER
    return mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)


class _Piece:
    """Tokens that a hypothesis emitted after those of `parent`, up to where hypotheses part."""

    __slots__ = ("depth", "emitted", "parent")

    def __init__(self, parent: _Piece | None, emitted: _Emitted) -> None:
        self.parent, self.emitted = parent, emitted
        self.depth: int = 0 if parent is None else parent.depth + 1

    def up_to_root(self) -> list[_Piece]:
        """The piece, its parent, and so on to the first one."""
        pieces = [self]
        while (parent := pieces[-1].parent) is not None:
            pieces.append(parent)
        return pieces


class _Beam:
    """The hypotheses of one utterance as far as they were traced: a tree of pieces, at most two for each hypothesis."""

    def __init__(self, num_hypotheses: int) -> None:
        self.last = [_Piece(None, ([], [], []))] * num_hypotheses  # piece of each hypothesis

    def extend(self, parents: list[int], emitted: list[_Emitted]) -> None:
        """Append what each hypothesis emitted to the hypothesis that it was at the last trace."""
        self.last = [
            _Piece(self.last[k], rows) if rows[0] else self.last[k] for k, rows in zip(parents, emitted, strict=True)
        ]
        self._join()

    def hypothesis(self, k: int) -> Hypothesis:
        """All that hypothesis k has emitted."""
        emitted: _Emitted = ([], [], [])
        for piece in reversed(self.last[k].up_to_root()):
            _append(emitted, piece.emitted)
        return Hypothesis(tuple(emitted[0]), tuple(emitted[1]), tuple(emitted[2]))

    def num_settled(self) -> int:
        """How many tokens all hypotheses have in common."""
        return len(self.last[0].up_to_root()[-1].emitted[0])

    def _join(self) -> None:
        """Join each piece at which no hypothesis ends to the one after it, if there is only one."""
        ends = {id(piece) for piece in self.last}
        pieces = {id(piece): piece for last in self.last for piece in last.up_to_root()}
        after: dict[int, list[_Piece]] = {}
        for piece in pieces.values():
            if piece.parent is not None:
                after.setdefault(id(piece.parent), []).append(piece)
        for piece in sorted(pieces.values(), key=lambda p: p.depth):
            following = after.get(id(piece), [])
            if len(following) == 1 and id(piece) not in ends:
                _append(piece.emitted, following[0].emitted)
                following[0].emitted, following[0].parent = piece.emitted, piece.parent


class Trellis:
    """The parent, token and token probability of each hypothesis at each frame.

    Each frame is traced once. What the hypotheses emitted is kept as a tree, whose root is what all of them have in
    common, so that memory grows with the tokens and not with the frames.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []  # those that have not been traced
        self._num_traced = 0
        self._beams: list[_Beam] = []

    def add(self, parents: Tensor, tokens: Tensor, probs: Tensor) -> None:
        """Add a frame, (N, K) each; the token is blank if none was emitted."""
        if len(self.steps) == _MOST_STEPS:
            self._trace_steps()
        self.steps.append((parents, tokens, probs))

    def trace(self, best: Tensor) -> list[Hypothesis]:
        """Hypothesis number best[n] of each utterance n; best (N,)."""
        self._trace_steps()
        if not self._beams:
            return [Hypothesis((), (), ()) for _ in range(len(best))]
        return [beam.hypothesis(k) for beam, k in zip(self._beams, best.tolist(), strict=True)]

    def num_settled(self) -> list[int]:
        """For each utterance, how many tokens all its hypotheses had in common at the last trace."""
        return [beam.num_settled() for beam in self._beams]

    def _trace_steps(self) -> None:
        """Trace all hypotheses back through the steps that were added since the last time."""
        if not self.steps:
            return
        parents, tokens, probs = (torch.stack(x).cpu().numpy() for x in zip(*self.steps))  # (T, N, K)
        places = np.broadcast_to(np.arange(parents.shape[2]), parents.shape[1:])  # (N, K)
        path = np.empty(parents.shape, dtype=np.int64)  # the hypothesis that each of the last frame was at each frame
        for t in range(len(parents) - 1, -1, -1):
            path[t] = places
            places = np.take_along_axis(parents[t], places, axis=1)
        tokens, probs = np.take_along_axis(tokens, path, axis=2), np.take_along_axis(probs, path, axis=2)
        self._beams = self._beams or [_Beam(parents.shape[2]) for _ in range(parents.shape[1])]
        for n, beam in enumerate(self._beams):
            emitted = [self._emitted(tokens[:, n, k], probs[:, n, k]) for k in range(parents.shape[2])]
            beam.extend(places[n].tolist(), emitted)
        self._num_traced += len(self.steps)
        self.steps = []

    def _emitted(self, tokens: np.ndarray, probs: np.ndarray) -> _Emitted:
        """The tokens of a path through the steps, (T,) each."""
        frames = np.flatnonzero(tokens != BLANK_ID)
        scores = [round(prob, 4) for prob in probs[frames].tolist()]
        return tokens[frames].tolist(), (frames + self._num_traced).tolist(), scores


def _append(emitted: _Emitted, more: _Emitted) -> None:
    emitted[0].extend(more[0])
    emitted[1].extend(more[1])
    emitted[2].extend(more[2])
