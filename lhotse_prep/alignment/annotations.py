"""Times as annotation tiers for phoneticians' programs: Praat's TextGrid and ELAN's EAF, by pympi-ling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pympi.Elan import Eaf, to_string
from pympi.Praat import TextGrid

from lhotse_prep.workflow.files import whole_file

UTTERANCES, WORDS, CONFIDENCE = "utterances", "words", "confidence"  # names of tiers
_NO_DATE = "1970-01-01T00:00:00+00:00"  # EAF asks for one; the same times give the same bytes
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MEDIA_TYPES = {".wav": "audio/x-wav", ".mp4": "video/mp4", ".mov": "video/quicktime", ".mp3": "audio/mpeg"}


class Interval(NamedTuple):
    """A labelled stretch of time in seconds."""

    start: float
    end: float
    label: str


def write_textgrid(path: Path, tiers: Mapping[str, Iterable[Interval]], duration: float) -> None:
    """Write interval tiers as Praat's long text format, in UTF-8.

    Args:
      path: a file NAME.TextGrid.
      tiers: the intervals of each tier, in any order; see `without_overlaps`.
      duration: of the recording, in seconds; Praat fills the gaps up to it with empty intervals.
    """
    intervals = {name: without_overlaps(tier, duration) for name, tier in tiers.items()}
    grid = TextGrid(xmax=round(duration, 3))
    for name, tier in intervals.items():
        written = grid.add_tier(name)
        for start, end, label in tier:
            written.add_interval(start, end, _one_line(label), check=False)  # its check takes quadratic time
    with whole_file(path) as f:
        grid.to_file(f.name)


def write_eaf(path: Path, tiers: Mapping[str, Iterable[Interval]], duration: float, media: Path | None = None) -> None:
    """Write tiers as ELAN's annotation format.

    Args:
      path: a file NAME.eaf.
      tiers: the intervals of each tier, in any order; see `without_overlaps`.
      duration: of the recording, in seconds.
      media: the recording; the file names it by its absolute path, so that ELAN opens both.
    """
    document = Eaf(author="ml2021")
    document.adocument["DATE"] = _NO_DATE
    if media is not None:
        absolute = media.resolve()
        kind = _MEDIA_TYPES.get(media.suffix.lower(), f"audio/{media.suffix.lower().lstrip('.') or 'x-wav'}")
        document.add_linked_file(absolute.as_uri(), mimetype=kind)
    for name, tier in tiers.items():
        document.add_tier(name)
        for start, end, label in without_overlaps(tier, duration):
            document.add_annotation(name, round(1000 * start), round(1000 * end), _NOT_XML.sub("\ufffd", label))
    document.remove_tier("default")
    with whole_file(path) as f:
        f.write('<?xml version="1.0" encoding="UTF-8"?>\n' + to_string(document))


def without_overlaps(tier: Iterable[Interval], duration: float) -> list[Interval]:
    """The intervals of a tier as both programs want them: whole milliseconds, ordered, disjoint, within the recording.

    Where two overlap, the first ends where the second begins. An interval without length becomes one millisecond long,
    at the expense of its neighbours, so that none is lost; only where the whole tier has no room is one dropped.
    """
    ordered = sorted(tier, key=lambda x: (x.start, x.end))
    last = round(1000 * duration)
    starts = [min(max(0, round(1000 * x.start)), last) for x in ordered]
    for i in range(1, len(ordered)):
        starts[i] = max(starts[i], starts[i - 1] + 1)
    room = last
    for i in reversed(range(len(ordered))):
        starts[i] = min(starts[i], room - 1)
        room = starts[i]
    ends = [min(max(round(1000 * x.end), s + 1), n) for x, s, n in zip(ordered, starts, [*starts[1:], last])]
    return [Interval(s / 1000, e / 1000, x.label) for x, s, e in zip(ordered, starts, ends) if s >= 0]


def tiers_of(
    utterances: Sequence[Interval], words: Sequence[Interval], scores: Sequence[float]
) -> dict[str, list[Interval]]:
    """Tiers of utterances, of words and of the words' confidences (two decimals), in this order."""
    confidence = [Interval(w.start, w.end, f"{score:.2f}") for w, score in zip(words, scores)]
    return {UTTERANCES: list(utterances), WORDS: list(words), CONFIDENCE: confidence}


def _one_line(label: str) -> str:
    return " ".join(label.split())
