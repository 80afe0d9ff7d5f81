"""A user's folder of lectures (NAME.wav or .flac, NAME.txt, NAME.en.txt, perhaps splits.yaml) -> a source folder."""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.corpora.source import (
    PARTS,
    SPLITS,
    TEXT_ONLY,
    add_lecture,
    default_splits,
    find_audio,
    read_splits,
    write_splits,
)
from lhotse_prep.errors import DataError

logger = logging.getLogger(__name__)
_TRANSLATION = ".en.txt"


def import_folder(folder: Path, source_dir: Path) -> None:
    """Copy the lectures of a folder. A lecture without a recording, but with both texts, is text-only.

    Raises:
      DataError: no lectures, a recording without transcript, a lecture of splits.yaml that is not there.
    """
    transcripts = {p.name[: -len(".txt")] for p in folder.glob("*.txt") if not p.name.endswith(_TRANSLATION)}
    recordings = {p.stem for pattern in ("*.wav", "*.flac") for p in folder.glob(pattern)}
    if not transcripts:
        raise DataError(f"{folder} holds no lectures: expected NAME.wav or NAME.flac with NAME.txt and NAME.en.txt")
    untold = sorted(recordings - transcripts)
    if untold:
        raise DataError(f"no transcript NAME.txt beside {', '.join(untold[:5])} ({len(untold)} in all) in {folder}")
    if (folder / SPLITS).is_file():
        splits = read_splits(folder / SPLITS)
    else:
        splits = default_splits(sorted(recordings)) | {TEXT_ONLY: sorted(transcripts - recordings)}
    for part in (*PARTS, TEXT_ONLY):
        for name in splits[part]:
            if name not in transcripts:
                raise DataError(f"lecture {name} of {SPLITS} ({part}) has no transcript {name}.txt in {folder}")
            translation = folder / f"{name}{_TRANSLATION}"
            add_lecture(
                source_dir, name, None if part == TEXT_ONLY else find_audio(folder, name),
                _text(folder / f"{name}.txt"), _text(translation) if translation.is_file() else "",
            )  # fmt: skip
    write_splits(source_dir, splits)
    logger.info("%s: %s", folder, ", ".join(f"{part} {len(names)}" for part, names in splits.items()))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 (byte {e.start}); convert it") from e
