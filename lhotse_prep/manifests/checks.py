"""Checks of audio, and of texts against their audio, one function for each kind of fault; all return findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import soundfile as sf

from lhotse_prep.audio.gate import inspect_audio
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError, AudioReport
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.manifests.texts import check_pair
from lhotse_prep.text.normalize import normalize_transcript, num_characters
from lhotse_prep.workflow.findings import Finding

TOLERANCE = 0.025  # seconds; a supervision may end this much after its recording


@dataclass(frozen=True)
class AudioJob:
    """A file of a recording, whose samples are all to be read; what its manifest says, if there is one."""

    id: str
    part: str
    path: Path
    limits: CheckConfig
    num_samples: int | None = None
    sampling_rate: int | None = None
    channels: tuple[int, ...] = ()  # of the file that the recording has


def inspect(job: AudioJob) -> AudioReport | Finding:
    """Read a recording to its end; returns what it holds, or what is wrong with it. It runs in a worker process."""

    def finding(check: str, message: str, remedy: str) -> Finding:
        return Finding(check, "recording", job.id, job.part, message, remedy)

    if not job.path.is_file():
        return finding("no-file", f"no file {job.path}", "restore it or make the manifests again")
    try:
        report = inspect_audio(job.path, job.limits)
    except AudioError as e:
        return finding(e.check, e.message, e.remedy)
    if job.sampling_rate not in (None, report.sampling_rate):
        message = f"{job.path} has {report.sampling_rate} Hz, its manifest says {job.sampling_rate}"
        return finding("sampling-rate", message, "make the manifests again from the current audio")
    num_channels = _num_channels(job.path) if job.channels else None
    if num_channels is not None and not 0 <= min(job.channels) <= max(job.channels) < num_channels:
        message = f"{job.path} has {num_channels} channels, its manifest has channel {max(job.channels)} (from 0 on)"
        return finding("channels", message, "make the manifests again from the current audio")
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
    """A warning if the share of clipped samples is above the limit."""
    if report.clipped <= limits.max_clipped:
        return []
    message = f"{report.clipped:.2%} of its samples are clipped, limit {limits.max_clipped:.2%}"
    remedy = "record with a lower gain, or use it as it is"
    return [Finding("clipped", "recording", name, part, message, remedy, is_error=False)]


def check_text(name: str, part: str, text: str, translation: str, seconds: float, limits: CheckConfig) -> list[Finding]:
    """Faults of a text: empty, too long or too short for its audio, and those of check_pair.

    Args:
      name: id of the supervision.
      part: train, dev or test.
      text: the transcript, normalised or not.
      translation: may be empty.
      seconds: duration of the speech.
      limits: of characters per second.
    """

    def finding(check: str, message: str, remedy: str) -> Finding:
        return Finding(check, "supervision", name, part, message, remedy)

    if not normalize_transcript(text):
        remedy = "give it its transcript, or put the recording under decode in splits.yaml"
        return [finding("empty-text", "its text is empty, or punctuation alone", remedy)]
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
    return findings + check_pair(name, part, text, translation)


def check_overlap(digests: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Recordings whose samples are in two parts: one in dev must leave train and test, one in test must leave train.

    Args:
      digests: {part: {recording: digest of its samples}}.
    """
    findings = []
    for part, others in (("train", ("dev", "test")), ("test", ("dev",))):
        for other in others:
            names = {digest: name for name, digest in digests.get(other, {}).items()}
            findings += [
                Finding(
                    "overlap",
                    "recording",
                    name,
                    part,
                    f"its samples are those of {names[digest]} in {other}",
                    f"take it out of {part}: parts must not share audio",
                )
                for name, digest in digests.get(part, {}).items()
                if digest in names
            ]
    return findings


def check_same_audio(part: str, digests: Mapping[str, str]) -> list[Finding]:
    """A warning for each recording with the same samples as an earlier one of its part."""
    first: dict[str, str] = {}  # {digest: first recording that has it}
    findings = []
    for name, digest in digests.items():
        if first.setdefault(digest, name) != name:
            message = f"its samples are those of {first[digest]}"
            findings.append(Finding("same-audio", "recording", name, part, message, "keep one", is_error=False))
    return findings


def _num_channels(path: Path) -> int | None:
    """The channels of a file; None if only FFmpeg can read it."""
    try:
        return int(sf.info(str(path)).channels)
    except (sf.LibsndfileError, TypeError):
        return None
