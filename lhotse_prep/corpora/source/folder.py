"""The source folder, the form into which every corpus is brought: recordings, texts and parts.

Lectures: `NAME.wav` or `NAME.flac` (16 kHz, mono), `NAME.txt`, `NAME.en.txt`, and `splits.yaml` with the lectures of
each part: train, dev, test, text (no recording) and decode (no text). Utterances: `utterances.jsonl`, one per line,
with their audio in `audio/PART/`. `segments.jsonl` says where known utterances lie in the lectures.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.audio.convert import READ_AS_IS, store_audio
from lhotse_prep.audio.gate import is_ready
from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.splits import ALL_PARTS, SPLITS, TEXT_ONLY, check_lecture_name, check_name, read_splits
from lhotse_prep.corpora.source.texts import read_plain_text
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, write_text

logger = logging.getLogger(__name__)

UTTERANCES = "utterances.jsonl"
SEGMENTS = "segments.jsonl"
_SEGMENT = ("lecture", "id", "begin", "end")  # keys that every row has


@dataclass(frozen=True)
class SourceLecture:
    """A lecture or an utterance of a source folder."""

    id: str
    part: str
    audio: Path | None  # None for a text-only lecture
    transcript: str  # empty in the part decode, or if its file is missing
    translation: str  # may be empty
    lecture: str | None = None  # of an utterance: the lecture that it is from, if its file name says so
    number: int | None = None  # of an utterance: its position in that lecture
    is_utterance: bool = False


def add_lecture(
    source_dir: Path,
    lecture: str,
    audio: Path | bytes | memoryview | None,
    transcript: str,
    translation: str,
    limits: CheckConfig | None = None,
) -> None:
    """Write the files of one lecture; audio that is not 16 kHz mono WAV or FLAC is converted, with a log line.

    Args:
      source_dir: the source folder.
      lecture: its id.
      audio: its recording, as a file or as the content of one; None writes only texts.
      transcript: not written if blank.
      translation: not written if blank.
      limits: of good audio; the defaults if None.
    Raises:
      DataError: the id cannot name a lecture; the audio cannot be used (AudioError).
    """
    check_lecture_name(lecture)
    source_dir.mkdir(parents=True, exist_ok=True)
    if audio is not None:
        keep_audio(audio, source_dir, lecture, limits or CheckConfig())
    if transcript.strip():
        write_text(source_dir / f"{lecture}.txt", transcript.strip() + "\n")
    if translation.strip():
        write_text(source_dir / f"{lecture}.en.txt", translation.strip() + "\n")


def keep_audio(audio: Path | bytes | memoryview, folder: Path, name: str, limits: CheckConfig) -> Path:
    """Store a recording as NAME.wav or NAME.flac and return its path; bytes are written to disk first.

    Raises:
      AudioError: the audio cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(audio, Path):
        return store_audio(audio, folder, name, limits)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
        raw = Path(work) / "content"
        raw.write_bytes(audio)
        (Path(work) / "stored").mkdir()
        try:
            stored = store_audio(raw, Path(work) / "stored", name, limits)
        except AudioError as e:
            raise AudioError(e.check, e.message.replace(str(raw), name), e.remedy) from e
        path = folder / stored.name
        stored.replace(path)
    return path


def is_source(folder: Path) -> bool:
    """True if a folder has this form: its parts are listed, and all its audio is 16 kHz mono 16-bit WAV or FLAC."""
    if (folder / UTTERANCES).is_file():
        return True
    if not (folder / SPLITS).is_file():
        return False
    for part, names in read_splits(folder / SPLITS).items():
        for name in names if part != TEXT_ONLY else []:
            audio = find_audio(folder, name)
            if audio is None:
                return False
            try:
                if not is_ready(audio, CheckConfig()):
                    return False
            except AudioError:
                continue  # an error when it is read
    return True


def read_source(source_dir: Path) -> list[SourceLecture]:
    """All that iterate_source yields."""
    return list(iterate_source(source_dir))


def iterate_source(source_dir: Path) -> Iterator[SourceLecture]:
    """The lectures of a source folder one by one, in the order of splits.yaml, then its utterances.

    A missing transcript is returned as an empty one; the checks of stage 1 judge it.

    Raises:
      DataError: no lecture or utterance is listed, a recording is missing, a text is not plain text in UTF-8, a
        text-only lecture has no transcript.
    """
    splits = source_dir / SPLITS
    if not splits.is_file() and not (source_dir / UTTERANCES).is_file():
        raise DataError(f"{source_dir} has neither {SPLITS} nor {UTTERANCES}; run stage 0, which makes them")
    is_empty = True
    for part, names in (read_splits(splits) if splits.is_file() else {}).items():
        for name in names:
            audio = None if part == TEXT_ONLY else find_audio(source_dir, name)
            if part != TEXT_ONLY and audio is None:
                raise DataError(f"lecture {name} ({part}): no recording {name}.wav or {name}.flac in {source_dir}")
            transcript = _read_text(source_dir / f"{name}.txt")
            if part == TEXT_ONLY and not transcript.split():
                raise DataError(f"lecture {name} ({part}): its transcript {name}.txt is missing or empty; add it")
            translation = _read_text(source_dir / f"{name}.en.txt")
            is_empty = False
            yield SourceLecture(name, part, audio, transcript, translation)
    for utterance in _iterate_utterances(source_dir):
        is_empty = False
        yield utterance
    if is_empty:
        raise DataError(f"{source_dir} lists no lecture and no utterance in {SPLITS} or {UTTERANCES}")


def read_segments(source_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """{lecture: its rows of iterate_segments}."""
    segments: dict[str, list[dict[str, Any]]] = {}
    for row in iterate_segments(source_dir):
        segments.setdefault(row["lecture"], []).append(row)
    return segments


def iterate_segments(source_dir: Path) -> Iterator[dict[str, Any]]:
    """The rows of segments.jsonl, "begin" and "end" in samples, those of a lecture in order; none without the file.

    Raises:
      DataError: a row is not as stage 0 writes it.
    """
    path = source_dir / SEGMENTS
    for number, row in enumerate(iterate_jsonl(path) if path.is_file() else [], 1):
        if missing := [name for name in _SEGMENT if name not in row]:
            raise DataError(f'{path}, line {number}: no "{missing[0]}"; stage 0 writes it, run it again')
        yield row


def find_audio(folder: Path, name: str, suffixes: Sequence[str] = READ_AS_IS) -> Path | None:
    """The recording of a lecture with one of the suffixes, or None if there is none."""
    return next((p for p in (folder / f"{name}{s}" for s in suffixes) if p.is_file()), None)


def _read_text(path: Path) -> str:
    """The content of a text file, or "" if there is none."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link whose target is missing; restore it")
    return read_plain_text(path) if path.exists() else ""


def _iterate_utterances(source_dir: Path) -> Iterator[SourceLecture]:
    path = source_dir / UTTERANCES
    for number, row in enumerate(iterate_jsonl(path) if path.is_file() else [], 1):
        try:
            check_name(row["id"])
            if row["part"] not in ALL_PARTS:
                raise DataError(f"{path}, line {number}: part {row['part']!r} is none of {', '.join(ALL_PARTS)}")
            utterance = SourceLecture(
                row["id"],
                row["part"],
                source_dir / row["audio"],
                row["text"],
                row["translation"],
                row["lecture"],
                row["number"],
                is_utterance=True,
            )
        except (KeyError, TypeError) as e:
            raise DataError(f"{path}, line {number}: not an utterance as stage 0 writes it ({e!r})") from e
        yield utterance
