"""Timed supervisions ("stretches") from the word times of a lecture, words in a row between pauses; and their error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem
from numpy.typing import NDArray

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.word_times import WordTimes, are_characters, drawn_out
from lhotse_prep.manifests.exact_times import first_token


def make_stretches(
    lecture: SupervisionSegment, times: WordTimes, regions: NDArray[np.float64], config: StretchConfig
) -> list[SupervisionSegment]:
    """Supervisions of a lecture, in order, without overlap. A word without a time is in none of them and ends one.

    Args:
      lecture: the supervision of the whole lecture.
      times: of its words.
      regions: (R, 2) seconds of speech; the last word of a stretch is drawn out to the end of the speech it is in.
      config: where to cut.
    """
    words = (lecture.text or "").split()
    start, end = _tidy(times, lecture.duration, config.min_word)
    end = drawn_out(start, end, regions, config.max_word, are_characters(words))
    groups: list[list[int]] = []
    group: list[int] = []
    for w in range(len(words)):
        spoken = bool(np.isfinite(start[w]))
        if group and (not spoken or start[w] - end[group[-1]] >= config.min_pause):
            groups.append(group)
            group = []
        if spoken:
            group.append(w)
    if group:
        groups.append(group)
    tidy = WordTimes(start, end, times.score)
    return [_stretch(lecture, words, group, tidy, number) for number, group in enumerate(groups)]


def onset_errors(stretches: Sequence[SupervisionSegment], truth: Sequence[tuple[float, float, str]]) -> list[float]:
    """How far the first token of each true stretch is off, in seconds; infinite if it has no time.

    Args:
      stretches: of one lecture.
      truth: (start, end, spaced tokens) of each true stretch; together they spell the transcript.
    """
    starts = {index: item.start for index, item in _timed_tokens(stretches)}
    indices = np.cumsum([0, *(len(tokens.split()) for _, _, tokens in truth)]).tolist()
    return [abs(starts.get(index, np.inf) - start) for index, (start, _, _) in zip(indices, truth)]


def end_errors(stretches: Sequence[SupervisionSegment], truth: Sequence[tuple[float, float, str]]) -> list[float]:
    """How far the end of the last token of each true stretch is off; as onset_errors."""
    ends = {index: item.end for index, item in _timed_tokens(stretches)}
    indices = np.cumsum([len(tokens.split()) for _, _, tokens in truth]).tolist()
    return [abs(ends.get(index - 1, np.inf) - end) for index, (_, end, _) in zip(indices, truth)]


def _timed_tokens(stretches: Sequence[SupervisionSegment]) -> Iterator[tuple[int, AlignmentItem]]:
    """The aligned tokens of a lecture, each with its index in the transcript."""
    for stretch in stretches:
        yield from enumerate((stretch.alignment or {}).get("word", []), first_token(stretch))


def _tidy(times: WordTimes, duration: float, min_word: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put starts and ends in order and inside the recording; a word ends before the next begins."""
    start, end = times.start.copy(), times.end.copy()
    spoken = np.flatnonzero(np.isfinite(start))
    start[spoken] = np.clip(np.maximum.accumulate(start[spoken]), 0, duration - min_word)
    end[spoken] = np.clip(np.maximum(end[spoken], start[spoken] + min_word), 0, duration)
    inner, following = spoken[:-1], spoken[1:]
    end[inner] = np.minimum(end[inner], np.maximum(start[following], start[inner] + 1e-3))
    return start, end


def _stretch(
    lecture: SupervisionSegment, words: Sequence[str], group: Sequence[int], times: WordTimes, number: int
) -> SupervisionSegment:
    """The stretch of some words in a row; number: which one of the lecture."""
    start, end, score = times.start, times.end, times.score
    items = [
        AlignmentItem(
            words[w], round(float(start[w]), 4), round(float(end[w] - start[w]), 4), round(float(score[w]), 4)
        )
        for w in group
    ]
    first, last = items[0], items[-1]
    return SupervisionSegment(
        id=f"{lecture.id}-{number:05d}",
        recording_id=lecture.recording_id,
        start=first.start,
        duration=round(last.start + last.duration - first.start, 4),
        channel=0,
        language=lecture.language,
        text=" ".join(words[w] for w in group),
        alignment={"word": items},
        custom={"first_token": group[0], "confidence": round(float(np.mean(score[list(group)])), 4)},
    )
