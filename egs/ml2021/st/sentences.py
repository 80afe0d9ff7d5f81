"""Split recognised words with times into sentences, by pauses and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml2021.st.config import SentenceConfig

Word = tuple[str, float, float]  # a Han character or a word of other letters, with start and end in seconds


@dataclass(frozen=True)
class Sentence:
    """Words that are translated together, and the recogniser's score of each word (none if unknown)."""

    words: tuple[Word, ...]
    scores: tuple[float, ...] = ()

    @property
    def start(self) -> float:
        return self.words[0][1]

    @property
    def end(self) -> float:
        return self.words[-1][2]

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(w[0] for w in self.words)


def with_scores(sentences: Sequence[Sentence], scores: Sequence[float]) -> list[Sentence]:
    """Give each sentence the scores of its words; there are as many scores as words in total."""
    result, begin = [], 0
    for sentence in sentences:
        end = begin + len(sentence.words)
        result.append(Sentence(sentence.words, tuple(scores[begin:end])))
        begin = end
    assert begin == len(scores)
    return result


def split_sentences(words: Sequence[Word], config: SentenceConfig) -> list[Sentence]:
    """Split words (in order of time) into sentences; every word is in exactly one."""
    runs: list[list[Word]] = []
    for word in words:
        if not runs or word[1] - runs[-1][-1][2] >= config.min_pause:
            runs.append([])
        runs[-1].append(word)
    pieces = [piece for run in _join_short(runs, config) for piece in _cut_long(run, config)]
    return [Sentence(tuple(piece)) for piece in pieces]


def _join_short(runs: list[list[Word]], config: SentenceConfig) -> list[list[Word]]:
    """Join runs of fewer than min_tokens with the neighbour across the shorter pause."""
    runs = list(runs)
    i = 0
    while i < len(runs):
        if len(runs[i]) < config.min_tokens:
            before = _gap(runs, i - 1) if i > 0 else float("inf")
            after = _gap(runs, i) if i + 1 < len(runs) else float("inf")
            j = i - 1 if before <= after else i
            if min(before, after) <= config.join_pause and len(runs[j]) + len(runs[j + 1]) <= config.max_tokens:
                runs[j : j + 2] = [runs[j] + runs[j + 1]]
                i = j
                if len(runs[i]) < config.min_tokens:
                    continue
        i += 1
    return runs


def _gap(runs: Sequence[Sequence[Word]], i: int) -> float:
    """Seconds between run i and run i + 1."""
    return runs[i + 1][0][1] - runs[i][-1][2]


def _cut_long(run: list[Word], config: SentenceConfig) -> list[list[Word]]:
    """Cut a run until no piece has more than max_tokens."""
    if len(run) <= config.max_tokens:
        return [run]
    place = _best_cut(run, config.min_tokens)
    return _cut_long(run[:place], config) + _cut_long(run[place:], config)


def _best_cut(run: Sequence[Word], min_tokens: int) -> int:
    """The place of the longest pause with at least min_tokens on both sides; among equal pauses, the central one."""

    def preference(place: int) -> tuple[float, int]:
        pause = run[place][1] - run[place - 1][2]
        return round(pause, 3), -abs(2 * place - len(run))

    edge = min(min_tokens, len(run) // 2)
    return max(range(edge, len(run) - edge + 1), key=preference)
