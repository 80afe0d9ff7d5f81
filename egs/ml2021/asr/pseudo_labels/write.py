"""Write the windows that are kept as stage 4 writes its own, and those that are left out with their reasons."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from lhotse import CutSet, MonoCut

from lhotse_prep.manifests.files import part_file
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.write import write_cuts
from lhotse_prep.workflow.errors import DataError, list_names
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.files import json_line, whole_file, whole_folder
from ml2021.asr.pseudo_labels.config import SelectConfig
from ml2021.asr.pseudo_labels.select import left_out_row, reason_of

logger = logging.getLogger(__name__)
PART = "pseudo"
_KEPT = "kept"
_LITTLE = 0.1  # part of the speech, below which a warning says so


def write_selected(
    labelled: Mapping[str, CutSet], out_dir: Path, select: SelectConfig, windows: WindowConfig, executor: Executor
) -> None:
    """Write ml2021_cuts_pseudo.jsonl.gz with features, and left_out.jsonl, to a new folder that replaces out_dir.

    Args:
      labelled: {recording: all of its windows}, see label.label_recordings; read one by one.
      out_dir: what this function did not write there is an error.
      select: which windows are kept.
      windows: whether Lhotse Shar is written too.
      executor: where features are computed.
    Raises:
      DataError: there is no speech, or no window is kept; out_dir has left_out.jsonl only.
    """
    totals: Counter[str] = Counter()
    with whole_folder(out_dir) as work, whole_file(work / "left_out.jsonl") as left_out:
        kept = _kept(labelled, select, left_out, totals)
        write_cuts(PART, kept, work, out_dir, windows, executor)
    path = part_file(out_dir, "cuts", PART)
    if not totals:
        raise DataError(f"no speech was detected in {list_names(list(labelled))}: there is no window to label")
    if not totals[_KEPT]:
        raise DataError(
            f"no window is kept ({_hours(totals)}): see {out_dir / 'left_out.jsonl'}, and choose other limits "
            "(--min-confidence, --max-disagreement) or another recogniser"
        )
    logger.info("%d recordings: %s; %s", len(labelled), _hours(totals), path)
    if totals[_KEPT] < _LITTLE * totals.total():
        logger.warning(
            "only %.1f%% of the speech is kept: a recogniser whose searches agree on so little is not ready to label; "
            "look at the limits that left out most (%s), or take another recogniser",
            100 * totals[_KEPT] / totals.total(),
            out_dir / "left_out.jsonl",
        )


def _kept(
    labelled: Mapping[str, CutSet], select: SelectConfig, left_out: IO[str], totals: Counter[str]
) -> Iterator[MonoCut]:
    """The windows that are kept; the others are written, and `totals` counts the seconds of both by their reason."""
    for name, cuts in labelled.items():
        seconds: Counter[str] = Counter()
        for cut in cuts:
            reason = reason_of(cut, select)
            seconds[reason or _KEPT] += cut.duration
            if reason is None:
                yield cut
            else:
                left_out.write(json_line(left_out_row(cut, reason)))
        totals.update(seconds)
        logger.info("%s: %s", name, _hours(seconds))


def _hours(seconds: Mapping[str, float]) -> str:
    """As "1.20 h kept, 0.31 h left out: confidence 0.30 h, rate 0.01 h"."""
    reasons = sorted((s, reason) for reason, s in seconds.items() if reason != _KEPT)[::-1]
    listed = ", ".join(f"{reason} {s / 3600:.3f} h" for s, reason in reasons)
    total = sum(s for s, _ in reasons)
    return f"{seconds.get(_KEPT, 0.0) / 3600:.3f} h kept, {total / 3600:.3f} h left out" + (
        f": {listed}" if listed else ""
    )
