"""Which cues break which limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import Any

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.cue import Cue
from ml2021.st.cues.widths import num_wide, width


@dataclass(frozen=True)
class BrokenLimit:
    """A cue (counted from 1) and the limit, a key of the configuration, that its value is beyond."""

    cue: int
    start: float  # seconds
    key: str
    value: float
    limit: float


def broken_limits(cues: Sequence[Cue], config: SubtitleConfig) -> list[BrokenLimit]:
    """All limits that cues break, in order of the cues; each key at most once a cue, with its worst value.

    Lines and speeds of a text with a wide (CJK) character are counted in wide characters (max_cjk, cjk_reading_speed),
    those of another in Latin ones (max_latin, max_reading_speed); a Latin character is max_cjk / max_latin of a wide
    one in a line, and cjk_reading_speed / max_reading_speed of one to read.
    """
    broken = []
    for number, (cue, following) in enumerate(pairwise([*cues, None]), 1):
        assert cue is not None
        for key, value in _worst_values(cue, following, config).items():
            limit = float(getattr(config, key))
            is_broken = value < limit - 1e-6 if key.startswith("min_") else value > limit + 1e-6
            if is_broken:
                broken.append(BrokenLimit(number, cue.start / 1000, key, round(value, 3), limit))
    return broken


def report(tracks: Mapping[str, Sequence[Cue]], config: SubtitleConfig) -> dict[str, Any]:
    """What NAME.subtitles.json has: the limits, and of each file the number of cues and of those that break a limit.

    Args:
      tracks: {file name without its suffix: its cues}.
      config: the limits.
    """
    files = {}
    for name, cues in tracks.items():
        broken = broken_limits(cues, config)
        files[name] = {
            "cues": len(cues),
            "cues_beyond_a_limit": len({b.cue for b in broken}),
            "counts": dict(sorted(Counter(b.key for b in broken).items())),
            "broken": [asdict(b) for b in broken],
        }
    return {"limits": asdict(config), "files": files}


def _worst_values(cue: Cue, following: Cue | None, config: SubtitleConfig) -> dict[str, float]:
    """{key of the configuration: the cue's value}; of keys that hold for each language, the worse one."""
    seconds = (cue.end - cue.start) / 1000
    values: dict[str, float] = {"min_duration": seconds, "max_duration": seconds}
    if following is not None:
        values["min_gap"] = (following.start - cue.end) / 1000
    for lines in (cue.source_lines, cue.target_lines):
        for line in lines:
            widest = width(line, config)
            key, value = (
                ("max_cjk", widest * config.max_cjk / config.max_latin) if num_wide(line) else ("max_latin", widest)
            )
            values[key] = max(values.get(key, 0.0), value)
        values["max_lines"] = max(values.get("max_lines", 0.0), len(lines))
        text = "".join(chain.from_iterable(lines))
        wide, narrow = num_wide(text), len(text) - num_wide(text)
        key, speed = ("max_reading_speed", narrow / seconds)
        if wide:
            key, speed = (
                "cjk_reading_speed",
                (wide + narrow * config.cjk_reading_speed / config.max_reading_speed) / seconds,
            )
        values[key] = max(values.get(key, 0.0), speed)
    return values
