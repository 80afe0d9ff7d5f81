"""CTC prefix beam search (Graves, 2012, 7.5.3; Hannun et al., 2014), batched: alignments of a prefix are summed up.

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
    """The prefixes of N utterances; frames may come in several calls, as a stream gives them."""

    def __init__(self, num_utterances: int, beam: int, device: torch.device, fusion: Scorer | None = None) -> None:
        self.fusion = fusion
        shape = (num_utterances, beam)
        self.blank = torch.full(shape, -torch.inf, device=device)  # log-prob of alignments that end in a blank
        self.blank[:, 0] = 0.0
        self.label = torch.full(shape, -torch.inf, device=device)  # and of those that end in the last token
        self.added = torch.zeros(shape, device=device)  # by fusion
        self.last = torch.full(shape, BLANK_ID, device=device)  # the prefix's last token, blank: it has none
        self.hashes = start_hashes(*shape, device)
        self.states = fusion.start(num_utterances * beam) if fusion else ()
        self.trellis = Trellis()

    def advance(self, log_probs: Tensor, lens: Tensor) -> None:
        """Take in frames (N, T, V), of which the first lens (N,) count."""
        for t in range(log_probs.shape[1]):
            self._advance_frame(log_probs[:, t], t < lens)

    def totals(self) -> Tensor:
        """Log-probability of each prefix with what fusion adds to the end, (N, K); -inf where there is none."""
        final = 0.0 if self.fusion is None else self.fusion.final(self.states).view_as(self.added)
        return torch.logaddexp(self.blank, self.label) + self.added + final

    def best(self) -> list[Hypothesis]:
        """The best prefix of each utterance; the frame of a token is the one that brought it into the beam."""
        return self.trellis.trace(self.totals().argmax(dim=1))

    def _advance_frame(self, log_probs: Tensor, active: Tensor) -> None:
        """log_probs (N, V); active (N,): the utterances that have this frame."""
        num_utterances, beam = self.blank.shape
        total = torch.logaddexp(self.blank, self.label)
        grown = self._grown(log_probs, total)  # (N, K, V)
        stay_blank = total + log_probs[:, BLANK_ID, None]
        own = torch.where(self.last == BLANK_ID, -torch.inf, log_probs.gather(1, self.last))
        stay_label = self.label + own
        grown, joining = self._taken_over(grown)
        stay_label = torch.logaddexp(stay_label, joining)
        ranks = self.added[..., None] + grown
        added = self.added[..., None].expand_as(grown)
        if self.fusion is not None:
            more = self.fusion.scores(self.states).view_as(grown)
            ranks, added = ranks + more, added + more
        ranks[..., BLANK_ID] = torch.logaddexp(stay_blank, stay_label) + self.added  # the column of prefixes that stay
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
        """Log-prob of each prefix with each token after it, (N, K, V): after the same token only from a blank."""
        grown = total[..., None] + log_probs[:, None]
        again = self.blank + log_probs.gather(1, self.last)
        grown.scatter_(2, self.last[..., None], again[..., None])
        grown[..., BLANK_ID] = -torch.inf
        return grown

    def _taken_over(self, grown: Tensor) -> tuple[Tensor, Tensor]:
        """Where a prefix grows into another of the beam, its log-prob goes to that one.

        Returns:
          grown without these, (N, K, V), and what each prefix gets, (N, K).
        """
        last = self.last[:, None, :].expand(-1, self.last.shape[1], -1)  # (N, K, K): parent, prefix it may grow into
        into = extended(self.hashes[..., None], last) == self.hashes[:, None, :]
        into &= last != BLANK_ID
        into &= torch.isfinite(torch.logaddexp(self.blank, self.label))[:, None, :]
        given = torch.where(into, grown.gather(2, last), -torch.inf)
        gone = torch.zeros_like(grown, dtype=torch.bool).scatter_reduce(2, last, into, "amax", include_self=True)
        return grown.masked_fill(gone, -torch.inf), given.logsumexp(dim=1)


def ctc_prefix_beam_search(
    log_probs: Tensor, lens: Tensor, beam: int = 4, blank_penalty: float = 0.0, fusion: Scorer | None = None
) -> list[Hypothesis]:
    """
    Args:
      log_probs: (N, T, V).
      lens: (N,).
      beam: prefixes kept at a frame.
      blank_penalty: taken from the blank's log-probability.
      fusion: adds to the scores of tokens before the best are chosen.
    Returns:
      One hypothesis an utterance.
    """
    state = PrefixBeam(len(log_probs), beam, log_probs.device, fusion)
    state.advance(penalised(log_probs, blank_penalty), lens)
    return state.best()
