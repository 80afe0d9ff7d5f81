"""Prefix scores of a CTC head, which guide a transducer's search (Hori et al., 2017, "Joint CTC/attention decoding").

The score of a hypothesis is (1 - w) * (its log-prob by the transducer) + w * (its log-prob by CTC) + fusion. While
frames are still to come, its log-prob by CTC is that of all alignments of the utterance that had no other tokens than
those of the hypothesis `lag` frames ago, and that have all of them `lag` frames from now: CTC's tokens may come that
much earlier or later than the transducer's. So a hypothesis that leaves out a token loses while others with the token
are still in the beam. After the last frame, the alignments are those of exactly the hypothesis.

The probability of a token sequence at each frame is a linear recurrence over frames, which is solved for all frames at
once by cumulative sums: of products of probabilities, in float64, since they fall below e^-1000. The search asks for
many more sequences than it takes, each at one frame only; on a CPU a compiled loop goes back from there (_next_scores).

Legend: N utterances, K hypotheses of each, C candidates of each hypothesis, T frames, V vocabulary; B any of their
products. A state has T + 1 columns: column s is after s frames.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID

_FLOOR = -1000.0  # of log-probs, so that differences of their sums stay finite
_BLOCK = 32  # frames
_NEGLIGIBLE = 50.0  # a log-prob that is so much lower adds nothing
_LABEL, _BLANK, _NEW = range(3)  # log-probs in a state: sequences that end in the last token, in a blank, just complete


class CtcPrefixes:
    """The log-probs of the token sequences of N * K hypotheses at all frames."""

    def __init__(self, log_probs: Tensor, lens: Tensor, beam: int) -> None:
        """
        Args:
          log_probs: of the CTC head, (N, T, V).
          lens: frames of each utterance, (N,).
          beam: number of hypotheses of each utterance, which begin without tokens.
        """
        num_utterances, num_frames, _ = log_probs.shape
        padding = torch.arange(num_frames, device=lens.device) >= lens[:, None]  # (N, T): blanks that cost nothing
        self.log_probs = log_probs.detach().double().clamp(min=_FLOOR).masked_fill(padding[..., None], _FLOOR)
        self.log_probs[..., BLANK_ID].masked_fill_(padding, 0.0)
        self.probs: NDArray[np.float32] | None = None  # (N, V, T), for the loop on a CPU
        if log_probs.device.type == "cpu":
            self.probs = self.log_probs.transpose(1, 2).float().exp().contiguous().numpy()
        self.beam = beam
        blanks = _from_start(self.log_probs[..., BLANK_ID])  # (N, T + 1)
        start = torch.full((num_utterances, 3, num_frames + 1), -torch.inf, dtype=torch.float64, device=lens.device)
        start[:, _BLANK] = blanks
        self.blanks = blanks.repeat_interleave(beam, 0)
        self.states = start.repeat_interleave(beam, 0)  # (N * K, 3, T + 1)
        self.last = torch.full((num_utterances * beam,), BLANK_ID, device=lens.device)

    def scores(self, begin: int, end: int) -> Tensor:
        """Log-prob of all alignments that have no other tokens than the hypothesis's in the first `begin` frames, and
        all of the hypothesis's, then perhaps more, in the first `end` frames, (N * K,)."""
        return _scores(self.states, begin, end)

    def totals(self) -> Tensor:
        """Log-prob of exactly the hypothesis's tokens, (N * K,)."""
        num_frames = self.states.shape[2] - 1
        return _scores(self.states, num_frames, num_frames)

    def scores_of_next(self, tokens: Tensor, begin: int, end: int) -> Tensor:
        """As scores, of each hypothesis after each of some more tokens, (N * K, C) -> (N * K, C)."""
        if self.probs is not None:
            end = min(end, self.states.shape[2] - 1)
            assert 0 <= begin <= end
            states, last, new = self.states.numpy(), self.last.numpy(), tokens.numpy()
            return torch.from_numpy(_next_scores(states, last, new, self.probs, begin, end))
        return self.scores_by_sums(tokens, begin, end)

    def scores_by_sums(self, tokens: Tensor, begin: int, end: int) -> Tensor:
        """scores_of_next without a loop over frames, for a GPU."""
        rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(tokens.shape[1])
        return _scores(self._extended(rows, tokens.reshape(-1), begin), begin, end).view_as(tokens)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """Go on with the hypotheses `rows`, each after one more token, which may be a blank: none; (N * K,) each."""
        is_new = tokens != BLANK_ID
        states = self.states[rows]
        if rows.device.type == "cpu":
            new = is_new.nonzero().squeeze(1)
            if len(new):
                states[new] = self._extended(rows[new], tokens[new])
        else:  # to ask which are new would make the process wait for the GPU
            states = torch.where(is_new[:, None, None], self._extended(rows, tokens), states)
        self.states, self.last = states, torch.where(is_new, tokens, self.last[rows])

    def _extended(self, rows: Tensor, tokens: Tensor, num_frames: int | None = None) -> Tensor:
        """The states (B, 3, T + 1) of hypotheses `rows` (B,) after one more token (B,) each.

        Those that end in a blank or the last token are right up to num_frames frames only; None: all.
        """
        columns = self.states.shape[2] if num_frames is None else num_frames + 1
        before, last = self.states[rows], self.last[rows]
        emitted = self.log_probs[rows // self.beam, :, tokens]  # (B, T)
        ending_in_any = torch.logaddexp(before[:, _LABEL], before[:, _BLANK])
        grown_from = torch.where((tokens == last)[:, None], before[:, _BLANK], ending_in_any)
        after = torch.full_like(before, -torch.inf)
        after[:, _NEW, 1:] = emitted + grown_from[:, :-1]
        stays, blanks = _from_start(emitted[:, : columns - 1]), self.blanks[rows, :columns]
        label = stays + torch.logcumsumexp(after[:, _NEW, :columns] - stays, dim=1)
        blank = blanks[:, 1:] + torch.logcumsumexp((label - blanks)[:, :-1], dim=1)
        after[:, _LABEL, :columns], after[:, _BLANK, 1:columns] = label, blank
        return after


@numba.njit(cache=True, error_model="numpy")
def _next_scores(
    states: NDArray[np.float64],
    last: NDArray[np.int64],
    tokens: NDArray[np.int64],
    probs: NDArray[np.float32],
    begin: int,
    end: int,
) -> NDArray[np.float64]:  # pragma: no cover (compiled)
    """See CtcPrefixes.scores_of_next; probs (N, V, T). A probability below e^-104 counts as 0.

    The new token comes at a frame before `end`, grown from the probability of the hypothesis until there. If that is
    before `begin`, it is repeated or not and then followed by blanks until there. Blocks of frames, from the last one
    back, have probabilities of their own scale, and end where what is left cannot count.
    """
    scores = np.empty(tokens.shape)
    beam, num_blocks = len(tokens) // len(probs), 1 + -(-begin // _BLOCK)
    tops, reach = np.empty(num_blocks), np.empty(num_blocks)  # log of a block's scale, and the highest from there back
    after_any, after_blank = np.empty(end), np.empty(end)
    for row in range(len(tokens)):
        for j in range(num_blocks):
            first, stop = max(0, begin - j * _BLOCK), end if j == 0 else begin - (j - 1) * _BLOCK
            top = -np.inf
            for t in range(first, stop):
                after_blank[t] = states[row, _BLANK, t]
                after_any[t] = np.logaddexp(states[row, _LABEL, t], after_blank[t])
                top = max(top, after_any[t])
            scale = top if top > -np.inf else 0.0
            for t in range(first, stop):
                after_any[t], after_blank[t] = np.exp(after_any[t] - scale), np.exp(after_blank[t] - scale)
            tops[j] = top
        highest = -np.inf
        for j in range(num_blocks - 1, -1, -1):
            highest = max(highest, tops[j])
            reach[j] = highest
        of_utterance = probs[row // beam]
        blank_probs = of_utterance[BLANK_ID]
        for i in range(tokens.shape[1]):
            emitted = of_utterance[tokens[row, i]]
            grown_from = after_blank if tokens[row, i] == last[row] else after_any
            total = 0.0
            for t in range(begin, end):
                total += emitted[t] * grown_from[t]
            score = tops[0] + np.log(total)
            later = 0.0  # log-prob of what comes after the block, if it begins with the token
            blanks = 1.0  # part of it that is blanks only
            for j in range(1, num_blocks):
                if reach[j] + later < score - _NEGLIGIBLE:
                    break
                total, stays = 0.0, 1.0
                for t in range(begin - (j - 1) * _BLOCK - 1, max(0, begin - j * _BLOCK) - 1, -1):
                    total += emitted[t] * grown_from[t] * stays
                    blanks *= blank_probs[t]
                    stays = blanks + emitted[t] * stays
                if total > 0.0:
                    score = np.logaddexp(score, tops[j] + later + np.log(total))
                if stays == 0.0:
                    break
                later += np.log(stays)
                blanks /= stays
            scores[row, i] = score
    return scores


def _scores(states: Tensor, begin: int, end: int) -> Tensor:
    """See CtcPrefixes.scores; states (B, 3, T + 1)."""
    now, later = states[:, (_LABEL, _BLANK), begin], states[:, _NEW, begin + 1 : end + 1]
    return torch.cat([now, later], dim=1).logsumexp(dim=1)


def _from_start(log_probs: Tensor) -> Tensor:
    """Log-probs (B, T) -> their sums over the first 0..T frames, (B, T + 1)."""
    return torch.nn.functional.pad(log_probs.cumsum(dim=1), (1, 0))


class CtcGuide:
    """What CTC adds to the scores of a transducer's beam; see the head of this file."""

    def __init__(self, log_probs: Tensor, lens: Tensor, beam: int, scale: float, lag: int) -> None:
        """
        Args:
          log_probs, lens, beam: see CtcPrefixes.
          scale: w, above 0 and below 1.
          lag: frames.
        """
        self.prefixes = CtcPrefixes(log_probs, lens, beam)
        self.num_candidates = min(2 * beam, log_probs.shape[2] - 1)
        # scores of the beam are those of the transducer plus all others, divided by 1 - w
        self.factor, self.others = scale / (1 - scale), 1 / (1 - scale)
        self.lag, self.frame = lag, 0
        padding = torch.arange(log_probs.shape[1], device=lens.device) >= lens[:, None]
        inside = log_probs.masked_fill(padding[..., None].to(log_probs.device), -torch.inf)
        by_token = torch.nn.functional.max_pool1d(inside.transpose(1, 2), 2 * lag + 1, 1, lag)
        self.nearby = by_token.transpose(1, 2)  # (N, T, V): the highest log-prob of a token within lag frames

    def ranks(self, scores: Tensor) -> Tensor:
        """What the best hypotheses are chosen by: scores (N, K, V) with CTC's part, -inf for unpromising tokens."""
        begin, end = max(0, self.frame + 1 - self.lag), self.frame + 1 + self.lag
        guess = scores + self.factor * self.nearby[:, self.frame, None]
        guess[..., BLANK_ID] = -torch.inf
        candidates = guess.topk(self.num_candidates, dim=2).indices  # (N, K, C)
        by_ctc = self.prefixes.scores_of_next(candidates.flatten(0, 1), begin, end).view_as(candidates)
        ranks = torch.full_like(scores, -torch.inf)
        ranks.scatter_(2, candidates, scores.gather(2, candidates) + self.factor * by_ctc.to(scores.dtype))
        unchanged = self.prefixes.scores(begin, end).view_as(scores[..., BLANK_ID])
        ranks[..., BLANK_ID] = scores[..., BLANK_ID] + self.factor * unchanged.to(scores.dtype)
        return ranks

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """See CtcPrefixes.follow; the next frame comes."""
        self.prefixes.follow(rows, tokens)
        self.frame += 1

    def final(self) -> Tensor:
        """CTC's part of the scores after the last frame, (N * K,)."""
        return self.factor * self.prefixes.totals()
