"""What is wrong with recordings, supervisions, features and cuts by themselves and with each other, without their data.

It finds whatever Lhotse's own validation refuses (lhotse.qa), and more; all functions return findings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lhotse import Features, MonoCut, Recording, SupervisionSegment
from lhotse.array import TemporalArray
from lhotse.cut import Cut, MixedCut, PaddingCut
from lhotse.utils import compute_num_frames, overlaps

from lhotse_prep.workflow.findings import Finding

TOLERANCE = 0.025  # seconds by which a recording's duration may differ from its samples, or a word leave its sentence
_EDGE = 1e-3  # seconds by which a supervision may leave its recording, as for Lhotse
_AGAIN = "make the manifests again from the current audio"


class RecordingSpan(NamedTuple):
    """What supervisions and features are held against; of millions of recordings, this is kept."""

    id: str
    duration: float  # seconds
    sampling_rate: int
    channel_ids: Any

    @classmethod
    def of(cls, r: Recording) -> RecordingSpan:
        return cls(r.id, r.duration, r.sampling_rate, r.channel_ids)


def recording_faults(part: str, r: Recording) -> list[Finding]:
    """Faults of a recording's manifest: its duration, samples, rate and channels."""
    findings = _Findings("recording", r.id, part)
    if r.sampling_rate <= 0 or r.num_samples <= 0 or not r.duration > 0:
        values = f"{r.duration} s, {r.num_samples} samples at {r.sampling_rate} Hz"
        return findings.add("duration", f"it has {values}; all must be > 0", _AGAIN)
    seconds = r.num_samples / r.sampling_rate
    if not abs(seconds - r.duration) <= TOLERANCE:
        samples = f"{r.num_samples} samples at {r.sampling_rate} Hz, which are {seconds:.3f} s"
        findings.add("duration", f"its duration is {r.duration:.3f} s, but it has {samples}", _AGAIN)
    in_files = sorted(c for s in r.sources for c in s.channels)
    if not in_files or not channels_of(r.channel_ids):
        findings.add("channels", "it has no channel", _AGAIN)
    elif not r.transforms and in_files != sorted(set(channels_of(r.channel_ids))):
        message = f"its channels are {channels_of(r.channel_ids)}, but its sources have {in_files}"
        findings.add("channels", message, _AGAIN)
    return findings.items


def supervision_faults(part: str, s: SupervisionSegment, recording: Recording | RecordingSpan | None) -> list[Finding]:
    """Faults of a supervision: its span, channel and words, and the arrays in its custom fields.

    Args:
      recording: that it is of; None if it is not at hand, so nothing is held against it.
    """
    findings = _Findings("supervision", s.id, part)
    if not s.duration > 0:
        findings.add("duration", f"its duration is {s.duration} s; it must be > 0", _AGAIN)
    elif recording is not None and not -_EDGE <= s.start <= s.end <= recording.duration + _EDGE:
        span = f"spans {s.start:.3f}-{s.end:.3f} s, recording {recording.id} has {recording.duration:.3f} s"
        findings.add("outside", span, _AGAIN)
    elif recording is None and not s.start >= -_EDGE:
        findings.add("outside", f"starts at {s.start:.3f} s; no recording has that", _AGAIN)
    if recording is not None and not set(channels_of(s.channel)) <= set(channels_of(recording.channel_ids)):
        message = f"channel {s.channel}, but recording {recording.id} has {channels_of(recording.channel_ids)}"
        findings.add("channels", message, "correct its channel")
    findings.items += _word_faults(part, s, (0.0,), None)
    _add_array_faults(findings, s.custom)
    return findings.items


def features_faults(part: str, f: Features, recording: Recording | RecordingSpan | None = None) -> list[Finding]:
    """Faults of features: their sizes, which must agree, and their span in the recording."""
    findings = _Findings("features", str(f.recording_id), part)
    _add_features_faults(findings, f)
    if recording is not None:
        _add_faults_of_features_and_recording(findings, f, recording)
    return findings.items


def cut_faults(part: str, cut: Cut) -> list[Finding]:
    """Faults of a cut and its tracks: spans and channels of what is in it, and supervisions beyond it."""
    findings = _Findings("cut", cut.id, part)
    left: list[tuple[Cut, str]] = [(cut, "")]
    while left:
        item, where = left.pop()
        if isinstance(item, MixedCut):
            for number, track in enumerate(item.tracks):
                if not track.offset >= 0:
                    findings.add("offset", f"track {number} begins at {track.offset} s; it must be >= 0", "correct it")
                left.append((track.cut, f"track {number}: "))
            if not item.tracks:
                findings.add("empty-cut", "it has no tracks", "leave it out")
            continue
        if not (item.start >= 0 and item.duration > 0):
            message = f"{where}it starts at {item.start} s and is {item.duration} s long"
            findings.add("duration", f"{message}; they must be >= 0 and > 0", "make the cuts again")
        if not (item.has_features or item.has_recording):
            findings.add("empty-cut", f"{where}it has neither a recording nor features", "make the cuts again")
            continue
        if not item.sampling_rate > 0:
            findings.add("sampling-rate", f"{where}its rate is {item.sampling_rate} Hz", "make the cuts again")
        if not isinstance(item, PaddingCut):
            _add_data_cut_faults(findings, item, where)
    return findings.items


