"""Hotwords: terms whose tokens get a bonus in the search (the automaton is that of Aho and Corasick, 1975).

A file has one term per line, spelled as in the transcripts, optionally followed by its own score, such as `:2.5`. Each
token of a term gets the score as soon as it is emitted; it is taken back if the term is not completed.

Legend: S states, B hypotheses, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lhotse_prep.tokens.special_tokens import BLANK_ID
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.fusion.scorer import Scorer, States
from ml2021.asr.words.hotwords import read_terms

MAX_NUMBERS = 100_000_000  # limit on states times tokens, the size of the table


def read_hotwords(path: Path, tokens: TokenTable, default_score: float) -> dict[tuple[int, ...], float]:
    """Read terms: {token ids: bonus per token}.

    Raises:
      DataError: see read_terms; or a term has characters that the recogniser cannot emit.
    """
    terms = {}
    for term in read_terms(path):
        ids = tuple(tokens.encode(term.text))
        if tokens.special.unk in ids:
            raise DataError(f"{term.where}: {term.text!r} has characters that tokens.txt lacks; remove it")
        terms[ids] = default_score if term.score is None else term.score
    return terms


class Hotwords(Scorer):
    """Scores hypotheses by the bonus of the terms in them."""

    def __init__(self, terms: Mapping[tuple[int, ...], float], vocab_size: int, device: torch.device) -> None:
        """
        Args:
          terms: {token ids: bonus per token}.
        Raises:
          DataError: there are more terms than fit into the table.
        """
        children: list[dict[int, int]] = [{}]
        lent, won = [0.0], [0.0]  # by state: the bonus to take back if no term is completed, that of completed terms
        for ids, score in terms.items():
            state = 0
            for depth, token in enumerate(ids, 1):
                if token not in children[state]:
                    children.append({})
                    lent.append(score * depth)
                    won.append(0.0)
                    children[state][token] = len(children) - 1
                state = children[state][token]
                lent[state] = max(lent[state], score * depth)
            won[state] = score * len(ids)
        if len(children) * vocab_size > MAX_NUMBERS:
            raise DataError(
                f"hotwords need {len(children)} states, the limit is {MAX_NUMBERS // vocab_size}: use fewer terms"
            )
        following = torch.zeros(len(children), vocab_size, dtype=torch.int64)
        is_end = [w > 0 for w in won]
        fallback = [0] * len(children)
        waiting = deque([0])
        while waiting:  # states in order of depth
            state = waiting.popleft()
            if state:
                following[state] = following[fallback[state]]
                won[state] += won[fallback[state]]
            for token, child in children[state].items():
                fallback[child] = int(following[fallback[state], token]) if state else 0
                following[state, token] = child
                waiting.append(child)
        loan = torch.tensor([0.0 if end else x for x, end in zip(lent, is_end)])
        gain = loan + torch.tensor(won)
        table = gain[following] - loan[:, None]
        table[:, BLANK_ID] = 0.0
        self._following, self._scores, self._loan = following.to(device), table.to(device), loan.to(device)

    def start(self, num: int) -> States:
        return (torch.zeros(num, dtype=torch.int64, device=self._loan.device),)

    def scores(self, states: States) -> Tensor:
        return self._scores[states[0]]

    def advance(self, states: States, tokens: Tensor) -> States:
        return (torch.where(tokens == BLANK_ID, states[0], self._following[states[0], tokens]),)

    def final(self, states: States) -> Tensor:
        return -self._loan[states[0]]
