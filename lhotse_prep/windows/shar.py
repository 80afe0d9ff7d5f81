"""Writes windows as Lhotse Shar: audio and features in tar files, to train from large or remote disks."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from lhotse.cut import Cut
from lhotse.shar import SharWriter

logger = logging.getLogger(__name__)
# Features as they are: lilcom rounds at each compression, so those in Shar would differ from those of the manifest.
FIELDS = {"recording": "flac", "features": "numpy"}


def write_shar(cuts: Iterable[Cut], out_dir: Path, shard_size: int) -> None:
    """Write cuts.NNNNNN.jsonl.gz, recording.NNNNNN.tar and features.NNNNNN.tar to out_dir; nothing for no cuts.

    `data.shar_dir` of asr.yaml and `CutSet.from_shar(in_dir=out_dir)` read them. Each window is stored with its own
    audio, not the lecture's.

    Args:
      cuts: windows with features, which are taken one after the other.
      out_dir: where to write.
      shard_size: windows per shard.
    """
    windows = iter(cuts)
    first = next(windows, None)
    if first is None:
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    count = 0
    with SharWriter(out_dir, FIELDS, shard_size) as writer:
        for cut in chain([first], windows):
            writer.write(cut)
            count += 1
    logger.info("%s: %d windows in shards of %d", out_dir, count, shard_size)
