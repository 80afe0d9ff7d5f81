"""Writes windows as Lhotse Shar: audio and features in tar files, to train from large or remote disks."""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse import CutSet

logger = logging.getLogger(__name__)
FIELDS = {"recording": "flac", "features": "lilcom"}


def write_shar(cuts: CutSet, out_dir: Path, shard_size: int) -> None:
    """Write cuts.NNNNNN.jsonl.gz, recording.NNNNNN.tar and features.NNNNNN.tar to out_dir.

    `CutSet.from_shar(in_dir=out_dir)` reads them. Each window is stored with its own audio, not the lecture's.

    Args:
      cuts: windows with features.
      out_dir: where to write.
      shard_size: windows per shard.
    """
    if not len(cuts):
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    cuts.to_shar(out_dir, fields=FIELDS, shard_size=shard_size)
    logger.info("%s: %d windows in shards of %d", out_dir, len(cuts), shard_size)
