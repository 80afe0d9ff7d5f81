"""Which windows are kept: cuts of labels, and the reason for which a cut is left out."""

from __future__ import annotations

from typing import Any

from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.special_tokens import UNK
from ml2021.asr.pseudo_labels.config import SelectConfig
from ml2021.asr.pseudo_labels.recognise import Label
from ml2021.scoring.counts import mer_tokens, score
from ml2021.scoring.normalizers import unify_script


def disagreement(first: str, second: str) -> float:
    """Edits between two texts in one script, relative to the tokens of the first (1 if that is empty)."""
    total = score([("window", unify_script(first), unify_script(second))]).total
    return total.errors / max(1, total.num_ref)


def cut_of(recording: Recording, number: int, label: Label) -> MonoCut:
    """A window as a cut with one supervision, which has word times as those of stage 4, and in `custom` the figures."""
    begin, end = label.window
    duration = (end - begin) / SAMPLE_RATE
    items = [
        AlignmentItem(w.text, round(w.start, 4), round(w.end - w.start, 4), round(w.score, 4)) for w in label.words
    ]
    start, stop = (items[0].start, items[-1].end) if items else (0.0, duration)
    name = f"{recording.id}-{number:04d}"
    supervision = SupervisionSegment(
        id=name,
        recording_id=recording.id,
        start=start,
        duration=round(stop - start, 4),
        text=label.text,
        alignment={"word": items},
        custom={
            "pseudo_label": True,
            "confidence": round(label.confidence, 4),
            "disagreement": round(disagreement(label.text, label.second_text), 4),
            "second_text": label.second_text,
            "is_between_pauses": label.is_between_pauses,
        },
    )
    return MonoCut(name, begin / SAMPLE_RATE, duration, 0, supervisions=[supervision], recording=recording)


def reason_of(cut: MonoCut, config: SelectConfig) -> str | None:
    """Why a cut of cut_of is left out, the first reason of this order; None: it is kept.

    empty: no words; no-pause: an end of the window is within speech; unknown: a word that the tokens cannot write;
    rate: too few or too many tokens a second; confidence; disagreement.
    """
    (supervision,) = cut.supervisions
    text, figures = supervision.text or "", supervision.custom or {}
    num_tokens = len(mer_tokens(unify_script(text)))
    if not num_tokens:
        return "empty"
    if not figures["is_between_pauses"]:
        return "no-pause"
    if UNK in text.split():
        return "unknown"
    if not config.min_rate <= num_tokens / cut.duration <= config.max_rate:
        return "rate"
    if figures["confidence"] < config.min_confidence:
        return "confidence"
    return "disagreement" if figures["disagreement"] > config.max_disagreement else None


def left_out_row(cut: MonoCut, reason: str) -> dict[str, Any]:
    """The line of a cut in left_out.jsonl."""
    (supervision,) = cut.supervisions
    figures = supervision.custom or {}
    return {
        "id": cut.id,
        "recording": cut.recording_id,
        "start": cut.start,
        "duration": cut.duration,
        "reason": reason,
        "confidence": figures["confidence"],
        "disagreement": figures["disagreement"],
        "text": supervision.text,
        "second_text": figures["second_text"],
    }
