"""Frame log-probs + unit ids -> unit times: exact CTC Viterbi over a whole lecture, in little memory and time.

Of the rows of scores only those before each block of 1024 frames are kept. The way back makes the back-pointers of one
block at a time, and only of the units that the path can have passed in it, so memory grows with U * T / 1024.

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
from lhotse_prep.alignment.search.rows import Band, Lanes, Text
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
BEAM_CHECK = 4  # a beam is trusted where one so many times as wide finds the same path


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
      log_probs: (T, V), float32 or float16, an array or memory map, of which a block is copied at a time; or blocks
        (F, V) of it in order, of any lengths, which are read once (their columns that the text needs wait in a
        temporary file for the way back). Blank is column 0.
      units: (U,) ids of the text.
      lecture: named in errors.
      star_penalty: there may be speech without text, at each frame's best log-prob less this; None: there is none.
      star_opening: and each stretch of it costs this more. Where it is 0, a unit beside a long stretch may as well be
        anywhere within it.
      skip_cost: a unit may be left unspoken at this cost; None: it may not.
      mismatch_penalty: a unit may be spoken as another, at the log-prob of the frame's best unit less this; None: it
        may not. Between star_penalty and star_penalty + star_opening + skip_cost, a wrong unit of the text is timed
        where there is speech in its place that has no text of its own.
      beam: drop states whose log-prob is so much less than the best of their frame; time and memory are then linear
        in the length of the lecture. The path counts where a beam `BEAM_CHECK` times as wide finds the same; where
        it does not, or no path reaches the end, the search is done again without. None: exact at once.
      distance: find the units that may as well be so many frames away, beside stretches as long; None: do not look.
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
    """The best path, where two beams find the same; else None."""
    narrow, wide = (best_path(reader, text, Band(text, width)) for width in (beam, BEAM_CHECK * beam))
    if narrow is not None and wide is not None and narrow.same_places(wide):
        return wide
    logger.info("lecture %s: a beam of %g may have lost the best path; searching without", lecture, beam)
    return None
