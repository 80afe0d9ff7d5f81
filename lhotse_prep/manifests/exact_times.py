"""Times known without alignment: of utterances that a lecture was joined from, and of single-utterance recordings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse import SupervisionSegment, SupervisionSet
from lhotse.utils import fastcopy

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import open_part, part_file
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import normalize_transcript, normalize_translation
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)


def make_segments(lecture: SupervisionSegment, segments: Sequence[Mapping[str, Any]]) -> list[SupervisionSegment]:
    """Supervisions of a lecture's utterances; none, with a warning, if their texts joined are not its transcript.

    Args:
      lecture: the supervision of the whole lecture.
      segments: its utterances in order, each with "id", "begin" and "end" (samples), "text", "translation", "in_dev".
    """
    words = (lecture.text or "").split()
    num_tokens = [len(normalize_transcript(s["text"]).split()) for s in segments]
    spoken = normalize_transcript(" ".join(s["text"] for s in segments)).split()
    if len(spoken) != sum(num_tokens) or not _agree(spoken, words):
        logger.warning(
            "lecture %s: its %d utterances have %d tokens, its transcript %d, or they differ; it will be aligned",
            lecture.id,
            len(segments),
            len(spoken),
            len(words),
        )
        return []
    supervisions: list[SupervisionSegment] = []
    first = 0
    for segment, length in zip(segments, num_tokens):
        if not length:
            continue
        custom: dict[str, Any] = {"first_token": first, "confidence": 1.0, "utterance": segment["id"]}
        if translation := normalize_translation(segment["translation"]):
            custom["translated_text"] = {"eng": translation}
        if segment["in_dev"]:
            custom["in_dev"] = True
        supervisions.append(
            SupervisionSegment(
                id=f"{lecture.id}-{len(supervisions):05d}",
                recording_id=lecture.recording_id,
                start=segment["begin"] / SAMPLE_RATE,
                duration=(segment["end"] - segment["begin"]) / SAMPLE_RATE,
                channel=0,
                language=lecture.language,
                text=" ".join(words[first : first + length]),
                custom=custom,
            )
        )
        first += length
    return supervisions


def as_segment(utterance: SupervisionSegment) -> SupervisionSegment:
    """The supervision of an utterance's recording in the form of stage 3: one stretch with all its tokens."""
    return fastcopy(utterance, custom=(utterance.custom or {}) | {"first_token": 0, "confidence": 1.0})


def read_exact_times(manifests: Path, part: str) -> dict[str, list[SupervisionSegment]]:
    """{recording: its supervisions with exact times} of one part, from stage 1's folder; may be empty."""
    segments: dict[str, list[SupervisionSegment]] = {}
    for s in open_exact_times(manifests, part):
        segments.setdefault(s.recording_id, []).append(s)
    return segments


def open_exact_times(manifests: Path, part: str) -> SupervisionSet:
    """All that read_exact_times reads, in the order of the file, lazily."""
    if part_file(manifests, "segments", part).is_file():
        return open_part(manifests, "segments", part, SupervisionSet)
    return SupervisionSet.from_segments([])


def first_token(supervision: SupervisionSegment) -> int:
    """The position of a supervision's first token in the transcript of its lecture.

    Raises:
      DataError: it does not say.
    """
    position = (supervision.custom or {}).get("first_token")
    if position is None:
        raise DataError(
            f"supervision {supervision.id} does not say where it is in its lecture (custom field first_token): it is "
            "not of stage 1 or 3; run that stage again"
        )
    return int(position)


def exact_times_report(recording: str, segments: Sequence[SupervisionSegment]) -> dict[str, Any]:
    """The confidence report of a recording with exact times, as a row of lhotse_prep.alignment.confidence."""
    num_words = sum(len((s.text or "").split()) for s in segments)
    counts = {"words": num_words, "timed": num_words, "timed_part": 1.0, "score_mean": 1.0}
    return {"id": recording, **counts, "untimed_runs": [], "exact": True}


def _agree(spoken: Sequence[str], words: Sequence[str]) -> bool:
    """True if the tokens are the same; Han characters may differ, since the transcript's script may be converted."""
    return len(spoken) == len(words) and all(a == b or (is_han(a) and is_han(b)) for a, b in zip(spoken, words))
