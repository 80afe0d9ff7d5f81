"""Frame log-probs + unit ids -> unit times: exact CTC Viterbi over a whole lecture, in little memory and time.

Only one row of scores is kept per block of 1024 frames: the one before it. On the way back, back-pointers are computed
one block at a time, and only for the units that the path can pass in it, so memory grows with U * T / 1024.

Legend: T frames, V symbols with blank (0), U units in the text, C different symbols in the text, with blank.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment, best_path
from lhotse_prep.alignment.search.doubt import doubtful_units
from lhotse_prep.alignment.search.frame_reader import FrameReader
from lhotse_prep.alignment.search.states import Text
from lhotse_prep.alignment.search.unsaid import unsaid_units
from lhotse_prep.workflow.errors import DataError


def align(
    log_probs: NDArray[np.floating] | Iterable[NDArray[np.floating]],
    units: NDArray[np.int64],
    lecture: str = "?",
    star_penalty: float | None = None,
    star_opening: float = 0.0,
    skip_cost: float | None = None,
    mismatch_penalty: float | None = None,
    distance: int | None = None,
) -> Alignment:
    """The best path of the units through the frames.

    Args:
      log_probs: (T, V), float32 or float16. Either an array or memory map, of which one block at a time is copied; or
        its blocks (F, V) in order, of any lengths, which are read once (the columns that the text needs are kept in a
        temporary file to read again). Blank is column 0. The costs below are at least 0.
      units: (U,) ids of the text.
      lecture: named in errors.
      star_penalty: allow speech without text, at each frame's best log-prob minus this; None: do not.
      star_opening: additional cost of each stretch of such speech. At 0, a unit beside a long stretch may just as well
        be anywhere within it.
      skip_cost: allow a unit to be left unspoken at this cost; None: do not.
      mismatch_penalty: allow a unit to be spoken as another, at the log-prob of the frame's best unit minus this; None:
        do not. Between star_penalty and star_penalty + star_opening + skip_cost, a wrong unit of the text is timed
        where its place holds speech that has no text of its own.
      distance: find the units that may just as well be this many frames away, beside gaps of that length, and those
        that are probably not spoken; None: do not.
    Raises:
      DataError: empty text, no frames, more units than frames, an id outside the vocabulary, log-probs not finite.
    """
    if len(units) == 0:
        raise DataError(f"lecture {lecture}: its transcript is empty, there is nothing to align")
    units = np.asarray(units, dtype=np.int64)
    with FrameReader(log_probs, units, lecture, star_penalty, mismatch_penalty) as reader:
        text = Text.of(reader.symbols, None if star_penalty is None else star_opening, skip_cost)
        path = best_path(reader, text)
        if path is None:
            raise DataError(f"lecture {lecture}: no alignment exists; is this the transcript of another recording?")
        if distance is None:
            return path
        path = replace(path, doubtful=doubtful_units(reader, text, path, distance))
        return replace(path, unsaid=unsaid_units(reader, text, path, near=distance // 8))
