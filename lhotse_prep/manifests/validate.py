"""Finds what Lhotse's validation accepts: manifests that could run code, repeated ids, wrong texts, bad audio.

python -m lhotse_prep validate data/mini/manifests
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lhotse import RecordingSet, SupervisionSet

from lhotse_prep.audio.inspect import AudioReport
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.checks import (
    AudioJob,
    check_clipping,
    check_overlap,
    check_same_audio,
    check_span,
    check_text,
    check_unique,
    inspect,
)
from lhotse_prep.manifests.files import check_source, load_safely, write_manifest
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.findings import REJECTED, Finding, describe, settle

logger = logging.getLogger(__name__)
Manifests = Mapping[str, tuple[RecordingSet, SupervisionSet]]


def validate_recordings_and_supervisions(recordings: RecordingSet, supervisions: SupervisionSet) -> None:
    """Raise DataError, with ids, if the manifests would fail in later stages; reads all audio."""
    findings = find_faults({"train": (recordings, supervisions)}, CheckConfig(), SerialExecutor())
    if errors := [f for f in findings if f.is_error]:
        raise DataError(describe(errors))


def find_faults(manifests: Manifests, limits: CheckConfig, executor: Executor) -> list[Finding]:
    """Everything that is wrong with the manifests and their audio, which is read to its end.

    Args:
      manifests: {part: (recordings, supervisions)}.
      limits: of good data.
      executor: reads the recordings.
    Raises:
      DataError: the source of a recording is not a plain file.
    """
    findings: list[Finding] = []
    digests: dict[str, dict[str, str]] = {}
    for part, (recordings, supervisions) in manifests.items():
        findings += check_unique("recording", part, (r.id for r in recordings))
        findings += check_unique("supervision", part, (s.id for s in supervisions))
        for recording in recordings:
            check_sources(recording)
        jobs = [AudioJob(r.id, part, Path(r.sources[0].source), limits, r.num_samples) for r in recordings]
        digests[part] = {}
        for job, report in zip(jobs, executor.map(inspect, jobs, f"reading {part}")):
            if isinstance(report, AudioReport):
                findings += check_clipping(job.id, part, report, limits)
                digests[part][job.id] = report.digest
            else:
                findings.append(report)
        findings += check_same_audio(part, digests[part])
        findings += _supervision_faults(part, recordings, supervisions, limits)
    return findings + check_overlap(digests)


def check_sources(recording: Any) -> None:
    """Raise DataError unless all sources are plain files: Lhotse would run a `command` and fetch a `url`."""
    for source in recording.sources:
        check_source(source.type, source.source, f"recording {recording.id}")


def validate_folder(
    folder: Path, limits: CheckConfig, executor: Executor, out_dir: Path | None = None
) -> dict[str, tuple[int, int]]:
    """Check the manifests of a folder, whoever made them.

    Args:
      folder: with ml2021_recordings_{part}.jsonl.gz and ml2021_supervisions_{part}.jsonl.gz.
      limits: of good data; with skip_bad, bad recordings and supervisions are left out of what is written.
      executor: reads the recordings.
      out_dir: with skip_bad, where the manifests of the good ones and rejected.jsonl go.
    Returns:
      {part: (number of good recordings, number of good supervisions)}.
    Raises:
      DataError: a manifest is missing or could run code, or there are errors that limits do not let pass.
    """
    manifests: dict[str, tuple[RecordingSet, SupervisionSet]] = {}
    for part in PARTS:
        recordings = load_safely(folder / f"ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        manifests[part] = (recordings, load_safely(folder / f"ml2021_supervisions_{part}.jsonl.gz", SupervisionSet))
    if limits.skip_bad and out_dir is None:
        raise DataError("--skip-bad needs --out, the folder for the manifests of the good data and rejected.jsonl")
    if out_dir is not None:
        (out_dir / REJECTED).unlink(missing_ok=True)  # from an earlier run
    findings = find_faults(manifests, limits, executor)
    num_rows = sum(len(recordings) for recordings, _ in manifests.values())
    bad = settle(findings, num_rows, limits.policy(), out_dir or folder)
    counts = {}
    for part, (recordings, supervisions) in manifests.items():
        good_recordings = [r for r in recordings if (part, r.id) not in bad]
        ids = {r.id for r in good_recordings}
        good_supervisions = [s for s in supervisions if (part, s.id) not in bad and s.recording_id in ids]
        if out_dir is not None:
            write_manifest(out_dir / f"ml2021_recordings_{part}.jsonl.gz", good_recordings)
            write_manifest(out_dir / f"ml2021_supervisions_{part}.jsonl.gz", good_supervisions)
        counts[part] = (len(good_recordings), len(good_supervisions))
        logger.info(
            "%s: %d of %d recordings, %d of %d supervisions are good%s",
            part,
            len(good_recordings),
            len(recordings),
            len(good_supervisions),
            len(supervisions),
            f" ({REJECTED} has the others)" if bad else "",
        )
    return counts


def _supervision_faults(
    part: str, recordings: RecordingSet, supervisions: SupervisionSet, limits: CheckConfig
) -> list[Finding]:
    seconds = {r.id: r.duration for r in recordings}
    findings: list[Finding] = []
    for s in supervisions:
        if s.recording_id not in seconds:
            message = f"there is no recording {s.recording_id}"
            findings.append(Finding("no-recording", "supervision", s.id, part, message, "make the manifests again"))
            continue
        findings += check_span(s.id, part, s.start, s.end, s.recording_id, seconds[s.recording_id])
        translation = ((s.custom or {}).get("translated_text") or {}).get("eng", "")
        findings += check_text(s.id, part, s.text or "", translation, s.duration, limits)
    return findings
