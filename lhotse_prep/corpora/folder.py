"""A user's folder of lectures to a source folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.corpora.lecture_files import LectureFiles
from lhotse_prep.corpora.plan import plan_folder
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import add_lecture
from lhotse_prep.corpora.source.splits import ALL_PARTS, DECODE, TEXT_ONLY, write_splits
from lhotse_prep.corpora.source.texts import TextError, check_same_texts, read_plain_text, text_digest
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One lecture to copy or convert."""

    files: LectureFiles
    source_dir: Path
    name: str
    part: str
    limits: CheckConfig


def import_folder(
    folder: Path, source_dir: Path, limits: CheckConfig | None = None, executor: Executor | None = None
) -> None:
    """Copy the lectures of a folder; recordings that are not 16 kHz mono WAV or FLAC are converted.

    Args:
      folder: the lectures, and maybe splits.yaml.
      source_dir: where to write.
      limits: of good audio; the defaults if None.
      executor: where recordings are read and converted; this process if None.
    Raises:
      DataError: as plan_folder; a recording or a text that cannot be used, unless limits.skip_bad.
    """
    limits = limits or CheckConfig()
    lectures, splits = plan_folder(folder)
    jobs = [_Job(lectures[name], source_dir, name, part, limits) for part in ALL_PARTS for name in splits[part]]
    findings = list(_check_texts(jobs))  # before any conversion, which can take hours
    settle(findings, len(jobs), limits.policy(), source_dir)
    findings = [f for f in findings if f.is_error]
    unreadable = {f.id for f in findings}
    source_dir.mkdir(parents=True, exist_ok=True)
    good = [job for job in jobs if job.name not in unreadable]
    findings += [f for f in (executor or SerialExecutor()).map(_import_lecture, good, "lectures") if f]
    bad = settle(findings, len(jobs), limits.policy(), source_dir)
    splits = {part: [n for n in names if (part, n) not in bad] for part, names in splits.items()}
    write_splits(source_dir, splits)
    logger.info("%s: %s", folder, ", ".join(f"{part} {len(names)}" for part, names in splits.items()))


def _check_texts(jobs: list[_Job]) -> Iterator[Finding]:
    """Errors of texts that cannot be read, and warnings about texts that two lectures share."""
    digests = []
    for job in jobs:
        try:
            transcript, translation = _texts(job)
        except TextError as e:
            yield Finding("not-plain", "lecture", job.name, job.part, e.message, e.remedy)
            continue
        if job.part == TEXT_ONLY and not transcript.strip():
            message, remedy = f"its transcript {job.files.transcript} is empty", "write it, or take it out"
            yield Finding("empty-text", "lecture", job.name, job.part, message, remedy)
        digests.append((job.part, job.name, text_digest(transcript), text_digest(translation)))
    yield from check_same_texts(digests)


def _texts(job: _Job) -> tuple[str, str]:
    """The transcript and the translation of a lecture; empty if there is none, and in the part decode."""
    if job.part == DECODE:
        return "", ""
    transcript, translation = (
        read_plain_text(path) if path else "" for path in (job.files.transcript, job.files.translation)
    )
    return transcript, translation


def _import_lecture(job: _Job) -> Finding | None:
    """Copy or convert one lecture; returns an error in its recording as a finding."""
    transcript, translation = _texts(job)
    audio = None if job.part == TEXT_ONLY else job.files.recording
    try:
        add_lecture(job.source_dir, job.name, audio, transcript, translation, job.limits)
    except AudioError as e:
        return Finding(e.check, "lecture", job.name, job.part, e.message, e.remedy)
    return None
