"""The sentences of a text whose words have times, each with its part of a translation that is known, or translated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import LectureText, Pair, make_pairs
from lhotse_prep.text.characters import is_han
from ml2021.st.cues.phrases import CLAUSE_MARKS, SENTENCE_MARKS
from ml2021.st.known_text.times import TimedText
from ml2021.st.marked_text import read_marks
from ml2021.st.output import Segment
from ml2021.st.sentences import Sentence, written

_MARK_PAUSES = ((SENTENCE_MARKS, 1.0), (CLAUSE_MARKS, 0.4))  # seconds of silence that a mark is worth to the search
_MOST_TOKENS = 60.0  # of a line (mean); longer lines are paragraphs, and their sentences are searched


@dataclass(frozen=True)
class Written:
    """A text as it is written: its words, normalised, the mark after each, how each is shown, and lines."""

    words: tuple[str, ...]
    marks: tuple[str, ...]
    shown: tuple[str, ...]
    line_sizes: tuple[int, ...]  # words of each line

    @classmethod
    def of_lines(cls, lines: Sequence[str]) -> Written:
        marked = [read_marks(line) for line in lines]
        return cls(
            tuple(w for m in marked for w in m.words),
            tuple(x for m in marked for x in m.marks),
            tuple(x for m in marked for x in m.shown),
            tuple(len(m.words) for m in marked),
        )

    @property
    def has_marks(self) -> bool:
        """Whether it is punctuated, and not merely has a stray mark."""
        return sum(any(c in SENTENCE_MARKS + CLAUSE_MARKS for c in mark) for mark in self.marks) * 60 >= len(self.words)


def paired(text: Written, timed: TimedText, translation: Sequence[str], lecture: str) -> list[Segment]:
    """Sentences with their translations: line by line if both texts have as many lines, else by the bitext search.

    What is not said has no time, and is left out with its part of a pair; a translation without any words that are said
    joins that of the sentence before it.

    Args:
      text: of the recording.
      timed: when its words are said.
      translation: lines of it.
      lecture: named in errors.
    Raises:
      DataError: the translation is empty.
    """
    targets = [_target_words(line) for line in translation]
    pairs = _pairs_of_lines(text, targets) or _searched(text, timed, [w for t in targets for w in t], lecture)
    words = [w for t in targets for w in t]
    segments: list[Segment] = []
    for pair in pairs:
        target = written(words[pair.first_word : pair.first_word + pair.num_words])
        said = [i for i in range(pair.first_token, pair.first_token + pair.num_tokens) if np.isfinite(timed.start[i])]
        if said:
            segments.append(Segment(sentence_of(text, timed, said), target, 0.0))
        elif target and segments:
            last = segments[-1]
            segments[-1] = Segment(last.sentence, written([last.target, target]), 0.0)
    return segments


def sentence_of(text: Written, timed: TimedText, places: Sequence[int]) -> Sentence:
    """The words at some places of the text as a sentence."""
    return Sentence(
        tuple((text.words[i], float(timed.start[i]), float(timed.end[i])) for i in places),
        tuple(float(timed.score[i]) for i in places),
        tuple(text.shown[i] for i in places),
    )


def _target_words(line: str) -> list[str]:
    """The units of a translation as it is written: what is between spaces, or, of Chinese, each character."""
    return list(read_marks(line).shown) if any(map(is_han, line)) else line.split()


def _pairs_of_lines(text: Written, targets: Sequence[Sequence[str]]) -> list[Pair]:
    sizes = text.line_sizes
    if len(sizes) != len(targets) or len(sizes) < 2 or np.mean(sizes) > _MOST_TOKENS:
        return []
    tokens, words = (np.concatenate([[0], np.cumsum(x)]).tolist() for x in (sizes, [len(t) for t in targets]))
    return [Pair(tokens[i], sizes[i], words[i], len(targets[i]), 0.0) for i in range(len(sizes))]


def _searched(text: Written, timed: TimedText, words: list[str], lecture: str) -> list[Pair]:
    pauses: list[float | None] = [None]
    for i in range(1, len(text.words)):
        pause = timed.start[i] - timed.end[i - 1]
        worth = next((seconds for marks, seconds in _MARK_PAUSES if any(c in marks for c in text.marks[i - 1])), 0.0)
        pauses.append(max(float(pause), 0.0) + worth if np.isfinite(pause) else worth or None)
    lecture_text = LectureText(lecture, list(text.words), words, pauses)
    return make_pairs([lecture_text], BitextConfig())[lecture]