def features_set_faults(part: str, features: Iterable[Features]) -> list[Finding]:
    """A finding if features that are together have different types, sizes or rates."""
    kinds: Counter[tuple[str, int, int]] = Counter()
    first: dict[tuple[str, int, int], str] = {}  # {kind: recording of the first features of it}, in order
    for f in features:
        kind = f.type, f.num_features, f.sampling_rate
        kinds[kind] += 1
        first.setdefault(kind, str(f.recording_id))
    if len(kinds) < 2:
        return []
    (usual, _), *_ = kinds.most_common()
    odd = next(kind for kind in first if kind != usual)
    message = f"{odd[0]} of {odd[1]} at {odd[2]} Hz, others {usual[0]} of {usual[1]} at {usual[2]}"
    return [Finding("features", "features", first[odd], part, message, "compute all of them alike")]


def check_unique(kind: str, part: str, ids: Iterable[str]) -> list[Finding]:
    """One finding for each id that occurs more than once."""
    repeated = sorted(i for i, n in Counter(ids).items() if n > 1)
    return [
        Finding("duplicate-id", kind, i, part, f"its id occurs more than once in {part}", "ids must be unique")
        for i in repeated
    ]


def channels_of(channels: Any) -> list[int]:
    """The channels of a manifest, which are one number or a list."""
    return [] if channels is None else [channels] if isinstance(channels, int) else list(channels)


class _Findings:
    """Collects the faults of one thing."""

    def __init__(self, kind: str, name: str, part: str) -> None:
        self._of, self.items = (kind, name, part), list[Finding]()

    def add(self, check: str, message: str, remedy: str, is_error: bool = True) -> list[Finding]:
        self.items.append(Finding(check, *self._of, message, remedy, is_error))
        return self.items


def _word_faults(part: str, s: SupervisionSegment, offsets: Sequence[float], seconds: float | None) -> list[Finding]:
    """A finding if a word is not within its supervision.

    Args:
      offsets: what times of the supervision may count from, in the times of its words.
      seconds: duration of the recording; a word in it is only worth a warning. None: it is an error in any case.
    """
    for name, items in (s.alignment or {}).items():
        for item in items:
            fits = [
                s.start + x - TOLERANCE <= item.start and item.start + item.duration <= s.end + x + TOLERANCE
                for x in offsets
            ]
            if item.duration >= 0 and any(fits):
                continue
            start, end = s.start + offsets[0], s.end + offsets[0]
            span = f"{item.start:.3f}-{item.start + item.duration:.3f} s"
            message = f"its {name} {item.symbol!r} spans {span}, the supervision {start:.3f}-{end:.3f} s"
            is_inside = seconds is not None and 0 <= item.start <= item.start + item.duration <= seconds + TOLERANCE
            remedy = "align it again (stage 3)"
            return [Finding("word-outside", "supervision", s.id, part, message, remedy, is_error=not is_inside)]
    return []


def _add_features_faults(findings: _Findings, f: Features, where: str = "") -> None:
    if not (f.start >= 0 and f.duration > 0 and f.num_frames > 0 and f.num_features > 0 and f.sampling_rate > 0):
        sizes = f"{f.num_frames} frames of {f.num_features} in {f.duration} s from {f.start} s on"
        findings.add("features", f"{where}its features have {sizes}; all must be > 0", "compute them again")
        return
    hop = round(f.frame_shift * f.sampling_rate, ndigits=12)
    if not (f.frame_shift > 0 and math.isfinite(hop) and hop >= 1 and int(hop) == hop):
        message = (
            f"{where}the frame shift of its features is {f.frame_shift} s, {hop:g} samples at {f.sampling_rate} Hz"
        )
        findings.add("features", f"{message}; it must be a whole number of them", "compute them again")
        return
    num_frames = compute_num_frames(f.duration, f.frame_shift, f.sampling_rate)
    if num_frames != f.num_frames:
        message = (
            f"{where}its features have {f.num_frames} frames, but {f.duration} s of {f.frame_shift} s are {num_frames}"
        )
        findings.add("features", message, "compute them again")


