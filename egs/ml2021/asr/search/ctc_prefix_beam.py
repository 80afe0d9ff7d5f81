"""CTC prefix beam search (Graves, 2012, 7.5.3; Hannun et al., 2014), batched; sums over alignments.

Legend: N utterances, K beam, T frames, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.fusion.scorer import Scorer, select
from ml2021.asr.model.recogniser import BLANK_ID
from ml2021.asr.search.ctc_greedy import penalised
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.trellis import Trellis, extended, start_hashes


class PrefixBeam:
    """The prefixes of N utterances. Frames may be passed in several calls, as for a stream."""

    def __init__(self, num_utterances: int, beam: int, device: torch.device, fusion: Scorer | None = None) -> None:
        self.fusion = fusion
        shape = (num_utterances, beam)
        self.blank = torch.full(shape, -torch.inf, device=device)  # log-prob of the alignments ending in a blank
        self.blank[:, 0] = 0.0
        self.label = torch.full(shape, -torch.inf, device=device)  # log-prob of the alignments ending in the last token
        self.added = torch.zeros(shape, device=device)  # total score from fusion
        self.last = torch.full(shape, BLANK_ID, device=device)  # last token of the prefix; blank for an empty one
        self.hashes = start_hashes(*shape, device)
        self.states = fusion.start(num_utterances * beam) if fusion else ()
        self.trellis = Trellis()

    def advance(self, log_probs: Tensor, lens: Tensor) -> None:
        """Process frames log_probs (N, T, V), the first lens (N,) of each utterance."""
        for t in range(log_probs.shape[1]):
            self._advance_frame(log_probs[:, t], t < lens)

    def totals(self) -> Tensor:
        """Log-prob of each prefix including fusion's final scores, (N, K); -inf for empty places of the beam."""
        final = 0.0 if self.fusion is None else self.fusion.final(self.states).view_as(self.added)
        return torch.logaddexp(self.blank, self.label) + self.added + final

    def best(self) -> list[Hypothesis]:
        """The best prefix of each utterance; the frame of a token is the one at which it entered the beam."""
        return self.trellis.trace(self.totals().argmax(dim=1))

    def _advance_frame(self, log_probs: Tensor, active: Tensor) -> None:
        """log_probs (N, V); active (N,) bool: whether the utterance has this frame."""
        num_utterances, beam = self.blank.shape
        total = torch.logaddexp(self.blank, self.label)
        grown = self._grown(log_probs, total)  # (N, K, V)
        stay_blank = total + log_probs[:, BLANK_ID, None]
        repeated = torch.where(self.last == BLANK_ID, -torch.inf, log_probs.gather(1, self.last))
        grown, joining = self._merge_grown(grown)
        stay_label = torch.logaddexp(self.label + repeated, joining)
        ranks = self.added[..., None] + grown
        added = self.added[..., None].expand_as(grown)
        if self.fusion is not None:
            more = self.fusion.scores(self.states).view_as(grown)
            ranks, added = ranks + more, added + more
        ranks[..., BLANK_ID] = torch.logaddexp(stay_blank, stay_label) + self.added  # column of the unchanged prefix
        chosen = ranks.view(num_utterances, -1).topk(beam, dim=1).indices
        vocab_size = grown.shape[2]
        slots = torch.arange(beam, device=active.device).expand_as(chosen)
        parents = torch.where(active[:, None], chosen // vocab_size, slots)
        tokens = torch.where(active[:, None], chosen % vocab_size, BLANK_ID)
        is_new = tokens != BLANK_ID
        flat = parents * vocab_size + tokens
        label = torch.where(is_new, grown.view(num_utterances, -1).gather(1, flat), stay_label.gather(1, parents))
        blank = torch.where(is_new, -torch.inf, stay_blank.gather(1, parents))
        self.blank = torch.where(active[:, None], blank, self.blank)
        self.label = torch.where(active[:, None], label, self.label)
        self.added = torch.where(
            is_new, added.reshape(num_utterances, -1).gather(1, flat), self.added.gather(1, parents)
        )
        self.last = torch.where(is_new, tokens, self.last.gather(1, parents))
        hashes = self.hashes.gather(1, parents)
        self.hashes = torch.where(is_new, extended(hashes, tokens), hashes)
        self.trellis.add(parents, tokens, log_probs.gather(1, tokens).exp())
        if self.fusion is not None:
            rows = (parents + torch.arange(num_utterances, device=active.device)[:, None] * beam).view(-1)
            self.states = self.fusion.advance(select(self.states, rows), tokens.view(-1))

    def _grown(self, log_probs: Tensor, total: Tensor) -> Tensor:
        """Log-prob of each prefix extended by each token, (N, K, V). A repeated token needs a blank before it."""
        grown = total[..., None] + log_probs[:, None]
        again = self.blank + log_probs.gather(1, self.last)
        grown.scatter_(2, self.last[..., None], again[..., None])
        grown[..., BLANK_ID] = -torch.inf
        return grown

    def _merge_grown(self, grown: Tensor) -> tuple[Tensor, Tensor]:
        """If an extended prefix equals another one of the beam, move its log-prob to that one.

        Returns:
          grown without these prefixes, (N, K, V), and the log-prob that each prefix of the beam receives, (N, K).
        """
        last = self.last[:, None, :].expand(-1, self.last.shape[1], -1)  # (N, K, K): parent, prefix that it may become
        into = extended(self.hashes[..., None], last) == self.hashes[:, None, :]
        into &= last != BLANK_ID
        into &= torch.isfinite(torch.logaddexp(self.blank, self.label))[:, None, :]
        joining = torch.where(into, grown.gather(2, last), -torch.inf)
        merged = torch.zeros_like(grown, dtype=torch.bool).scatter_reduce(2, last, into, "amax", include_self=True)
        return grown.masked_fill(merged, -torch.inf), joining.logsumexp(dim=1)


def ctc_prefix_beam_search(
    log_probs: Tensor, lens: Tensor, beam: int = 4, blank_penalty: float = 0.0, fusion: Scorer | None = None
) -> list[Hypothesis]:
    """
    Args:
      log_probs: (N, T, V).
      lens: (N,).
      beam: number of prefixes kept at each frame.
      blank_penalty: subtracted from the blank's log-probability.
      fusion: adds to token scores before the best prefixes are chosen.
    Returns:
      One hypothesis per utterance.
    """
    state = PrefixBeam(len(log_probs), beam, log_probs.device, fusion)
    state.advance(penalised(log_probs, blank_penalty), lens)
    return state.best()
