"""Tables of lectures joined with tables of the utterances in them: exactly where each utterance lies in its lecture.

The lectures consist of the test part's utterances back to back. Matching samples recovers the boundaries, which stage 3
uses instead of an alignment. Utterances of train and dev are imported unchanged; then all lectures are for test.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import SEGMENTS, UTTERANCES, find_audio
from lhotse_prep.corpora.source.splits import SPLITS, read_splits, write_splits
from lhotse_prep.corpora.tables.find_pieces import Piece, PiecePlace, find_pieces, to_int16
from lhotse_prep.corpora.tables.find_tables import Table, with_parts
from lhotse_prep.corpora.tables.lectures import import_lectures
from lhotse_prep.corpora.tables.row_ids import ids_across_parts
from lhotse_prep.corpora.tables.rows import row_places
from lhotse_prep.corpora.tables.store_rows import StoredRow, store_rows
from lhotse_prep.corpora.tables.utterances import import_utterances
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import iterate_jsonl, write_jsonl
from lhotse_prep.workflow.findings import Finding

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One lecture to search for pieces."""

    lecture: str
    audio: Path
    pieces: dict[int, list[Piece]]


def import_joined(
    long_form: Sequence[Table],
    utterances: Sequence[Table],
    source_dir: Path,
    limits: CheckConfig | None = None,
    executor: Executor | None = None,
) -> None:
    """Write the lectures, segments.jsonl with the places of their utterances, and the utterances of train and dev.

    If there are no utterances of test, the lectures are searched for all utterances, and none is imported.

    Args:
      long_form: tables of lectures.
      utterances: tables of utterances.
      source_dir: where to write.
      limits: of good audio; the defaults if None.
      executor: where row groups and lectures are read; this process if None.
    Raises:
      DataError: as import_lectures and import_utterances.
    """
    limits, executor = limits or CheckConfig(), executor or SerialExecutor()
    utterances = with_parts(utterances, "piece")
    import_lectures(long_form[0].path.parent, source_dir, limits, executor, long_form)
    searched = [t for t in utterances if t.part == "test"] or list(utterances)
    others = [t for t in utterances if t not in searched]
    in_dev: set[str] = set()
    lectures = [name for names in read_splits(source_dir / SPLITS).values() for name in names]
    if others:
        import_utterances(others[0].path.parent, source_dir, limits, executor, tables=others)
        in_dev = {r["digest"] for r in iterate_jsonl(source_dir / UTTERANCES) if r["part"] == "dev"}
        write_splits(source_dir, {"test": lectures})
        logger.info("train and dev are utterances; all %d lectures are for test", len(lectures))
    rows, pieces = _fingerprints(searched, source_dir / "audio", limits, executor)
    jobs = [_Job(name, _audio(source_dir, name), pieces) for name in lectures]
    segments: list[dict[str, Any]] = []
    for job, (places, num_samples) in zip(jobs, executor.map(_search, jobs, "matching")):
        covered = sum(p.end - p.begin for p in places) / num_samples
        logger.info("%s: %d utterances found, %.2f%% of its audio", job.lecture, len(places), 100 * covered)
        segments += [
            {
                "lecture": job.lecture,
                "id": p.id,
                "begin": p.begin,
                "end": p.end,
                "text": rows[p.id].transcription,
                "translation": rows[p.id].translation,
                "in_dev": rows[p.id].digest in in_dev,
            }
            for p in places
        ]
    unused = len(rows) - len({s["id"] for s in segments})
    logger.info("%d of %d utterances are in no lecture", unused, len(rows))
    if num_dev := sum(s["in_dev"] for s in segments):
        logger.warning(
            "%d of the lectures' %d utterances are also in dev: a fair score on test leaves them out",
            num_dev,
            len(segments),
        )
    write_jsonl(source_dir / SEGMENTS, segments)


def _fingerprints(
    tables: Sequence[Table], work: Path, limits: CheckConfig, executor: Executor
) -> tuple[dict[str, StoredRow], dict[int, list[Piece]]]:
    """{id: row} and {prefix hash: pieces} of the utterances, each audio once; bad rows are left out with a warning.

    So are the texts of rows whose audio an earlier row has.
    """
    places = [p for t in tables for p in row_places(t)]
    ids = ids_across_parts(places)
    rows: dict[str, StoredRow] = {}
    pieces: dict[int, list[Piece]] = {}
    first: dict[str, StoredRow] = {}  # {digest: the first row that has it}
    others: list[str] = []  # rows with the audio of another one, and another text
    for row in store_rows(places, ids, work, "utterance", limits, executor, keeps_audio=False, with_digest=True):
        if isinstance(row, Finding):
            logger.warning("%s", row)
        elif row.digest in first:
            if row.transcription.split() != first[row.digest].transcription.split():
                others.append(f"{row.place.where} ({row.id}), whose audio is that of {first[row.digest].id}")
        elif row.prefix:
            first[row.digest] = rows[row.id] = row
            pieces.setdefault(row.prefix, []).append(Piece(row.id, row.num_samples, row.digest))
    if others:
        logger.warning("%d utterances have another text than one of the same audio: %s", len(others), others[0])
    return rows, pieces


def _search(job: _Job) -> tuple[list[PiecePlace], int]:
    """The places of pieces in a lecture, and its number of samples; this runs in a worker."""
    samples, _ = sf.read(job.audio, dtype="float32")
    pcm = to_int16(samples)
    return find_pieces(pcm, job.pieces), len(pcm)


def _audio(source_dir: Path, name: str) -> Path:
    audio = find_audio(source_dir, name)
    if audio is None:
        raise DataError(f"lecture {name} has no recording in {source_dir}; run stage 0 again")
    return audio
