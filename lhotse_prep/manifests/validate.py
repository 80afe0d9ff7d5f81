"""Finds all that Lhotse's validation finds, and what it accepts: commands, repeated ids, wrong texts, bad audio.

python -m lhotse_prep validate data/mini/manifests
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import Features, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.cut import Cut

from lhotse_prep.audio.inspect import AudioReport
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.splits import PARTS, TEXT_ONLY
from lhotse_prep.manifests.checks import AudioJob, check_clipping, check_overlap, check_same_audio, check_text, inspect
from lhotse_prep.manifests.faults import (
    check_unique,
    cut_faults,
    features_faults,
    features_set_faults,
    recording_faults,
    supervision_faults,
)
from lhotse_prep.manifests.fields import CUT, FEATURES, RECORDING
from lhotse_prep.manifests.files import TEXTS, UNTRANSLATED, read_texts, write_manifest
from lhotse_prep.manifests.folder import Content, read_folder
from lhotse_prep.manifests.safety import check_cut, check_source, what_is_not_plain
from lhotse_prep.manifests.texts import Text, check_languages, check_pair, check_same_texts, check_shared_texts
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import whole_folder, write_jsonl
from lhotse_prep.workflow.findings import Finding, describe, settle

logger = logging.getLogger(__name__)
Manifests = Mapping[str, tuple[RecordingSet, SupervisionSet]]
_UNREADABLE = (ArithmeticError, AssertionError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass
class _Part:
    """The manifests of a part; recordings is None if there is no manifest of recordings to hold the others against."""

    recordings: Sequence[Recording] | None = None
    supervisions: Sequence[SupervisionSegment] = ()
    segments: Sequence[SupervisionSegment] = ()  # of utterances; their texts are checked as the lectures'
    features: Sequence[Features] = ()
    cuts: list[Cut] = field(default_factory=list)


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
    parts = {part: _Part(list(r), list(s)) for part, (r, s) in manifests.items()}
    return _faults(parts, limits, executor)


def validate_folder(
    path: Path, limits: CheckConfig, executor: Executor, out_dir: Path | None = None
) -> dict[str, dict[str, int]]:
    """Check all manifests of a folder, or one manifest, whoever made them, and the audio and features that they name.

    Args:
      path: a folder with manifests of recordings, supervisions, segments, cuts or features, or one of them.
      limits: of good data; with skip_bad, bad recordings, supervisions, cuts and features are left out of what is
        written.
      executor: reads the recordings.
      out_dir: with skip_bad, where the manifests of the good ones and rejected.jsonl go.
    Returns:
      {part: {kind, such as "recordings": how many are good}}.
    Raises:
      DataError: there is no manifest, one is damaged or could run code, or there are errors that limits do not let
        pass.
    """
    if limits.skip_bad and out_dir is None:
        raise DataError("--skip-bad needs --out, the folder for the manifests of the good data and rejected.jsonl")
    if out_dir is not None and path.resolve().is_relative_to(out_dir.resolve()):
        raise DataError(f"{out_dir} would be made anew, and {path} is in it; name another --out")
    contents = read_folder(path)
    parts = _parts(contents)
    text_only = _text_only(path)
    findings = _faults(parts, limits, executor, text_only)
    num_rows = sum(len(c.items) for c in contents if c.file.kind == RECORDING) or sum(len(c.items) for c in contents)
    if out_dir is None:
        settle(findings, num_rows, limits.policy(), path)
        return _counts(contents)
    with whole_folder(out_dir) as work:
        bad = settle(findings, num_rows, limits.policy(), work)
        good = _without(contents, bad)
        for content in good:
            write_manifest(work / f"{_stem(content.file.path)}.jsonl.gz", content.items)
        for name, texts in text_only.items():
            write_jsonl(work / name, [row for row in texts if (TEXT_ONLY, row["id"]) not in bad])
    for content, before in zip(good, contents):
        kind = _plural(content)
        logger.info("%s: %d of %d %s are good", content.file.part, len(content.items), len(before.items), kind)
    return _counts(good)


def _parts(contents: Sequence[Content]) -> dict[str, _Part]:
    """The manifests by part; those of a part without recordings are held against none, if there are none at all."""
    have_recordings = any(c.file.kind == RECORDING for c in contents)
    parts: dict[str, _Part] = {}
    for content in contents:
        part = parts.setdefault(content.file.part, _Part([] if have_recordings else None))
        if content.file.kind == RECORDING:
            part.recordings = [*(part.recordings or ()), *content.items]
        elif content.file.kind == CUT:
            part.cuts += content.items
        elif content.file.kind == FEATURES:
            part.features = content.items
        elif content.file.are_segments:
            part.segments = content.items
        else:
            part.supervisions = content.items
    if not have_recordings and any(p.supervisions or p.segments for p in parts.values()):
        logger.info("there are no recordings, so the supervisions are held against none")
    return parts


def _faults(
    parts: Mapping[str, _Part],
    limits: CheckConfig,
    executor: Executor,
    text_only: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> list[Finding]:
    findings: list[Finding] = []
    digests: dict[str, dict[str, str]] = {}
    texts = [
        Text(row["id"], TEXT_ONLY, row["text"], row.get("translation", ""))
        for rows in (text_only or {}).values()
        for row in rows
    ]
    for t in texts:
        findings += check_pair(t.id, t.part, t.transcript, t.translation)
    for part, manifests in parts.items():
        findings += _faults_of_manifests(part, manifests, limits)
        read, digests[part] = _read_audio(part, manifests, limits, executor)
        findings += read + check_same_audio(part, digests[part])
        features = [*manifests.features, *(f for c in manifests.cuts for f in _features_of(c))]
        jobs = list({(f.storage_path, f.storage_key): (part, f) for f in features}.values())
        findings += [f for f in executor.map(_read_features, jobs, f"features {part}") if f is not None]
        if manifests.recordings is not None:
            texts += [
                Text(s.id, part, normalize_transcript(s.text or ""), _translation(s)) for s in manifests.supervisions
            ]
    findings += check_languages(texts) + check_same_texts(texts) + check_shared_texts(texts, limits.max_shared_text)
    return findings + check_overlap({part: digests[part] for part in PARTS if part in digests})


def _faults_of_manifests(part: str, manifests: _Part, limits: CheckConfig) -> list[Finding]:
    """Faults that show without reading audio or features."""
    recordings = manifests.recordings
    findings = check_unique("recording", part, (r.id for r in recordings or ()))
    findings += check_unique("supervision", part, (s.id for s in manifests.supervisions))
    findings += check_unique("segment", part, (s.id for s in manifests.segments))
    findings += check_unique("cut", part, (c.id for c in manifests.cuts))
    by_id = {r.id: r for r in recordings or ()}
    for r in recordings or ():
        check_sources(r)
        findings += recording_faults(part, r)
        if (what := what_is_not_plain(r)) is not None:
            remedy = "to align or decode it, save its audio to one file with one channel"
            findings.append(Finding("not-plain", "recording", r.id, part, f"it has {what}", remedy, is_error=False))
    for s in (*manifests.supervisions, *manifests.segments):
        if recordings is not None and s.recording_id not in by_id:
            message = f"there is no recording {s.recording_id}"
            findings.append(Finding("no-recording", "supervision", s.id, part, message, "make the manifests again"))
            continue
        findings += supervision_faults(part, s, by_id.get(s.recording_id))
    for s in manifests.supervisions if recordings is not None else ():
        if s.duration > 0:
            findings += check_text(s.id, part, s.text or "", _translation(s), s.duration, limits)
    for s in manifests.segments:  # their texts are those of the lectures; only the rates of short ones may be extreme
        findings += [f for f in check_pair(s.id, part, s.text or "", "") if f.check == "empty-text"]
    for f in manifests.features:
        findings += features_faults(part, f, by_id.get(f.recording_id))
        if recordings is not None and f.recording_id not in by_id:
            message = f"there is no recording {f.recording_id}"
            findings.append(
                Finding("no-recording", "features", str(f.recording_id), part, message, "compute them again")
            )
    findings += features_set_faults(part, manifests.features)
    for cut in manifests.cuts:
        check_cut(cut)
        findings += cut_faults(part, cut)
    return findings


def _read_audio(
    part: str, manifests: _Part, limits: CheckConfig, executor: Executor
) -> tuple[list[Finding], dict[str, str]]:
    """Read all files of the recordings, also of those in cuts, to their ends.

    Returns:
      Findings, and {recording: digest of its samples}.
    """
    jobs = {(job.id, job.path): job for r in manifests.recordings or () for job in _jobs(r, part, limits)}
    for cut in manifests.cuts:
        for recording in _recordings_of(cut):
            for job in _jobs(recording, part, limits):
                jobs.setdefault((job.id, job.path), job)
    findings: list[Finding] = []
    digests: dict[str, str] = {}
    for job, report in zip(jobs.values(), executor.map(inspect, list(jobs.values()), f"reading {part}")):
        if isinstance(report, AudioReport):
            findings += check_clipping(job.id, part, report, limits)
            digests[job.id] = report.digest
        else:
            findings.append(report)
    return findings, digests


def _jobs(r: Recording, part: str, limits: CheckConfig) -> list[AudioJob]:
    """A job for each file of a recording; after transforms, its samples and rate are not those of the files."""
    samples, rate = (None, None) if r.transforms else (r.num_samples, r.sampling_rate)
    return [AudioJob(r.id, part, Path(s.source), limits, samples, rate, tuple(s.channels)) for s in r.sources]


def _read_features(job: tuple[str, Features]) -> Finding | None:
    """Load features and hold them against their manifest; it runs in a worker process."""
    part, f = job

    def finding(message: str) -> Finding:
        return Finding("features", "features", str(f.recording_id), part, message, "compute them again")

    if not Path(f.storage_path).exists():
        return finding(f"no file {f.storage_path}")
    try:
        values = np.asarray(f.load())
    except _UNREADABLE as e:
        return finding(f"{f.storage_path} cannot be read ({' '.join(str(e).split())})")
    if values.shape != (f.num_frames, f.num_features):
        size = " x ".join(map(str, values.shape))
        return finding(f"{f.storage_path} has {size} of them, their manifest says {f.num_frames} x {f.num_features}")
    if not np.isfinite(values).all():
        return finding(f"{f.storage_path} has values that are not numbers")
    return None


def _recordings_of(cut: Cut) -> list[Recording]:
    tracks = [t.cut for t in getattr(cut, "tracks", [])] or [cut]
    return [c.recording for c in tracks if getattr(c, "recording", None) is not None]


def _features_of(cut: Cut) -> list[Features]:
    tracks = [t.cut for t in getattr(cut, "tracks", [])] or [cut]
    return [c.features for c in tracks if getattr(c, "features", None) is not None]


def check_sources(recording: Recording) -> None:
    """Raise DataError unless all sources are plain files: Lhotse would run a `command` and fetch a `url`."""
    for source in recording.sources:
        check_source(source.type, source.source, f"recording {recording.id}")


def _text_only(path: Path) -> dict[str, list[dict[str, Any]]]:
    """{file: rows} of the lectures without recordings in stage 1's folder."""
    files = [path / name for name in (TEXTS, UNTRANSLATED)] if path.is_dir() else []
    return {file.name: read_texts(file) for file in files if file.is_file()}


def _without(contents: Sequence[Content], bad: set[tuple[str, str]]) -> list[Content]:
    """The manifests without the bad entries, and without what is of a recording that is left out."""
    good = []
    for content in contents:
        part = content.file.part
        kept = [x for x in content.items if (part, _id_of(x)) not in bad and (part, _recording_of(x)) not in bad]
        good.append(Content(content.file, kept))
    return good


def _id_of(item: Any) -> str:
    return str(item.recording_id if isinstance(item, Features) else item.id)


def _recording_of(item: Any) -> str | None:
    return getattr(item, "recording_id", None) if not hasattr(item, "tracks") else None


def _translation(s: SupervisionSegment) -> str:
    return str(((s.custom or {}).get("translated_text") or {}).get("eng", ""))


def _counts(contents: Iterable[Content]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for content in contents:
        counts.setdefault(content.file.part, {})[_plural(content)] = len(content.items)
    return counts


def _plural(content: Content) -> str:
    if content.file.are_segments:
        return "segments"
    return content.file.kind if content.file.kind == FEATURES else f"{content.file.kind}s"


def _stem(path: Path) -> str:
    return path.name.split(".json")[0].split(".yaml")[0]
