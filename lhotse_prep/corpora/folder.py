"""A user's folder of lectures to a source folder.

A lecture is NAME.{wav,flac,mp3,m4a,mp4} with NAME.txt and NAME.en.txt. Without a recording it is text-only, for
sentence pairs and language models; without a translation it is for the recogniser only; without texts it is only
decoded. An optional splits.yaml assigns lectures to parts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.audio.convert import SUFFIXES
from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import add_lecture, find_audio
from lhotse_prep.corpora.source.splits import (
    ALL_PARTS,
    DECODE,
    PARTS,
    SPLITS,
    TEXT_ONLY,
    check_name,
    default_splits,
    read_splits,
    write_splits,
)
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import read_text
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)
_TRANSLATION = ".en.txt"


@dataclass(frozen=True)
class _Job:
    """One lecture to copy or convert."""

    folder: Path
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
      DataError: no lectures, a lecture of splits.yaml without its files, a translation without transcript, two
        recordings of one name, a suffix in capitals; a recording that cannot be used, unless limits.skip_bad.
    """
    limits = limits or CheckConfig()
    transcripts = {p.name[: -len(".txt")] for p in folder.glob("*.txt") if not p.name.endswith(_TRANSLATION)}
    recordings = _recordings(folder)
    if not transcripts and not recordings:
        raise DataError(
            f"{folder} holds no lectures: it needs NAME.wav (or {', '.join(s[1:] for s in SUFFIXES[1:])}), NAME.txt, "
            f"NAME{_TRANSLATION}"
        )
    translated = {p.name[: -len(_TRANSLATION)] for p in folder.glob(f"*{_TRANSLATION}")}
    if lone := sorted(translated - transcripts):
        raise DataError(f"{lone[0]}{_TRANSLATION} has no transcript; put {lone[0]}.txt beside it in {folder}")
    splits = _splits(folder, recordings, transcripts)
    jobs = [_Job(folder, source_dir, name, part, limits) for part in ALL_PARTS for name in splits[part]]
    for job in jobs:
        check_name(job.name)  # before any conversion, which can take hours
    source_dir.mkdir(parents=True, exist_ok=True)
    findings = [f for f in (executor or SerialExecutor()).map(_import_lecture, jobs, "lectures") if f]
    bad = settle(findings, len(jobs), limits.policy(), source_dir)
    splits = {part: [n for n in names if (part, n) not in bad] for part, names in splits.items()}
    write_splits(source_dir, splits)
    logger.info("%s: %s", folder, ", ".join(f"{part} {len(names)}" for part, names in splits.items()))


def _recordings(folder: Path) -> set[str]:
    """The names of the lectures that have a recording."""
    files: dict[str, str] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        if not path.is_file():
            raise DataError(f"{path} is not a file; if it is a link, its target is missing")
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path} would be ignored; rename it to {path.stem}{path.suffix.lower()}")
        if path.stem in files:
            raise DataError(f"{files[path.stem]} and {path.name} are both recordings of {path.stem}; keep one")
        files[path.stem] = path.name
    return set(files)


def _splits(folder: Path, recordings: set[str], transcripts: set[str]) -> dict[str, list[str]]:
    """{part: lectures} from splits.yaml, checked; without that file, split by lecture."""
    if not (folder / SPLITS).is_file():
        decode, text = sorted(recordings - transcripts), sorted(transcripts - recordings)
        if decode:
            logger.info(
                "lectures without a transcript are only decoded: %s (%d in all)", ", ".join(decode[:5]), len(decode)
            )
        return default_splits(sorted(recordings & transcripts)) | {TEXT_ONLY: text, DECODE: decode}
    splits = read_splits(folder / SPLITS)
    for part, names in splits.items():
        for name in names:
            if part != DECODE and name not in transcripts:
                raise DataError(
                    f"lecture {name} of {SPLITS} ({part}) has no transcript {name}.txt in {folder}; "
                    f"add it, or list the lecture under {DECODE} to decode it only"
                )
            if part != TEXT_ONLY and name not in recordings:
                raise DataError(f"lecture {name} of {SPLITS} ({part}) has no recording in {folder}; add it")
    listed = {name for names in splits.values() for name in names}
    if not listed:
        raise DataError(f"{folder / SPLITS} lists no lecture; list some, or remove the file to split by lecture")
    if left_out := sorted((recordings | transcripts) - listed):
        logger.warning(
            "%d lectures are not in %s and are left out: %s", len(left_out), SPLITS, ", ".join(left_out[:10])
        )
    return splits


def _import_lecture(job: _Job) -> Finding | None:
    """Copy or convert one lecture; returns an error in its recording as a finding."""
    audio = None if job.part == TEXT_ONLY else find_audio(job.folder, job.name, SUFFIXES)
    has_text = job.part in (*PARTS, TEXT_ONLY)
    transcript = read_text(job.folder / f"{job.name}.txt") if has_text else None
    translation = read_text(job.folder / f"{job.name}{_TRANSLATION}") if has_text else None
    try:
        add_lecture(job.source_dir, job.name, audio, transcript or "", translation or "", job.limits)
    except AudioError as e:
        return Finding(e.check, "lecture", job.name, job.part, e.message, e.remedy)
    return None
