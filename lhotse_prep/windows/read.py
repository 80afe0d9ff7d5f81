"""Reads the windows of stage 4 for training and decoding: checked, with one supervision each."""

from __future__ import annotations

from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from lhotse_prep.manifests.files import is_empty_part, open_cuts, part_file
from lhotse_prep.workflow.errors import DataError


def read_windows(cuts_dir: Path, part: str, needs: str | None = None) -> CutSet:
    """The windows of a part that have text, as a lazy CutSet; none if a folder with windows has no file of the part.

    Args:
      needs: AUDIO or FEATS (manifests.files), if those files must exist.
    Raises:
      DataError: the folder has no windows; or, during iteration, a window is damaged, a file that it needs is missing,
        or Lhotse would have to execute, fetch or unpickle something to read it.
    """
    path = part_file(cuts_dir, "cuts", part)
    if path.is_file():
        return open_windows(path, needs)
    if not is_empty_part(cuts_dir, "cuts"):
        raise DataError(f"no cuts {path}; run stage 4, which makes them")
    return CutSet.from_cuts([])


def open_windows(path: Path, needs: str | None = None) -> CutSet:
    """The same of a single manifest of cuts.

    Raises:
      DataError: there is no such file; and as read_windows during iteration.
    """
    return open_cuts(path, needs).filter(_has_text).map(with_one_supervision)


def _has_text(cut: Cut) -> bool:
    return len(cut.supervisions) > 0


def with_one_supervision(cut: Cut) -> Cut:
    """The cut with its supervisions joined to one as long as the cut, so that the pauses at both ends belong to it."""
    ordered = sorted(cut.supervisions, key=lambda s: s.start)
    text = " ".join(s.text or "" for s in ordered)
    whole = fastcopy(ordered[0], id=cut.id, start=0.0, duration=cut.duration, text=text, alignment=None, custom=None)
    return fastcopy(cut, supervisions=[whole])
