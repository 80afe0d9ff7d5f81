"""Cues of translated sentences, within the usual limits of length and time as far as the words' times allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.cue import Cue, TranslatedSentence
from ml2021.st.cues.cue_times import MAX_DELAY, end_times, room_for_cues, start_times
from ml2021.st.cues.split import Part, fits, joined, split_sentence
from ml2021.st.cues.widths import reading_time
from ml2021.st.cues.wrap import wrap

_EPSILON = 1e-6  # milliseconds; less than this is a rounding error


def make_cues(sentences: Sequence[TranslatedSentence], config: SubtitleConfig, duration: float = math.inf) -> list[Cue]:
    """Cues in order of time, which do not overlap and end with the audio; together they have every word once.

    A cue starts with its first word, or at most MAX_DELAY ms later if the cue before it would last less than
    min_duration. Where that is not enough, neighbours that fit into one cue are merged; otherwise cues are shortened.
    A long sentence becomes several cues. Only cues that would have less than 1 ms are merged beyond max_lines.

    Args:
      sentences: in any order.
      config: limits of a cue.
      duration: of the audio, in seconds.
    """
    ordered = sorted(sentences, key=lambda s: (s.start, s.end))
    parts = [part for s in ordered for part in split_sentence(s, config)]
    if not parts:
        return []
    end = max(1, math.floor(1000 * min(duration, parts[-1].end + 3600) + _EPSILON))
    needed = _time_with_gap(config)
    parts = _merge_short(parts, end, config)
    while min(room := room_for_cues(_earliest(parts, end), end, needed).tolist()) < 1:
        parts = _merge_crowded(parts, room)
    starts = start_times(_earliest(parts, end), room)
    stays = [max(config.min_duration, *(reading_time(t, config) for t in (p.source, p.target))) for p in parts]
    wanted = [max(round(1000 * p.end), s + round(1000 * stay)) for p, s, stay in zip(parts, starts, stays)]
    ends = end_times([*starts, end], wanted, config)
    return [
        Cue(start, stop, wrap(part.source, config), wrap(part.target, config))
        for part, start, stop in zip(parts, starts, ends, strict=True)
    ]


def _earliest(parts: Sequence[Part], end: int) -> list[int]:
    """When the first word of each part starts, in milliseconds, rounded up; before the end of the audio."""
    return [min(math.ceil(1000 * part.start - _EPSILON), end - 1) for part in parts]


def _time_with_gap(config: SubtitleConfig) -> int:
    """Milliseconds from the start of a cue that lasts min_duration to the start of the next."""
    return max(1, round(1000 * config.min_duration)) + round(1000 * config.min_gap)


def _merge_short(parts: Sequence[Part], end: int, config: SubtitleConfig) -> list[Part]:
    """Merge parts that would be shown for less than min_duration with the part after or before, if both fit."""
    needed = _time_with_gap(config)
    merged: list[Part] = []
    starts: list[int] = []  # when each merged part will be shown

    def has_room(latest_end: int) -> bool:
        return not merged or latest_end - starts[-1] >= needed

    def merge_back() -> None:
        if len(merged) > 1 and _can_merge(merged[-2], merged[-1], config):
            merged[-2:] = [joined(merged[-2], merged[-1])]
            starts.pop()

    for part, earliest in zip(parts, _earliest(parts, end), strict=True):
        if not has_room(earliest + MAX_DELAY):
            if _can_merge(merged[-1], part, config):
                merged[-1] = joined(merged[-1], part)
                continue
            merge_back()
        if starts:
            earliest = max(earliest, min(starts[-1] + needed, earliest + MAX_DELAY))
        merged.append(part)
        starts.append(earliest)
    if not has_room(end):
        merge_back()
    return merged


def _merge_crowded(parts: Sequence[Part], room: Sequence[int]) -> list[Part]:
    """Merge pairs of parts where a cue would have less than 1 ms, whatever their length."""
    merged: list[Part] = []
    i = 0
    while i < len(parts):
        last_is_crowded = i + 2 == len(parts) and room[i + 1] < 1
        if i + 1 < len(parts) and (room[i] < 1 or last_is_crowded):
            merged.append(joined(parts[i], parts[i + 1]))
            i += 2
        else:
            merged.append(parts[i])
            i += 1
    return merged


def _can_merge(a: Part, b: Part, config: SubtitleConfig) -> bool:
    """Whether two parts fit into one cue, and the pause between them is shorter than min_duration."""
    return b.start - a.end < config.min_duration and fits(joined(a, b), config)
