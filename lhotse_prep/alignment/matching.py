"""A transcript timed by the words that any recogniser heard: no log-probs are needed.

Both are written as syllables, without tone, so that a homophone, and a Simplified character, counts as heard; hyphened
words are taken apart. Then they are matched by edit distance, and what matches takes over the recogniser's time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.text.normalize import is_han
from lhotse_prep.text.syllables import syllable
from lhotse_prep.workflow.errors import DataError

_MIN_MATCHED = 0.2  # part of the transcript that must be heard
_GAP = 3  # parts that match nothing, in text or speech, between two runs of matches
_MIN_RUN = 6  # matches of a run that is believed wherever it stands
_LONG_PAUSE = 0.7  # seconds; on which side of it a word is that was heard as another cannot be known
_LONGEST_REPLACED = 20  # parts in a row that were heard as others


def match_times(words: Sequence[str], hypothesis: Hypothesis, lecture: str) -> WordTimes:
    """When each word is spoken; NaN for what was not heard.

    Args:
      words: the transcript's units.
      hypothesis: of the whole recording.
      lecture: named in errors.
    Raises:
      DataError: hardly anything matches.
    """
    parts, owner = _parts(words)
    heard, source = _parts(hypothesis.words)
    pairs = np.array(
        [
            (op.src_start + k, op.dest_start + k)
            for op in Levenshtein.opcodes(parts, heard)
            if op.tag == "equal"
            for k in range(op.src_end - op.src_start)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    if len(pairs) < _MIN_MATCHED * len(parts):
        raise DataError(
            f"lecture {lecture}: its recogniser's words match {len(pairs)} of {len(parts)} in the transcript, under "
            f"{_MIN_MATCHED:.0%}; are they of another recording, or another language?"
        )
    pairs = _without_strays(pairs, len(parts), len(heard))
    start, end = (np.full(len(parts), np.nan) for _ in range(2))
    start[pairs[:, 0]], end[pairs[:, 0]] = hypothesis.start[source[pairs[:, 1]]], hypothesis.end[source[pairs[:, 1]]]
    is_heard = np.isfinite(start)
    for (i, j), (next_i, next_j) in zip(pairs, pairs[1:]):
        ours, theirs = next_i - i - 1, next_j - j - 1  # replaced one for one, or nearly so, and with no pause between
        pauses = hypothesis.start[source[j + 1 : next_j + 1]] - hypothesis.end[source[j:next_j]]
        if 0 < max(ours, theirs) <= min(2 * min(ours, theirs), _LONGEST_REPLACED) and pauses.max() < _LONG_PAUSE:
            edges = np.linspace(hypothesis.start[source[j + 1]], hypothesis.end[source[next_j - 1]], ours + 1)
            start[i + 1 : next_i], end[i + 1 : next_i] = edges[:-1], edges[1:]
    return _whole_words(len(words), owner, start, end, is_heard)


def _without_strays(pairs: NDArray[np.int64], num_parts: int, num_heard: int) -> NDArray[np.int64]:
    """Drop short runs of matches with more on both sides that matches nothing: chance, and edges that may be anywhere.

    Args:
      pairs: (M, 2) places in the transcript and in what was heard, ascending.
    """
    while len(pairs):
        bounds = np.concatenate([[[-1, -1]], pairs, [[num_parts, num_heard]]])
        gaps = (np.diff(bounds, axis=0) - 1).max(axis=1)  # (M + 1,) before each match and after the last
        first = np.concatenate([[0], np.flatnonzero(gaps[1:-1] >= _GAP) + 1])
        sizes = np.diff(np.append(first, len(pairs)))
        around = np.minimum(gaps[first], gaps[first + sizes])
        stray = (sizes < _MIN_RUN) & (around >= np.maximum(_GAP, sizes + 1))
        if not stray.any():
            break
        pairs = pairs[~np.repeat(stray, sizes)]
    return pairs


def _parts(words: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """What is compared, and which word each part is of."""
    pairs = [
        (syllable(part) if is_han(part) else part, w)
        for w, word in enumerate(words)
        for part in ([p for p in word.split("-") if p] or [word])
    ]
    return [part for part, _ in pairs], np.array([w for _, w in pairs], dtype=np.int64)


def _whole_words(
    num_words: int,
    owner: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    heard: NDArray[np.bool_],
) -> WordTimes:
    """A word lasts from its first timed part to its last; its score is the part of it that was heard."""
    first, last, score = np.full(num_words, np.nan), np.full(num_words, np.nan), np.zeros(num_words)
    timed = np.flatnonzero(np.isfinite(start))
    np.fmin.at(first, owner[timed], start[timed])
    np.fmax.at(last, owner[timed], end[timed])
    sizes = np.bincount(owner, minlength=num_words)
    np.add.at(score, owner[timed], heard[timed])
    return WordTimes(first, last, score / np.maximum(sizes, 1))
