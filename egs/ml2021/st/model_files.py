"""Which files of an experiment the cascade reads, and their digests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lhotse_prep.workflow.digests import digest_file, digest_json


def recogniser_digests(asr: str) -> dict[str, str]:
    """{path in the folder: digest} of the files that a recogniser of any kind reads; of a name, the name."""
    folder = Path(asr).expanduser()
    if not folder.is_dir():
        return {"name": asr}
    from ml2021.asr.decode.ours import is_ours

    if is_ours(folder):
        return _digests(folder, [folder / "config.json", folder / "pretrained.pt", *(folder / "lang").glob("*")])
    return _digests(folder, (p for p in folder.rglob("*") if not p.name.startswith(".")))


def translator_digests(mt: str | None) -> dict[str, str]:
    """{file name: digest} of a translator's model: in an experiment that in marian/; of a name, the name."""
    if mt is None:
        return {}
    folder = Path(mt).expanduser()
    if not folder.is_dir():
        return {"name": mt}
    if not (folder / "model.bin").is_file() and (folder / "marian").is_dir():
        folder = folder / "marian"
    return _digests(folder, folder.glob("*"))


def file_digest(path: Path | None) -> str:
    """The digest of an optional file; of a folder, that of the files in it."""
    if path is None:
        return ""
    return digest_json(_digests(path, path.glob("*"))) if path.is_dir() else digest_file(path)


def _digests(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest_file(path) for path in sorted(files) if path.is_file()}
