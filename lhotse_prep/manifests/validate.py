"""Finds all that Lhotse's validation finds, and what it accepts: commands, repeated ids, wrong texts, bad audio.

python -m lhotse_prep validate data/mini/manifests
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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
    RecordingSpan,
    check_unique,
    cut_faults,
    features_faults,
    features_set_faults,
    recording_faults,
    supervision_faults,
)
from lhotse_prep.manifests.fields import CUT, FEATURES, RECORDING
from lhotse_prep.manifests.files import TEXTS, UNTRANSLATED, iterate_texts, write_manifest
from lhotse_prep.manifests.folder import Content, ManifestFile, open_folder
from lhotse_prep.manifests.grouped import Spill, key_digest
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
    """The manifests of a part; each is read row by row, and can be read again."""

    name: str
    has_recordings: bool = True  # False: there is no manifest of recordings to hold the others against
    recordings: list[Iterable[Recording]] = field(default_factory=list)
    supervisions: Iterable[SupervisionSegment] = ()
    segments: Iterable[SupervisionSegment] = ()  # of utterances; their texts are checked as the lectures'
    features: Iterable[Features] = ()
    cuts: list[Iterable[Cut]] = field(default_factory=list)


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
    parts = [_Part(part, True, [r], s) for part, (r, s) in manifests.items()]
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
    counted = [_Counted(content) for content in open_folder(path)]
    text_only = _text_only(path)
    findings = _faults(_parts(counted), limits, executor, text_only, out_dir.parent if out_dir else None)
    num_rows = sum(c.count for c in counted if c.file.kind == RECORDING) or sum(c.count for c in counted)
    if out_dir is None:
        settle(findings, num_rows, limits.policy(), path)
        return _counts((c.file, c.count) for c in counted)
    with whole_folder(out_dir) as work:
        bad = settle(findings, num_rows, limits.policy(), work)
        good = [write_manifest(work / f"{_stem(c.file.path)}.jsonl.gz", _without(c, bad)) for c in counted]
        for file in text_only:
            rows = (row for row in iterate_texts(file) if (TEXT_ONLY, row["id"]) not in bad)
            write_jsonl(work / file.name, rows)
    for c, num_good in zip(counted, good):
        logger.info("%s: %d of %d %s are good", c.file.part, num_good, c.count, _plural(c.file))
    return _counts((c.file, num_good) for c, num_good in zip(counted, good))


class _Counted:
    """The objects of a manifest, which are counted each time that they are read."""

    def __init__(self, content: Content) -> None:
        self.file, self._content, self.count = content.file, content, 0

    def __iter__(self) -> Iterator[Any]:
        self.count = 0
        for item in self._content:
            self.count += 1
            yield item


def _parts(contents: Sequence[_Counted]) -> list[_Part]:
    """The manifests by part; those of a part without recordings are held against none, if there are none at all."""
    have_recordings = any(c.file.kind == RECORDING for c in contents)
    parts: dict[str, _Part] = {}
    have_supervisions = False
    for content in contents:
        name = content.file.part
        part = parts.setdefault(name, _Part(name, have_recordings))
        if content.file.kind == RECORDING:
            part.recordings.append(content)
        elif content.file.kind == CUT:
            part.cuts.append(content)
        elif content.file.kind == FEATURES:
            part.features = content
        else:
            have_supervisions = True
            if content.file.are_segments:
                part.segments = content
            else:
                part.supervisions = content
    if not have_recordings and have_supervisions:
        logger.info("there are no recordings, so the supervisions are held against none")
    return list(parts.values())


def _faults(
    parts: Sequence[_Part],
    limits: CheckConfig,
    executor: Executor,
    text_only: Sequence[Path] = (),
    work: Path | None = None,
) -> list[Finding]:
    """All faults; the manifests of all parts are read before any audio or features.

    Args:
      text_only: files of lectures without recordings.
      work: on a disk with room for temporary files; None: the system's folder for them.
    """
    findings: list[Finding] = []
    texts: Spill[Text] = Spill(work)
    for file in text_only:
        for row in iterate_texts(file):
            texts.add(Text(row["id"], TEXT_ONLY, row["text"], row.get("translation", "")))
    for t in texts:
        findings += check_pair(t.id, t.part, t.transcript, t.translation)
    read = [_ReadPart(part, limits, texts, work) for part in parts]
    digests: dict[str, dict[str, str]] = {}
    for part in read:
        name = part.name
        of_audio, digests[name] = _read_audio(name, part.audio, limits, executor)
        findings += part.findings() + of_audio + check_same_audio(name, digests[name])
        of_features = executor.map(_read_features, part.features, f"features {name}", len(part.features))
        findings += [f for f in of_features if f is not None]
    findings += check_languages(texts) + check_same_texts(texts) + check_shared_texts(texts, limits.max_shared_text)
    return findings + check_overlap({part: digests[part] for part in PARTS if part in digests})


class _ReadPart:
    """Faults of a part that show without reading audio or features; the files to read then."""

    def __init__(self, part: _Part, limits: CheckConfig, texts: Spill[Text], work: Path | None) -> None:
        """
        Args:
          texts: those of the part are added to it.
        """
        self.name, self._limits, self._has_recordings = part.name, limits, part.has_recordings
        self.audio: Spill[AudioJob] = Spill(work)
        self.features: Spill[tuple[str, Features]] = Spill(work)
        self._jobs: set[bytes] = set()  # digests of those in `audio` and `features`
        self._ids: dict[str, Counter[str]] = {
            kind: Counter() for kind in ("recording", "supervision", "segment", "cut")
        }
        self._spans: dict[str, RecordingSpan] = {}
        self._faults: dict[str, list[Finding]] = {}  # of each kind, in the order of findings()
        for kind in (*self._ids, "text of a supervision", "text of a segment", "features", "features together", "cuts"):
            self._faults[kind] = []
        for r in chain.from_iterable(part.recordings):
            self._add_recording(r)
        for s in part.supervisions:
            self._add_supervision(s, texts)
        for s in part.segments:
            self._add_segment(s)
        self._faults["features together"] = features_set_faults(self.name, map(self._add_features, part.features))
        for cut in chain.from_iterable(part.cuts):
            self._add_cut(cut)

    def findings(self) -> list[Finding]:
        """Repeated ids, then the faults of each kind."""
        repeated = [f for kind, ids in self._ids.items() for f in check_unique(kind, self.name, ids.elements())]
        return repeated + [f for faults in self._faults.values() for f in faults]

    def _add_recording(self, r: Recording) -> None:
        check_sources(r)
        self._ids["recording"][r.id] += 1
        self._spans[r.id] = RecordingSpan.of(r)
        self._faults["recording"] += recording_faults(self.name, r)
        if (what := what_is_not_plain(r)) is not None:
            remedy = "to align or decode it, save its audio to one file with one channel"
            warning = Finding("not-plain", "recording", r.id, self.name, f"it has {what}", remedy, is_error=False)
            self._faults["recording"].append(warning)
        self._add_audio(r)

    def _add_supervision(self, s: SupervisionSegment, texts: Spill[Text]) -> None:
        self._ids["supervision"][s.id] += 1
        self._faults["supervision"] += self._faults_of_supervision(s)
        if not self._has_recordings:
            return
        text, translation = s.text or "", _translation(s)
        texts.add(Text(s.id, self.name, normalize_transcript(text), translation))
        if s.duration > 0:
            self._faults["text of a supervision"] += check_text(
                s.id, self.name, text, translation, s.duration, self._limits
            )

    def _add_segment(self, s: SupervisionSegment) -> None:
        """Its text is that of a lecture, whose rate is checked; that of a short segment may be extreme."""
        self._ids["segment"][s.id] += 1
        self._faults["segment"] += self._faults_of_supervision(s)
        faults = check_pair(s.id, self.name, s.text or "", "")
        self._faults["text of a segment"] += [f for f in faults if f.check == "empty-text"]

    def _faults_of_supervision(self, s: SupervisionSegment) -> list[Finding]:
        span = self._spans.get(s.recording_id)
        if self._has_recordings and span is None:
            message = f"there is no recording {s.recording_id}"
            return [Finding("no-recording", "supervision", s.id, self.name, message, "make the manifests again")]
        return supervision_faults(self.name, s, span)

    def _add_features(self, f: Features) -> Features:
        span = self._spans.get(f.recording_id)
        self._faults["features"] += features_faults(self.name, f, span)
        if self._has_recordings and span is None:
            message, name = f"there is no recording {f.recording_id}", str(f.recording_id)
            finding = Finding("no-recording", "features", name, self.name, message, "compute them again")
            self._faults["features"].append(finding)
        self._add_stored(f)
        return f

    def _add_cut(self, cut: Cut) -> None:
        check_cut(cut)
        self._ids["cut"][cut.id] += 1
        self._faults["cuts"] += cut_faults(self.name, cut)
        for r in _recordings_of(cut):
            self._add_audio(r)
        for f in _features_of(cut):
            self._add_stored(f)

    def _add_audio(self, r: Recording) -> None:
        for job in _jobs(r, self.name, self._limits):
            if self._is_new(job.id, str(job.path)):
                self.audio.add(job)

    def _add_stored(self, f: Features) -> None:
        if self._is_new(str(f.storage_path), str(f.storage_key), str((f.num_frames, f.num_features))):
            self.features.add((self.name, f))

    def _is_new(self, *key: str) -> bool:
        digest = key_digest(*key)
        is_new = digest not in self._jobs
        self._jobs.add(digest)
        return is_new


def _read_audio(
    part: str, jobs: Spill[AudioJob], limits: CheckConfig, executor: Executor
) -> tuple[list[Finding], dict[str, str]]:
    """Read the files of the recordings, also of those in cuts, to their ends.

    Returns:
      Findings, and {recording: digest of its samples}.
    """
    findings: list[Finding] = []
    digests: dict[str, str] = {}
    for job, report in zip(jobs, executor.map(inspect, jobs, f"reading {part}", len(jobs))):
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


def _text_only(path: Path) -> list[Path]:
    """The files of the lectures without recordings in stage 1's folder."""
    files = [path / name for name in (TEXTS, UNTRANSLATED)] if path.is_dir() else []
    return [file for file in files if file.is_file()]


def _without(content: _Counted, bad: Container[tuple[str, str]]) -> Iterator[Any]:
    """The objects of a manifest without the bad ones, and without what is of a recording that is left out."""
    part = content.file.part
    return (x for x in content if (part, _id_of(x)) not in bad and (part, _recording_of(x)) not in bad)


def _id_of(item: Any) -> str:
    return str(item.recording_id if isinstance(item, Features) else item.id)


def _recording_of(item: Any) -> str | None:
    return getattr(item, "recording_id", None) if not hasattr(item, "tracks") else None


def _translation(s: SupervisionSegment) -> str:
    return str(((s.custom or {}).get("translated_text") or {}).get("eng", ""))


def _counts(files: Iterable[tuple[ManifestFile, int]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for file, number in files:
        counts.setdefault(file.part, {})[_plural(file)] = number
    return counts


def _plural(file: ManifestFile) -> str:
    if file.are_segments:
        return "segments"
    return file.kind if file.kind == FEATURES else f"{file.kind}s"


def _stem(path: Path) -> str:
    return path.name.split(".json")[0].split(".yaml")[0]
