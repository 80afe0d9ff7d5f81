"""The rows of tables to audio files on disk, a row group a piece of work; for lectures and utterances alike."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import soundfile as sf

from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import keep_audio
from lhotse_prep.corpora.tables.find_pieces import digest_of, prefix_hash, to_int16
from lhotse_prep.corpora.tables.rows import Row, RowPlace, read_rows
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.findings import Finding


@dataclass(frozen=True)
class StoredRow:
    """A row whose audio was read."""

    place: RowPlace
    id: str
    audio: Path | None  # where it lies now; None where it was only looked at
    transcription: str
    translation: str
    num_samples: int = 0  # these three only where rows are looked at closely
    digest: str = ""  # of the samples as 16-bit integers
    prefix: int = 0  # hash of the first ones, by which an utterance is found in a lecture


@dataclass(frozen=True)
class _Job:
    """A row group to be read."""

    table: Path
    group: int
    places: tuple[RowPlace, ...]
    ids: tuple[str | None, ...]  # None: leave this row out
    folder: Path
    kind: str
    keeps_audio: bool
    looks_closely: bool
    limits: CheckConfig


def store_rows(
    places: Sequence[RowPlace],
    ids: Sequence[str | None],
    folder: Path,
    kind: str,
    limits: CheckConfig,
    executor: Executor,
    keeps_audio: bool = True,
    looks_closely: bool = False,
) -> Iterator[StoredRow | Finding]:
    """Store the audio of rows as FOLDER/ID.wav or .flac; rows that cannot be used come as findings.

    Args:
      places: all rows of one or more tables, in order.
      ids: what to call each; None leaves a row out.
      folder: where the audio goes.
      kind: what findings call a row.
      limits: of the audio.
      executor: where row groups are read.
      keeps_audio: False: it is only looked at.
      looks_closely: give length, digest and beginning of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for (table, group), rows in groupby(zip(places, ids), key=lambda x: (x[0].table, x[0].group)):
        own = list(rows)
        group_ids = tuple(i for _, i in own)
        if any(group_ids):
            jobs.append(
                _Job(
                    table, group, tuple(p for p, _ in own), group_ids, folder, kind, keeps_audio, looks_closely, limits
                )
            )
    for results in executor.map(_store_group, jobs, f"{kind}s"):
        yield from results


def unique_ids(places: Sequence[RowPlace]) -> list[str]:
    """An id for each row: the stem of `file`, with its folders where stems repeat in a part, and no spaces."""
    stems = Counter((p.part, PurePosixPath(p.file).stem) for p in places)
    ids = []
    for p in places:
        path = PurePosixPath(p.file)
        name = path.stem if stems[p.part, path.stem] == 1 else "_".join((*path.parent.parts, path.stem))
        ids.append("_".join(name.replace("/", "_").split()).lstrip("."))
    return ids


def repeated_files(places: Sequence[RowPlace], kind: str, across_parts: bool) -> list[tuple[int, Finding]]:
    """(index, finding) of each row whose `file` an earlier row has, in the same part or in any."""
    first: dict[tuple[str, str], RowPlace] = {}
    findings = []
    for index, p in enumerate(places):
        key = ("" if across_parts else p.part, p.file)
        if key in first:
            within = "" if across_parts else f" within {p.part}"
            message = f"`file` {p.file} is in {first[key].where} and in {p.where}"
            findings.append(
                (
                    index,
                    Finding(
                        "duplicate-id",
                        kind,
                        PurePosixPath(p.file).stem,
                        p.part,
                        message,
                        f"`file` must be unique{within}: rename one or take it out",
                    ),
                )
            )
        else:
            first[key] = p
    return findings


def _store_group(job: _Job) -> list[StoredRow | Finding]:
    """Read one row group; this runs in a worker."""
    results: list[StoredRow | Finding] = []
    for row, place, name in zip(read_rows(job.table, job.group, list(job.places)), job.places, job.ids):
        if name is None:
            continue
        if not isinstance(row, Row):
            remedy = "give it its audio or take the row out"
            results.append(Finding("no-audio", job.kind, name, place.part, f"{place.where}: {row.message}", remedy))
            continue
        try:
            results.append(_store(row, name, job))
        except AudioError as e:
            message = f"{place.where}: {e.message}"
            results.append(Finding(e.check, job.kind, name, place.part, message, e.remedy))
    return results


def _store(row: Row, name: str, job: _Job) -> StoredRow:
    if job.keeps_audio:
        path = keep_audio(row.audio, job.folder, name, job.limits)
        return _stored(row, name, path, path, job.looks_closely)
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".") as work:
        path = keep_audio(row.audio, Path(work), name, job.limits)
        return _stored(row, name, path, None, job.looks_closely)


def _stored(row: Row, name: str, path: Path, kept: Path | None, looks_closely: bool) -> StoredRow:
    plain = StoredRow(row.place, name, kept, row.transcription, row.translation)
    if not looks_closely:
        return plain
    try:
        samples, _ = sf.read(path, dtype="float32")
    except sf.LibsndfileError as e:
        raise AudioError("damaged", f"its audio is damaged ({e})", "restore it or take the row out") from e
    pcm = to_int16(samples)
    return StoredRow(
        row.place, name, kept, row.transcription, row.translation, len(pcm), digest_of(pcm), prefix_hash(pcm)
    )


def require_rows(tables: Iterable[Path], places: Sequence[RowPlace], path: Path) -> None:
    """Raise DataError where there is nothing to read."""
    if not list(tables):
        raise DataError(f"no .parquet file in {path}")
    if not places:
        raise DataError(f"the tables of {path} have no rows")
