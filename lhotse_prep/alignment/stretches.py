"""Word times of a lecture -> timed supervisions ("stretches"): words in a row between pauses. And their error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem
from numpy.typing import NDArray

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.word_times import WordTimes


def make_stretches(
    lecture: SupervisionSegment, times: WordTimes, regions: NDArray[np.float64], config: StretchConfig
) -> list[SupervisionSegment]:
    """Supervisions of a lecture, in order, none overlapping. Words without a time are in none, and end a stretch.

    Args:
      lecture: the supervision of the whole lecture.
      times: of its words.
      regions: (R, 2) seconds of speech; the last word of a stretch is drawn out to the end of the speech it is in.
      config: where to cut.
    """
    words = (lecture.text or "").split()
    start, end = _tidy(times, lecture.duration, config.min_word)
    end = _extended(start, end, regions, config.max_word)
    stretches: list[SupervisionSegment] = []
    group: list[int] = []
    for w in [*range(len(words)), None]:
        spoken = w is not None and np.isfinite(start[w])
        if group and (not spoken or start[w] - end[group[-1]] >= config.min_pause):
            stretches.append(_stretch(lecture, words, group, start, end, times.score, len(stretches)))
            group = []
        if spoken:
            group.append(w)  # type: ignore[arg-type]
    return stretches


def onset_errors(stretches: Sequence[SupervisionSegment], truth: Sequence[tuple[float, float, str]]) -> list[float]:
    """Seconds by which the first token of each true stretch is off; infinite where it has no time.

    Args:
      stretches: of one lecture.
      truth: (start, end, spaced tokens) of each true stretch; together they spell the transcript.
    """
    starts: dict[int, float] = {}
    for stretch in stretches:
        first = int(stretch.custom["first_token"])  # type: ignore[index]
        for i, item in enumerate((stretch.alignment or {}).get("word", [])):
            starts[first + i] = item.start
    errors, index = [], 0
    for start, _, tokens in truth:
        errors.append(abs(starts.get(index, np.inf) - start))
        index += len(tokens.split())
    return errors


def _tidy(times: WordTimes, duration: float, min_word: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts and ends in order and inside the recording: a word ends where the next begins, at the latest."""
    start, end = times.start.copy(), times.end.copy()
    spoken = np.flatnonzero(np.isfinite(start))
    start[spoken] = np.clip(np.maximum.accumulate(start[spoken]), 0, duration - min_word)
    end[spoken] = np.clip(np.maximum(end[spoken], start[spoken] + min_word), 0, duration)
    inner, following = spoken[:-1], spoken[1:]
    end[inner] = np.minimum(end[inner], np.maximum(start[following], start[inner] + 1e-3))
    return start, end


def _extended(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], max_word: float
) -> NDArray[np.float64]:
    """CTC fires within a word: draw each word's end out to the next word's start or the end of its speech.

    Not beyond max_word seconds: with speech that has no text a word would last minutes.
    """
    end = end.copy()
    spoken = np.flatnonzero(np.isfinite(start))
    following = np.append(start[spoken[1:]], np.inf)
    region = np.searchsorted(regions[:, 0], end[spoken], side="right") - 1
    speech_end = np.where(region >= 0, regions[np.maximum(region, 0), 1], 0.0)
    end[spoken] = np.maximum(end[spoken], np.minimum(np.minimum(speech_end, following), start[spoken] + max_word))
    return end


def _stretch(
    lecture: SupervisionSegment,
    words: Sequence[str],
    group: Sequence[int],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    score: NDArray[np.float64],
    number: int,
) -> SupervisionSegment:
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
