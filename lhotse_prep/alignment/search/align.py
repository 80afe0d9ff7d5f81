"""Frame log-probs + unit ids -> unit times: exact CTC Viterbi over a whole lecture, in little memory and time.

Only one row of scores is kept per block of 1024 frames: the one before it. On the way back, back-pointers are computed
one block at a time, and only for the units that the path can pass in it, so memory grows with U * T / 1024.

Legend: T frames, V symbols with blank (0), U units in the text, C different symbols in the text, with blank.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment, best_path
from lhotse_prep.alignment.search.doubt import doubtful_units
from lhotse_prep.alignment.search.frame_reader import FrameReader
from lhotse_prep.alignment.search.rows import Band, Lanes
from lhotse_prep.alignment.search.states import Text
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
BEAM_CHECK = 4  # a beam is trusted if a beam this many times as wide finds the same path


def align(
    log_probs: NDArray[np.floating] | Iterable[NDArray[np.floating]],
    units: NDArray[np.int64],
    lecture: str = "?",
    star_penalty: float | None = None,
    star_opening: float = 0.0,
    skip_cost: float | None = None,
    mismatch_penalty: float | None = None,
    beam: float | None = None,
    distance: int | None = None,
) -> Alignment:
    """The best path of the units through the frames.

    Args:
      log_probs: (T, V), float32 or float16. Either an array or memory map, of which one block at a time is copied; or
        its blocks (F, V) in order, of any lengths, which are read once (the columns that the text needs are kept in a
        temporary file for the way back). Blank is column 0.
      units: (U,) ids of the text.
      lecture: named in errors.
      star_penalty: allow speech without text, at each frame's best log-prob minus this; None: do not.
      star_opening: additional cost of each stretch of such speech. At 0, a unit beside a long stretch may just as well
        be anywhere within it.
      skip_cost: allow a unit to be left unspoken at this cost; None: do not.
      mismatch_penalty: allow a unit to be spoken as another, at the log-prob of the frame's best unit minus this; None:
        do not. Between star_penalty and star_penalty + star_opening + skip_cost, a wrong unit of the text is timed
        where its place holds speech that has no text of its own.
      beam: drop states whose log-prob is this far below the best of their frame; time and memory are then linear in
        the length of the lecture. The path is trusted if a beam `BEAM_CHECK` times as wide finds the same one; if it
        does not, or no path reaches the end, the search is repeated without a beam. None: exact from the start.
      distance: find the units that may just as well be this many frames away, beside gaps of that length; None: do not.
    Raises:
      DataError: empty text, no frames, more units than frames, an id outside the vocabulary, log-probs not finite.
    """
    if len(units) == 0:
        raise DataError(f"lecture {lecture}: its transcript is empty, there is nothing to align")
    units = np.asarray(units, dtype=np.int64)
    with FrameReader(log_probs, units, lecture, star_penalty, mismatch_penalty) as reader:
        text = Text.of(reader.symbols, None if star_penalty is None else star_opening, skip_cost)
        path = _within_beam(reader, text, beam, lecture) if beam is not None else None
        path = path or best_path(reader, text, Lanes(text))
        if path is None:
            raise DataError(f"lecture {lecture}: no alignment exists; is this the transcript of another recording?")
        return path if distance is None else replace(path, doubtful=doubtful_units(reader, text, path, distance))


def _within_beam(reader: FrameReader, text: Text, beam: float, lecture: str) -> Alignment | None:
    """The best path if two beams find the same one; otherwise None."""
    narrow, wide = (best_path(reader, text, Band(text, width)) for width in (beam, BEAM_CHECK * beam))
    if narrow is not None and wide is not None and narrow.same_places(wide):
        return wide
    logger.info("lecture %s: a beam of %g may have lost the best path; searching without", lecture, beam)
    return None
