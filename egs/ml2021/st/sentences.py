"""Split recognised words with times into sentences, by punctuation if there is any, by pauses and by length."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lhotse_prep.text.normalize import remove_han_spaces
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.cues.cue import Word as Word
from ml2021.st.cues.phrases import CLAUSE_MARKS, MUST, SENTENCE_MARKS, break_costs
from ml2021.st.cues.widths import num_wide

_Marked = tuple[Word, str]  # a word and the mark after it
T = TypeVar("T")
# Where a long sentence must be cut, seconds of silence that weigh as much as a comma, as a place where phrases must not
# be broken (cost 1 of cues.phrases), and as the edge of the sentence against its middle.
_CLAUSE_PAUSE, _COST_PAUSE, _EDGE_PAUSE = 0.5, 0.15, 0.1
_WHOLE_LINE = SubtitleConfig(max_latin=1 << 20, max_cjk=1 << 20)


@dataclass(frozen=True)
class Sentence:
    """Words that are translated together, and the recogniser's score of each word (none if unknown).

    `shown` is how subtitles write each word, with its capitals and punctuation; () if as it is.
    """

    words: tuple[Word, ...]
    scores: tuple[float, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def start(self) -> float:
        return self.words[0][1]

    @property
    def end(self) -> float:
        return self.words[-1][2]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The bare words, as scores and translators that were trained on transcripts need them."""
        return tuple(w[0] for w in self.words)

    @property
    def shown_words(self) -> tuple[Word, ...]:
        """The words as subtitles write them, with their times."""
        return tuple((text, w[1], w[2]) for text, w in zip(self.shown or self.tokens, self.words, strict=True))

    @property
    def text(self) -> str:
        """The sentence as subtitles write it."""
        return written(self.shown or self.tokens)


def written(tokens: Sequence[str]) -> str:
    """Join tokens with spaces as in ordinary writing: around English words, and none beside a wide mark."""
    text = remove_han_spaces(" ".join(token for token in tokens if token))
    pieces: list[str] = []
    for piece in text.split():
        if pieces and not (_is_wide_mark(pieces[-1][-1]) or _is_wide_mark(piece[0])):
            pieces.append(" ")
        pieces.append(piece)
    return "".join(pieces)


def _is_wide_mark(char: str) -> bool:
    return num_wide(char) == 1 and unicodedata.category(char)[0] == "P"


def with_scores(sentences: Sequence[Sentence], scores: Sequence[float]) -> list[Sentence]:
    """Give each sentence the scores of its words; there are as many scores as words in total."""
    pieces = _pieces(sentences, scores)
    return [replace(sentence, scores=tuple(piece)) for sentence, piece in zip(sentences, pieces, strict=True)]


def with_spelling(sentences: Sequence[Sentence], shown: Sequence[str]) -> list[Sentence]:
    """Show the words as they are spelled here; there are as many spellings as words in total."""
    pieces = _pieces(sentences, shown)
    return [replace(sentence, shown=tuple(piece)) for sentence, piece in zip(sentences, pieces, strict=True)]


def _pieces(sentences: Sequence[Sentence], values: Sequence[T]) -> list[Sequence[T]]:
    """Values of all words, sentence by sentence."""
    assert sum(len(s.words) for s in sentences) == len(values)
    result: list[Sequence[T]] = []
    begin = 0
    for sentence in sentences:
        result.append(values[begin : begin + len(sentence.words)])
        begin += len(sentence.words)
    return result


def split_sentences(
    words: Sequence[Word], config: SentenceConfig, marks: Sequence[str] | None = None
) -> list[Sentence]:
    """Split words (in order of time) into sentences; every word is in exactly one.

    Without marks, a pause of min_pause ends a sentence. With them, a full stop or a question mark does, and a comma
    before such a pause, and max_pause always does.

    Args:
      words: of a lecture.
      config: how long pauses and sentences are.
      marks: the mark after each word, "" for none; sentences show them. None: no punctuation is known.
    """
    marked = list(marks) if marks is not None else [""] * len(words)
    assert len(marked) == len(words)
    runs: list[list[_Marked]] = []
    for i, (word, mark) in enumerate(zip(words, marked)):
        if i == 0 or _ends(marked[i - 1], word[1] - words[i - 1][2], config, marks is not None):
            runs.append([])
        runs[-1].append((word, mark))
    pieces = [piece for run in _join_short(runs, config) for piece in _cut_long(run, config)]
    if marks is None:
        return [Sentence(tuple(word for word, _ in piece)) for piece in pieces]
    return [
        Sentence(tuple(word for word, _ in piece), shown=tuple(word[0] + mark for word, mark in piece))
        for piece in pieces
    ]


def _ends(mark: str, pause: float, config: SentenceConfig, is_marked: bool) -> bool:
    """Whether a sentence ends between two words."""
    if not is_marked:
        return pause >= config.min_pause
    if any(c in SENTENCE_MARKS for c in mark):
        return True
    return pause >= (config.min_pause if any(c in CLAUSE_MARKS for c in mark) else config.max_pause)


def _join_short(runs: list[list[_Marked]], config: SentenceConfig) -> list[list[_Marked]]:
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


def _gap(runs: Sequence[Sequence[_Marked]], i: int) -> float:
    """Seconds between run i and run i + 1."""
    return runs[i + 1][0][0][1] - runs[i][-1][0][2]


def _cut_long(run: list[_Marked], config: SentenceConfig) -> list[list[_Marked]]:
    """Cut a run until no piece has more than max_tokens."""
    if len(run) <= config.max_tokens:
        return [run]
    units = [f" {word[0]}" if num_wide(word[0]) == 0 else word[0] for word, _ in run]
    costs = break_costs(units, _WHOLE_LINE)
    values = [
        after[1] - before[2] + _CLAUSE_PAUSE * bool(mark) - _COST_PAUSE * min(cost, MUST)
        for (before, mark), (after, _), cost in zip(run, run[1:], costs)
    ]
    ends, begins = [], [(0, len(run))]
    while begins:
        begin, end = begins.pop()
        if end - begin <= config.max_tokens:
            ends.append(end)
            continue
        place = _best_cut(values[begin : end - 1], config.min_tokens) + begin
        begins += [(place, end), (begin, place)]
    return [run[a:b] for a, b in zip([0, *ends], ends)]


def _best_cut(values: Sequence[float], min_tokens: int) -> int:
    """The best place with at least min_tokens on both sides; among equally good ones, the central one.

    Args:
      values: of a cut after each word but the last: seconds of silence, corrected for marks and phrases.
    """
    num_words = len(values) + 1

    def preference(place: int) -> tuple[float, int]:
        distance = abs(2 * place - num_words)
        return round(values[place - 1] - _EDGE_PAUSE * distance / num_words, 3), -distance

    edge = min(min_tokens, num_words // 2)
    return max(range(edge, num_words - edge + 1), key=preference)