def _add_faults_of_features_and_recording(
    findings: _Findings, f: Features, r: Recording | RecordingSpan, where: str = ""
) -> None:
    if f.recording_id is not None and f.recording_id != r.id:
        findings.add("features", f"{where}its features are of recording {f.recording_id}, not {r.id}", _AGAIN)
    if f.end > r.duration + TOLERANCE:
        message = f"{where}its features end at {f.end:.3f} s, recording {r.id} at {r.duration:.3f} s"
        findings.add("features", message, "compute them again")
    if f.channels is not None and not set(channels_of(f.channels)) <= set(channels_of(r.channel_ids)):
        message = f"{where}its features are of channel {f.channels}, recording {r.id} has {channels_of(r.channel_ids)}"
        findings.add("channels", message, "compute them again")
    if f.sampling_rate != r.sampling_rate:
        message = f"{where}its features are of {f.sampling_rate} Hz, recording {r.id} has {r.sampling_rate} Hz"
        findings.add("features", message, "compute them again")


def _add_data_cut_faults(findings: _Findings, cut: Any, where: str) -> None:
    """Add the faults of a MonoCut or MultiCut, whose recording and features may be absent."""
    again = "make the cuts again"
    part = findings._of[2]
    r, f = cut.recording, cut.features
    for owner in (x for x in (r, f) if x is not None):
        begin = 0.0 if owner is r else f.start
        end = r.duration if owner is r else f.end
        if not begin - TOLERANCE <= cut.start <= cut.start + cut.duration <= end + TOLERANCE:
            what = f"recording {r.id}" if owner is r else "its features"
            span = f"{where}it spans {cut.start:.3f}-{cut.start + cut.duration:.3f} s"
            findings.add("outside", f"{span}, {what} {begin:.3f}-{end:.3f} s", again)
    if r is not None:
        findings.items += recording_faults(part, r)
        if not set(channels_of(cut.channel)) <= set(channels_of(r.channel_ids)):
            channels = f"channel {cut.channel}, but recording {r.id} has {channels_of(r.channel_ids)}"
            findings.add("channels", where + channels, again)
    if f is not None:
        _add_features_faults(findings, f, where)
        if cut.channel != f.channels:
            findings.add("channels", f"{where}channel {cut.channel}, but its features have {f.channels}", again)
        if r is not None:
            _add_faults_of_features_and_recording(findings, f, r, where)
    for s in cut.supervisions:
        _add_faults_of_supervision_in_cut(findings, s, cut, where)
    _add_array_faults(findings, cut.custom, cut)


def _add_faults_of_supervision_in_cut(findings: _Findings, s: SupervisionSegment, cut: Any, where: str) -> None:
    """Add the faults of a supervision whose times count from the beginning of its cut, those of its words do not."""
    again, what = "make the cuts again", f"{where}supervision {s.id}"
    findings.items += supervision_faults(findings._of[2], _without_words(s, cut.start), None)
    seconds = cut.recording.duration if cut.recording is not None else math.inf
    findings.items += _word_faults(findings._of[2], s, (cut.start, 0.0), seconds)
    if isinstance(cut, MonoCut):
        if s.recording_id != cut.recording_id:
            message = f"{what} is of recording {s.recording_id}, the cut of {cut.recording_id}"
            findings.add("no-recording", message, again)
        if set(channels_of(s.channel)) != set(channels_of(cut.channel)):
            findings.add("channels", f"{what} has channel {s.channel}, the cut {cut.channel}", again)
    span = f"{what} spans {s.start:.3f}-{s.end:.3f} s of the cut, which has {cut.duration:.3f} s"
    if cut.recording is not None and s.end + cut.start > cut.recording.duration + TOLERANCE:
        findings.add("outside", f"{what} ends after recording {cut.recording.id}", again)
    elif s.start >= cut.duration or s.end <= 0:
        findings.add("outside", span, again)
    elif s.start < -TOLERANCE or s.end > cut.duration + TOLERANCE:
        findings.add("outside", span, "some of its text is not in the cut", is_error=False)


def _without_words(s: SupervisionSegment, offset: float) -> SupervisionSegment:
    """The supervision with its times counted from `offset` seconds earlier on, and without words."""
    return SupervisionSegment(
        s.id, s.recording_id, s.start + offset, s.duration, s.channel, text=s.text, custom=s.custom
    )


def _add_array_faults(findings: _Findings, custom: Mapping[str, Any] | None, cut: Any = None) -> None:
    """Add the faults of the arrays in custom fields, whose values nothing has checked before."""
    for name, value in (custom or {}).items():
        if not isinstance(value, TemporalArray):
            continue
        try:
            is_good = 0 <= value.temporal_dim < value.ndim and value.frame_shift > 0 and value.start >= 0
            is_beside = is_good and cut is not None and not overlaps(cut, value)
        except (TypeError, ValueError, LookupError, ArithmeticError):
            is_good = is_beside = False
        if not is_good:
            message = f"dimension {value.temporal_dim}, {value.frame_shift} s a frame, start {value.start}"
            findings.add("array", f"its array {name} has {message}", "store it again")
        elif is_beside:
            message = f"its array {name} spans {value.start:.3f}-{value.end:.3f} s, the cut begins at {cut.start:.3f} s"
            findings.add("array", message, "store it again")
