"""Hotwords: terms whose tokens get a bonus in the search (the automaton is that of Aho and Corasick, 1975).

A file has one term per line, spelled as in the transcripts, optionally followed by its own score, such as `:2.5`. Each
token of a term gets the score as soon as it is emitted; it is taken back if the term is not completed.

Legend: S states, B hypotheses, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.special_tokens import BLANK_ID
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text
from ml2021.asr.fusion.scorer import Scorer, States

MAX_NUMBERS = 100_000_000  # limit on states times tokens, the size of the table
_LINE = re.compile(r"(?P<term>.*?)(?:\s+:(?P<score>\S+))?\s*")
_MISPLACED_SCORE = re.compile(r"(?<!\d)[:：]\s*[-+.]?\d")  # but not 10:30


def read_hotwords(path: Path, tokens: TokenTable, default_score: float) -> dict[tuple[int, ...], float]:
    """Read terms: {token ids: bonus per token}.

    Raises:
      DataError: the file is missing, a score is misplaced or not finite, or a term has characters that the recogniser
        cannot emit.
    """
    content = read_text(path)
    if content is None:
        raise DataError(f"no hotwords file {path}: name a file with one term per line")
    terms = {}
    for number, line in enumerate(content.split("\n"), 1):
        match = _LINE.fullmatch(line)
        assert match is not None
        text = normalize_transcript(match["term"])
        if not text:
            continue
        if _MISPLACED_SCORE.search(match["term"]):
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} seems to have a score that would be read as a part of the "
                "term: write it at the end, after a space, with an ASCII colon, such as :2.5"
            )
        score = default_score if match["score"] is None else _score(match["score"], f"{path}, line {number}")
        ids = tuple(tokens.encode(text))
        if tokens.special.unk in ids:
            raise DataError(f"{path}, line {number}: {text!r} has characters that tokens.txt lacks; remove it")
        terms[ids] = score
    return terms


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: the score {text!r} is not a finite number; write one such as :2.5, or none")
    return score


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
