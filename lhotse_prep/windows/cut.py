"""Cuts a lecture into windows: at pauses between timed supervisions."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.windows.config import WindowConfig

_MIN_AUDIO = 0.04  # seconds; four frames of features


def make_windows(
    recording: Recording, supervisions: Sequence[SupervisionSegment], config: WindowConfig, for_training: bool
) -> tuple[CutSet, list[SupervisionSegment]]:
    """Cut one lecture at pauses.

    Args:
      recording: the lecture.
      supervisions: its stretches, in order and without overlaps.
      config: sizes and thresholds.
      for_training: leave out supervisions below min_confidence and windows below min_duration. Windows shorter than
        four frames are always left out.
    Returns:
      The cuts, and the supervisions that were left out. Every other supervision is whole in exactly one cut; a
      supervision too long for a window is split first.
    """
    parts = [p for s in supervisions for p in split_long(s, config.max_duration - 2 * config.padding)]
    groups, left_out = _group(parts, recording.duration, config, for_training)
    cuts = []
    for index, (group, begin, end) in enumerate(groups):
        first = int(begin * recording.sampling_rate)
        num_samples = min(recording.num_samples, -int(-end * recording.sampling_rate // 1)) - first
        start = first / recording.sampling_rate
        cuts.append(
            MonoCut(
                id=f"{recording.id}-{index:04d}",
                start=start,
                duration=num_samples / recording.sampling_rate,
                channel=0,
                recording=recording,
                supervisions=[s.with_offset(-start) for s in group],
            )
        )
    return CutSet.from_cuts(cuts), left_out


def split_long(supervision: SupervisionSegment, max_duration: float) -> list[SupervisionSegment]:
    """Split a supervision at its widest gap between words until each part is at most max_duration seconds long.

    Parts get the ids ...a and ...b; a supervision with fewer than two timed words stays whole.
    """
    items = (supervision.alignment or {}).get("word", [])
    if supervision.duration <= max_duration or len(items) < 2:
        return [supervision]
    cut = max(
        range(1, len(items)), key=lambda i: (round(items[i].start - items[i - 1].end, 3), -abs(2 * i - len(items)))
    )
    first_token = int((supervision.custom or {}).get("first_token", 0))
    parts = []
    for name, group, offset in (("a", items[:cut], 0), ("b", items[cut:], cut)):
        custom = dict(supervision.custom or {}) | {"first_token": first_token + offset}
        scores = [x.score for x in group if x.score is not None]
        if scores:
            custom["confidence"] = round(sum(scores) / len(scores), 4)
        part = SupervisionSegment(
            id=supervision.id + name,
            recording_id=supervision.recording_id,
            start=group[0].start,
            duration=round(group[-1].end - group[0].start, 4),
            channel=supervision.channel,
            language=supervision.language,
            text=" ".join(x.symbol for x in group),
            alignment={"word": list(group)},
            custom=custom,
        )
        parts += split_long(part, max_duration)
    return parts


_Group = tuple[list[SupervisionSegment], float, float]  # supervisions; begin and end of their window, seconds


def _group(
    supervisions: Sequence[SupervisionSegment], recording_duration: float, config: WindowConfig, for_training: bool
) -> tuple[list[_Group], list[SupervisionSegment]]:
    """Join neighbours up to target_duration, but never across untimed words, left-out supervisions or a long gap.

    Returns:
      The groups, and the supervisions that were left out.
    """
    groups: list[list[int]] = []
    dropped: set[int] = set()
    for i, s in enumerate(supervisions):
        if for_training and float((s.custom or {}).get("confidence", 1.0)) < config.min_confidence:
            dropped.add(i)
            continue
        if groups and groups[-1][-1] == i - 1 and _may_join(supervisions, groups[-1], s, config):
            groups[-1].append(i)
        else:
            groups.append([i])
    windows: list[_Group] = []
    for group in groups:
        first, last = supervisions[group[0]], supervisions[group[-1]]
        before = _middle(supervisions[group[0] - 1], first) if group[0] > 0 else 0.0
        after = _middle(last, supervisions[group[-1] + 1]) if group[-1] + 1 < len(supervisions) else float("inf")
        # rounded times of neighbours may overlap by 0.1 ms, but a supervision must not begin before its cut
        padding = min(config.padding, max(0.0, (config.max_duration - (last.end - first.start)) / 2))
        begin = max(0.0, min(first.start, max(before, first.start - padding)))
        end = min(recording_duration, max(last.end, min(after, last.end + padding)))
        if end - begin < (config.min_duration if for_training else _MIN_AUDIO):
            dropped.update(group)
        else:
            windows.append(([supervisions[i] for i in group], begin, end))
    return windows, [supervisions[i] for i in sorted(dropped)]


def _may_join(
    supervisions: Sequence[SupervisionSegment], group: Sequence[int], s: SupervisionSegment, config: WindowConfig
) -> bool:
    """Whether a supervision may join the group of those before it (indices)."""
    last = supervisions[group[-1]]
    next_token = int((last.custom or {}).get("first_token", 0)) + len((last.text or "").split())
    if int((s.custom or {}).get("first_token", next_token)) != next_token or s.start - last.end > config.max_gap:
        return False
    return bool(s.end - supervisions[group[0]].start + 2 * config.padding <= config.target_duration)


def _middle(a: SupervisionSegment, b: SupervisionSegment) -> float:
    """The middle of the pause between two supervisions, in seconds."""
    return float((a.end + b.start) / 2)
