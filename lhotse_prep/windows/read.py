"""Reads the windows of stage 4 for training and decoding: checked, with one supervision each."""

from __future__ import annotations

from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from lhotse_prep.manifests.files import check_cut
from lhotse_prep.workflow.errors import DataError


def read_windows(cuts_dir: Path, part: str) -> CutSet:
    """The windows of a part that have text, as a lazy CutSet.

    Raises:
      DataError: there is no such file; or, during iteration, Lhotse would have to execute, fetch or unpickle something
        to read a window.
    """
    path = cuts_dir / f"ml2021_cuts_{part}.jsonl.gz"
    if not path.is_file():
        raise DataError(f"no cuts {path}; run stage 4, which makes them")
    return CutSet.from_jsonl_lazy(path).map(check_cut).filter(_has_text).map(with_one_supervision)


def _has_text(cut: Cut) -> bool:
    return len(cut.supervisions) > 0


def with_one_supervision(cut: Cut) -> Cut:
    """The cut with its supervisions joined to one as long as the cut, so that the pauses at both ends belong to it."""
    ordered = sorted(cut.supervisions, key=lambda s: s.start)
    text = " ".join(s.text for s in ordered)
    whole = fastcopy(ordered[0], id=cut.id, start=0.0, duration=cut.duration, text=text, alignment=None, custom=None)
    return fastcopy(cut, supervisions=[whole])
