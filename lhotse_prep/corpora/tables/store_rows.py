"""Stores the audio of table rows as files, one row group per job; for lectures and for utterances."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import soundfile as sf

from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import keep_audio
from lhotse_prep.corpora.source.texts import markup_kind
from lhotse_prep.corpora.tables.find_pieces import digest_of, prefix_hash, to_int16
from lhotse_prep.corpora.tables.rows import Row, RowPlace, read_rows
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.findings import Finding


@dataclass(frozen=True)
class StoredRow:
    """A row whose audio has been read."""

    place: RowPlace
    id: str
    audio: Path | None  # where it is stored; None if it was not kept
    transcription: str
    translation: str
    num_samples: int = 0  # this and the next two only with_digest
    digest: str = ""  # digest_of the samples as 16-bit integers
    prefix: int = 0  # prefix_hash of the samples, to search for an utterance in a lecture


@dataclass(frozen=True)
class _Job:
    """One row group to read."""

    table: Path
    group: int
    places: tuple[RowPlace, ...]
    ids: tuple[str | None, ...]  # None: leave this row out
    folder: Path
    kind: str
    keeps_audio: bool
    with_digest: bool
    limits: CheckConfig


def store_rows(
    places: Sequence[RowPlace],
    ids: Sequence[str | None],
    folder: Path,
    kind: str,
    limits: CheckConfig,
    executor: Executor,
    keeps_audio: bool = True,
    with_digest: bool = False,
) -> Iterator[StoredRow | Finding]:
    """Store the audio of rows as FOLDER/ID.wav or .flac; yields the rows, and findings for those that cannot be used.

    Args:
      places: all rows of one or more tables, in order.
      ids: the id of each row; None leaves a row out.
      folder: where the audio is stored.
      kind: what findings call a row.
      limits: of good audio.
      executor: where row groups are read.
      keeps_audio: if False, the audio is only checked, and no file stays.
      with_digest: also compute num_samples, digest and prefix of each row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for (table, group), rows in groupby(zip(places, ids), key=lambda x: (x[0].table, x[0].group)):
        group_places, group_ids = zip(*rows)
        if any(group_ids):
            jobs.append(_Job(table, group, group_places, group_ids, folder, kind, keeps_audio, with_digest, limits))
    for results in executor.map(_store_group, jobs, f"{kind}s"):
        yield from results


def _store_group(job: _Job) -> list[StoredRow | Finding]:
    """Read one row group and store its audio; this runs in a worker."""
    results: list[StoredRow | Finding] = []
    for row, place, name in zip(read_rows(job.table, job.group, list(job.places)), job.places, job.ids):
        if name is None:
            continue
        if not isinstance(row, Row):
            remedy = "correct it or take the row out"
            results.append(Finding("no-audio", job.kind, name, place.part, f"{place.where}: {row.message}", remedy))
            continue
        for column, text in (("transcription", row.transcription), ("translation", row.translation)):
            if markup := markup_kind(text):
                message = f"{place.where}: its {column} {markup}"
                results.append(Finding("not-plain", job.kind, name, place.part, message, "give the text alone"))
                break
        else:
            results.append(_store_or_finding(row, name, job))
    return results


def _store_or_finding(row: Row, name: str, job: _Job) -> StoredRow | Finding:
    try:
        return _store(row, name, job)
    except AudioError as e:
        return Finding(e.check, job.kind, name, row.place.part, f"{row.place.where}: {e.message}", e.remedy)


def _store(row: Row, name: str, job: _Job) -> StoredRow:
    if job.keeps_audio:
        path = keep_audio(row.audio, job.folder, name, job.limits)
        return _stored(row, name, path, path, job.with_digest)
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".") as work:
        path = keep_audio(row.audio, Path(work), name, job.limits)
        return _stored(row, name, path, None, job.with_digest)


def _stored(row: Row, name: str, path: Path, kept: Path | None, with_digest: bool) -> StoredRow:
    plain = StoredRow(row.place, name, kept, row.transcription, row.translation)
    if not with_digest:
        return plain
    try:
        samples, _ = sf.read(path, dtype="float32")
    except sf.LibsndfileError as e:
        raise AudioError("damaged", f"its audio is damaged ({e})", "restore it or take the row out") from e
    pcm = to_int16(samples)
    return StoredRow(
        row.place, name, kept, row.transcription, row.translation, len(pcm), digest_of(pcm), prefix_hash(pcm)
    )
