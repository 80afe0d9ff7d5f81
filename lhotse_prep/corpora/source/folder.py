"""The one form that every corpus is brought into: a folder of recordings, texts and parts.

Lectures: `NAME.wav` or `NAME.flac` (16 kHz, mono), `NAME.txt`, `NAME.en.txt`, and `splits.yaml` with the lectures of
each part: train, dev, test, text (no recording) and decode (no text). Utterances: `utterances.jsonl`, one a line, with
their audio in `audio/PART/`. Where lectures are made of utterances whose place is known, `segments.jsonl` has it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.audio.convert import READ_AS_IS, store_audio
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.splits import ALL_PARTS, SPLITS, TEXT_ONLY, check_name, read_splits
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, read_text, write_text

logger = logging.getLogger(__name__)

UTTERANCES = "utterances.jsonl"

SEGMENTS = "segments.jsonl"


@dataclass(frozen=True)
class SourceLecture:
    """A lecture of a source folder, or an utterance."""

    id: str
    part: str
    audio: Path | None
    transcript: str  # empty only in the part decode, or where it is missing
    translation: str  # may be empty
    lecture: str | None = None  # of an utterance, the lecture that it is from, where its file name tells
    number: int | None = None  # and its place there
    is_utterance: bool = False


def add_lecture(
    source_dir: Path,
    lecture: str,
    audio: Path | bytes | memoryview | None,
    transcript: str,
    translation: str,
    limits: CheckConfig | None = None,
) -> None:
    """Write one lecture's files; audio that is not 16 kHz mono WAV or FLAC is converted, and that is logged.

    Raises:
      DataError: the name cannot be a file's; the audio cannot be used (AudioError).
    """
    check_name(lecture)
    source_dir.mkdir(parents=True, exist_ok=True)
    if audio is not None:
        keep_audio(audio, source_dir, lecture, limits or CheckConfig())
    if transcript.strip():
        write_text(source_dir / f"{lecture}.txt", transcript.strip() + "\n")
    if translation.strip():
        write_text(source_dir / f"{lecture}.en.txt", translation.strip() + "\n")


def keep_audio(audio: Path | bytes | memoryview, folder: Path, name: str, limits: CheckConfig) -> Path:
    """Store a recording as NAME.wav or NAME.flac; bytes go to disk first, as they are, and are read from there."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(audio, Path):
        return store_audio(audio, folder, name, limits)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
        raw = Path(work) / name
        raw.write_bytes(audio)
        stored = store_audio(raw, Path(work), f"{name}.stored", limits)
        path = folder / f"{name}{stored.suffix}"
        stored.replace(path)
    return path


def is_source(folder: Path) -> bool:
    """True for a folder in this form: its parts are listed, and all its audio is 16 kHz mono WAV or FLAC by name."""
    import soundfile as sf

    if (folder / UTTERANCES).is_file():
        return True
    if not (folder / SPLITS).is_file():
        return False
    for part, names in read_splits(folder / SPLITS).items():
        for name in names if part != TEXT_ONLY else []:
            audio = find_audio(folder, name)
            if audio is None:
                return not any((folder / f"{name}{s}").is_file() for s in (".mp3", ".m4a", ".mp4"))
            try:
                info = sf.info(str(audio))
            except sf.LibsndfileError:
                continue  # damaged: said where it is read
            if info.samplerate != SAMPLE_RATE or info.channels != 1:
                return False
    return True


def read_source(source_dir: Path) -> list[SourceLecture]:
    """All lectures of a source folder, in the order of splits.yaml, then its utterances.

    A transcript that is missing is empty here: what that means is for the checks of stage 1 to say.

    Raises:
      DataError: nothing is listed, a recording is missing, a file is not UTF-8, a text-only lecture has no transcript.
    """
    splits = source_dir / SPLITS
    lectures = []
    for part, names in (read_splits(splits) if splits.is_file() else {}).items():
        for name in names:
            audio = None if part == TEXT_ONLY else find_audio(source_dir, name)
            if part != TEXT_ONLY and audio is None:
                raise DataError(f"lecture {name} ({part}): no recording {name}.wav or {name}.flac in {source_dir}")
            transcript = read_text(source_dir / f"{name}.txt") or ""
            if part == TEXT_ONLY and not transcript.split():
                raise DataError(
                    f"lecture {name} ({part}): its transcript {name}.txt is missing or empty: nothing to learn"
                )
            translation = read_text(source_dir / f"{name}.en.txt") or ""
            lectures.append(SourceLecture(name, part, audio, transcript, translation))
    if not splits.is_file() and not (source_dir / UTTERANCES).is_file():
        raise DataError(f"{source_dir} has neither {SPLITS} nor {UTTERANCES}: stage 0 makes them")
    lectures += _read_utterances(source_dir)
    if not lectures:
        raise DataError(f"{source_dir} lists no lecture and no utterance in {SPLITS} or {UTTERANCES}")
    return lectures


def read_segments(source_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """{lecture: its utterances in order, with "begin" and "end" in samples}; empty where none are known."""
    segments: dict[str, list[dict[str, Any]]] = {}
    if (source_dir / SEGMENTS).is_file():
        for row in read_jsonl(source_dir / SEGMENTS):
            segments.setdefault(row["lecture"], []).append(row)
    return segments


def find_audio(folder: Path, name: str, suffixes: Sequence[str] = READ_AS_IS) -> Path | None:
    """The recording of a lecture, or None."""
    return next((p for p in (folder / f"{name}{s}" for s in suffixes) if p.is_file()), None)


def _read_utterances(source_dir: Path) -> list[SourceLecture]:
    path = source_dir / UTTERANCES
    utterances = []
    for number, row in enumerate(read_jsonl(path) if path.is_file() else [], 1):
        try:
            check_name(row["id"])
            if row["part"] not in ALL_PARTS:
                raise DataError(f"{path}, line {number}: part {row['part']!r} is none of {', '.join(ALL_PARTS)}")
            utterances.append(
                SourceLecture(
                    row["id"],
                    row["part"],
                    source_dir / row["audio"],
                    row["text"],
                    row["translation"],
                    row["lecture"],
                    row["number"],
                    is_utterance=True,
                )
            )
        except (KeyError, TypeError) as e:
            raise DataError(f"{path}, line {number}: no utterance as stage 0 writes them ({e!r})") from e
    return utterances
