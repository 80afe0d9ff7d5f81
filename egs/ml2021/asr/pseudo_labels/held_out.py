"""Refuses recordings that are in the corpus: training on those of dev or test would make their scores worthless."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lhotse import Recording, RecordingSet, SupervisionSet

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.gate import inspect_audio
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import AUDIO, is_empty_part, open_part, part_file
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.manifests.texts import Text, check_shared_texts
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)


def require_other_ids(names: Sequence[str], manifests: Path) -> None:
    """Raise DataError if a recording has the id of one in stage 1's folder, or the folder is none of stage 1."""
    if not is_empty_part(manifests, "recordings"):
        raise DataError(
            f"no file {part_file(manifests, 'recordings', 'test')}: --manifests names stage 1's folder, such as "
            "data/mini/manifests"
        )
    for part in PARTS:
        ids = {r.id for r in open_part(manifests, "recordings", part, RecordingSet)}
        if same := [name for name in names if name in ids]:
            why = (
                "which has its transcript" if part == "train" else f"and training on {part} makes its scores worthless"
            )
            raise DataError(
                f"recording {same[0]} is in the {part} part of {manifests}, {why}: leave it out, or rename it if it is "
                "another one"
            )


def require_other_samples(recordings: Iterable[Recording], manifests: Path) -> None:
    """Raise DataError if a recording (16 kHz, mono) has the samples of one in stage 1's folder.

    Only those with the same number of samples are read.
    """
    known: dict[int, list[tuple[str, Recording]]] = {}
    for part in PARTS:
        for r in open_part(manifests, "recordings", part, RecordingSet, AUDIO):
            known.setdefault(r.num_samples, []).append((part, r))
    for recording in recordings:
        digest = ""
        for part, other in known.get(recording.num_samples, []):
            digest = digest or inspect_audio(plain_audio(recording), AudioLimits()).digest
            if inspect_audio(plain_audio(other), AudioLimits()).digest == digest:
                raise DataError(
                    f"recording {recording.id} has the samples of {other.id} in the {part} part of {manifests}: leave "
                    "it out"
                )


def require_other_texts(texts: Mapping[str, str], manifests: Path, max_shared: float) -> None:
    """Raise DataError if much of a text is that of a dev or test lecture; warn of less (see check_shared_texts).

    Args:
      texts: {recording: what was recognised in it}.
      manifests: stage 1's folder.
      max_shared: share of a text's runs of eight tokens, checks.max_shared_text of prep.yaml.
    """
    all_texts = [Text(name, "train", text) for name, text in texts.items()]
    for part in ("dev", "test"):
        supervisions = open_part(manifests, "supervisions", part, SupervisionSet)
        all_texts += [Text(s.id, part, s.text or "") for s in supervisions]
    for finding in check_shared_texts(all_texts, max_shared):
        if finding.part != "train":
            continue
        message = f"recording {finding.id}: {finding.message} (as it was recognised): is it that lecture?"
        if finding.is_error:
            raise DataError(f"{message} Leave it out")
        logger.warning("%s", message)
