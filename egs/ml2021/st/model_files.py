"""Which files of an experiment the cascade reads, and their digests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lhotse_prep.workflow.digests import digest_file


def translator_dir(mt_dir: Path) -> Path:
    """The folder of the translator's model: a CTranslate2 folder itself, else marian/ in it, else a Marian folder."""
    if (mt_dir / "model.bin").is_file() or not (mt_dir / "marian").is_dir():
        return mt_dir
    return mt_dir / "marian"


def recogniser_digests(asr_dir: Path) -> dict[str, str]:
    """{path in asr_dir: digest} of the files that ml2021.asr.model.load.load_model reads."""
    files = [asr_dir / "config.json", asr_dir / "pretrained.pt", *(asr_dir / "lang").glob("*")]
    return _digests(asr_dir, files)


def translator_digests(mt_dir: Path) -> dict[str, str]:
    """{file name: digest} of the translator's model."""
    folder = translator_dir(mt_dir)
    return _digests(folder, folder.glob("*"))


def _digests(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_file(path) for path in sorted(files) if path.is_file()}
