"""Checks of recordings, texts and parts, one function a thing that can be wrong; all give findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError, AudioReport, inspect_audio
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.text.normalize import is_han, normalize_transcript, num_characters
from lhotse_prep.workflow.findings import Finding

TOLERANCE = 0.025  # seconds that a supervision may reach past its recording
_MANY_HAN = 0.5  # part of a text's letters, above which it is Chinese


@dataclass(frozen=True)
class AudioJob:
    """A recording to be read to its end."""

    id: str
    part: str
    path: Path
    limits: CheckConfig
    num_samples: int | None = None  # what a manifest says


def inspect(job: AudioJob) -> AudioReport | Finding:
    """Read a recording; this runs in a worker."""

    def finding(check: str, message: str, remedy: str) -> Finding:
        return Finding(check, "recording", job.id, job.part, message, remedy)

    if not job.path.is_file():
        return finding("no-file", f"no file {job.path}", "restore it or make the manifests again")
    try:
        report = inspect_audio(job.path, job.limits)
    except AudioError as e:
        return finding(e.check, e.message, e.remedy)
    if report.sampling_rate != SAMPLE_RATE:
        return finding("sampling-rate", f"{report.sampling_rate} Hz, expected {SAMPLE_RATE}", "run stage 0")
    if job.num_samples is not None and report.num_samples != job.num_samples:
        return finding(
            "cut-short",
            f"{job.path} has {report.num_samples} samples, its header or manifest says {job.num_samples}",
            "it was cut short or replaced: restore it or make the manifests again",
        )
    return report


def check_clipping(name: str, part: str, report: AudioReport, limits: CheckConfig) -> list[Finding]:
    """A warning where too much lies flat at full scale."""
    if report.clipped <= limits.max_clipped:
        return []
    message = f"{report.clipped:.2%} of its samples are clipped, limit {limits.max_clipped:.2%}"
    remedy = "record with a lower gain, or take it as it is"
    return [Finding("clipped", "recording", name, part, message, remedy, is_error=False)]


def check_text(name: str, part: str, text: str, translation: str, seconds: float, limits: CheckConfig) -> list[Finding]:
    """Empty, too much or too little for the audio, swapped with the translation or the same as it.

    Args:
      name: of the supervision.
      part: train, dev or test.
      text: the transcript, normalised or not.
      translation: may be empty.
      seconds: that the text is spoken in.
      limits: characters a second.
    """

    def finding(check: str, message: str, remedy: str) -> Finding:
        return Finding(check, "supervision", name, part, message, remedy)

    if not normalize_transcript(text):
        what = "its text is empty, or punctuation alone"
        return [finding("empty-text", what, "give it its transcript, or put the recording under decode in splits.yaml")]
    findings = []
    rate = num_characters(text) / seconds if seconds > 0 else float("inf")
    if rate > limits.max_characters_per_second:
        message = f"{rate:.1f} characters a second, limit {limits.max_characters_per_second:g} ({num_characters(text)} "
        remedy = "is this the text of another recording, or was the audio cut short?"
        findings.append(finding("text-too-long", f"{message}characters in {seconds:.2f} s)", remedy))
    elif seconds > limits.rate_seconds and rate < limits.min_characters_per_second:
        message = f"{rate:.2f} characters a second, limit {limits.min_characters_per_second:g} ({num_characters(text)} "
        remedy = "is its text complete?"
        findings.append(finding("text-too-short", f"{message}characters in {seconds:.2f} s)", remedy))
    if _han_part(translation) > _MANY_HAN and _han_part(text) < 1 - _MANY_HAN:
        message = (
            f"{_han_part(translation):.0%} of its translation is Chinese and {_han_part(text):.0%} of its transcript"
        )
        findings.append(finding("swapped", message, "transcript and translation are swapped: exchange them"))
    elif _han_part(text) > 0 and normalize_transcript(text) == normalize_transcript(translation):
        findings.append(finding("same-text", "its translation is its transcript", "give it its English translation"))
    return findings


def check_overlap(digests: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Recordings with the same samples in two parts; what is for scoring stays, so training, then test, loses it.

    Args:
      digests: {part: {recording: digest of its samples}}.
    """
    findings = []
    for part, others in (("train", ("dev", "test")), ("test", ("dev",))):
        for other in others:
            theirs = {digest: name for name, digest in digests.get(other, {}).items()}
            findings += [
                Finding(
                    "overlap",
                    "recording",
                    name,
                    part,
                    f"its samples are those of {theirs[digest]} in {other}",
                    f"take it out of {part}: parts must not share audio",
                )
                for name, digest in digests.get(part, {}).items()
                if digest in theirs
            ]
    return findings


def check_same_audio(part: str, digests: Mapping[str, str]) -> list[Finding]:
    """A warning for each recording with the samples of an earlier one of its part."""
    first: dict[str, str] = {}
    findings = []
    for name, digest in digests.items():
        if first.setdefault(digest, name) != name:
            message = f"its samples are those of {first[digest]}"
            findings.append(Finding("same-audio", "recording", name, part, message, "keep one", is_error=False))
    return findings


def check_unique(kind: str, part: str, ids: Iterable[str]) -> list[Finding]:
    """One finding that lists ids that occur more than once."""
    repeated = sorted(i for i, n in Counter(ids).items() if n > 1)
    return [
        Finding("duplicate-id", kind, i, part, f"its id occurs more than once in {part}", "ids must be unique")
        for i in repeated
    ]


def check_span(name: str, part: str, start: float, end: float, recording: str, seconds: float) -> list[Finding]:
    """A supervision that is not within its recording."""
    if start >= 0 and start < end <= seconds + TOLERANCE:
        return []
    message = f"spans {start:.3f}-{end:.3f} s, recording {recording} has {seconds:.3f} s"
    remedy = "make the manifests again from the audio that is there"
    return [Finding("outside", "supervision", name, part, message, remedy)]


def _han_part(text: str) -> float:
    """Han characters among the letters of a text."""
    letters = [c for c in text if c.isalpha()]
    return sum(map(is_han, letters)) / len(letters) if letters else 0.0
