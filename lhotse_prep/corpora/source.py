"""The one form that every corpus is brought into: a folder of lectures.

`NAME.wav` or `NAME.flac` (16 kHz, mono), `NAME.txt`, `NAME.en.txt`, and `splits.yaml` with the lectures of each part:
train, dev, test, and text (transcript and translation without a recording).
"""

from __future__ import annotations

import io
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import yaml

from lhotse_prep.errors import DataError
from lhotse_prep.stages import whole_file, write_text

logger = logging.getLogger(__name__)
SAMPLE_RATE = 16_000
PARTS = ("train", "dev", "test")
TEXT_ONLY = "text"
SPLITS = "splits.yaml"


@dataclass(frozen=True)
class SourceLecture:
    """A lecture of a source folder."""

    id: str
    part: str
    audio: Path | None
    transcript: str
    translation: str  # may be empty


def add_lecture(source_dir: Path, lecture: str, audio: Path | bytes | None, transcript: str, translation: str) -> None:
    """Write one lecture's files; audio that is not 16 kHz mono WAV or FLAC is converted, and that is logged."""
    if not lecture or "/" in lecture or lecture.startswith(".") or any(c.isspace() for c in lecture):
        raise DataError(f"{lecture!r} cannot name a lecture: it must be a plain file name without spaces")
    source_dir.mkdir(parents=True, exist_ok=True)
    if audio is not None:
        _write_audio(source_dir, lecture, audio)
    write_text(source_dir / f"{lecture}.txt", transcript.strip() + "\n")
    if translation.strip():
        write_text(source_dir / f"{lecture}.en.txt", translation.strip() + "\n")


def write_splits(source_dir: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write splits.yaml; every part is there, empty or not."""
    content = {part: list(splits.get(part, [])) for part in (*PARTS, TEXT_ONLY)}
    write_text(source_dir / SPLITS, yaml.safe_dump(content, sort_keys=False))


def read_splits(path: Path) -> dict[str, list[str]]:
    """Read splits.yaml.

    Raises:
      DataError: not a mapping of known parts to lists of lectures, or a lecture in two parts.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {' '.join(str(e).split())}") from e
    known = (*PARTS, TEXT_ONLY)
    if not isinstance(content, dict) or set(content) - set(known):
        raise DataError(f"{path} must map {', '.join(known)} to lists of lectures")
    splits = {part: [str(x) for x in content.get(part) or []] for part in known}
    seen: dict[str, str] = {}
    for part, lectures in splits.items():
        for lecture in lectures:
            if lecture in seen:
                raise DataError(f"{path}: lecture {lecture} is in {seen[lecture]} and in {part}; keep it in one part")
            seen[lecture] = part
    return splits


def default_splits(lectures: Sequence[str]) -> dict[str, list[str]]:
    """Whole lectures to parts: the last tenth (at least one of two) to test, the tenth before (of three) to dev."""
    ordered = sorted(lectures)
    tenth = max(1, round(len(ordered) / 10))
    num_test = tenth if len(ordered) >= 2 else 0
    num_dev = tenth if len(ordered) >= 3 else 0
    num_train = len(ordered) - num_test - num_dev
    return {
        "train": ordered[:num_train],
        "dev": ordered[num_train : num_train + num_dev],
        "test": ordered[num_train + num_dev :],
    }


def read_source(source_dir: Path) -> list[SourceLecture]:
    """All lectures of a source folder, in the order of splits.yaml.

    Raises:
      DataError: a file of a lecture is missing or its text is empty.
    """
    lectures = []
    for part, names in read_splits(source_dir / SPLITS).items():
        for name in names:
            audio = None if part == TEXT_ONLY else find_audio(source_dir, name)
            if part != TEXT_ONLY and audio is None:
                raise DataError(f"lecture {name} ({part}): no recording {name}.wav or {name}.flac in {source_dir}")
            transcript = _read_text(source_dir / f"{name}.txt")
            if transcript is None or not transcript.split():
                raise DataError(f"lecture {name}: its transcript {source_dir / name}.txt is missing or empty")
            translation = _read_text(source_dir / f"{name}.en.txt") or ""
            if part == TEXT_ONLY and not translation.split():
                raise DataError(f"lecture {name} has neither recording nor translation {name}.en.txt: nothing to learn")
            lectures.append(SourceLecture(name, part, audio, transcript, translation))
    return lectures


def find_audio(folder: Path, name: str) -> Path | None:
    """The recording of a lecture, or None."""
    return next((p for p in (folder / f"{name}.wav", folder / f"{name}.flac") if p.is_file()), None)


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 (byte {e.start}); convert it") from e


def _write_audio(source_dir: Path, lecture: str, audio: Path | bytes) -> None:
    """Bytes as they are where they are 16 kHz mono WAV or FLAC, else converted to FLAC."""
    what = audio if isinstance(audio, Path) else f"the table's audio of {lecture}"
    try:
        info = sf.info(str(audio) if isinstance(audio, Path) else io.BytesIO(audio))
    except (sf.LibsndfileError, TypeError) as e:
        raise DataError(f"lecture {lecture}: {what} cannot be read as audio ({e}); convert it to WAV or FLAC") from e
    if info.frames == 0:
        raise DataError(f"lecture {lecture}: {what} holds no samples")
    if info.samplerate == SAMPLE_RATE and info.channels == 1 and info.format in ("WAV", "FLAC"):
        path = source_dir / f"{lecture}.{info.format.lower()}"
        if isinstance(audio, Path):
            shutil.copyfile(audio, path)
        else:
            with whole_file(path, "wb") as f:
                f.write(audio)
        return
    logger.info("%s: %d Hz, %d channels, %s converted to 16 kHz mono FLAC",
                lecture, info.samplerate, info.channels, info.format)  # fmt: skip
    _convert(audio, info.samplerate, source_dir / f"{lecture}.flac")


def _convert(audio: Path | bytes, rate: int, path: Path) -> None:
    """Mix to mono and resample, a minute at a time with a second on both sides, so that seams are not heard."""
    import torch
    from torchaudio.functional import resample

    minute, second = 60 * rate, rate  # whole seconds are whole samples at both rates
    step = rate // math.gcd(rate, SAMPLE_RATE)
    assert second % step == 0
    temporary = path.with_name(f".{path.name}.tmp.flac")
    with (
        sf.SoundFile(str(audio) if isinstance(audio, Path) else io.BytesIO(audio)) as source,
        sf.SoundFile(str(temporary), "w", SAMPLE_RATE, 1, format="FLAC", subtype="PCM_16") as out,
    ):
        for begin in range(0, source.frames, minute):
            left = min(second, begin)
            source.seek(begin - left)
            samples = source.read(left + minute + second, dtype="float32", always_2d=True).mean(axis=1)
            piece = resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
            first = left * SAMPLE_RATE // rate
            count = math.ceil(min(minute, source.frames - begin) * SAMPLE_RATE / rate)
            out.write(np.clip(piece[first : first + count], -1.0, 1.0))
    temporary.replace(path)
