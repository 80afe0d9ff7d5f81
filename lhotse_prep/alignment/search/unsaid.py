"""Units of a transcript that are probably not spoken, where the search has found many of them.

What a unit without speech costs should follow how many there are. In most transcripts nearly each word is spoken, and
one that the model hardly recognises is a spoken one. Where words are left out again and again amid words that the model
recognises, those of which it has heard only half are probably not spoken either: they got the frames of their
neighbours, or a sound that they share with them.

Legend: U units in the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment, best_path
from lhotse_prep.alignment.search.doubt import WEAK
from lhotse_prep.alignment.search.frame_reader import FrameReader
from lhotse_prep.alignment.search.states import Text
from lhotse_prep.alignment.search.strays import split_at_gaps

_CHEAPER = 0.5  # of the cost of a unit without speech
# From this many places on, and this part of the recognised units, units left out amid them are many. Measured: 0.1 to
# 0.3% in texts as they are said, 3.5 to 5.5% where 6% of the words are not said.
_PLACES = 5
_MANY = 0.006
# In noise, and where paragraphs are exchanged, units are left out as others get a time and are not recognised.
# Measured: 0.04 to 0.5 for each of these, and 1.8 to 4.8 where words are not said.
_AS_MANY_AS_WEAK = 1.0
_SHORT = 6  # units; more of them in a row are a passage
_NEAR = 8  # units


def unsaid_units(reader: FrameReader, text: Text, path: Alignment, near: int) -> NDArray[np.bool_]:
    """(U,) which units a path leaves out for which that costs half as much; all False where the best leaves out few.

    Only the best path places units: the other one may leave out a passage and begin again elsewhere. So a unit counts
    only between units, at most _NEAR away, that both paths have at the same place.

    Args:
      reader: of the log-probs, after the forward pass.
      text: the units, and the costs of a path.
      path: the best.
      near: frames, up to which two places are the same.
    """
    none = np.zeros(len(path.start), dtype=bool)
    if not text.may_skip or not _leaves_out_many(path):
        return none
    other = best_path(reader, text._replace(skip=np.float32(_CHEAPER * text.skip)))
    if other is None:
        return none
    timed, left_out = path.start >= 0, other.start < 0
    same = timed & ~left_out & (np.abs(path.start - other.start) <= near)
    window = np.ones(_NEAR + 1)
    before = np.convolve(same, window)[: len(same)] > 0.5
    after = np.convolve(same[::-1], window)[: len(same)][::-1] > 0.5
    return left_out & before & after


def _leaves_out_many(path: Alignment) -> bool:
    timed = path.start >= 0
    recognised = timed & (path.score >= WEAK)
    amid = np.append(False, recognised[:-1]), np.append(recognised[1:], False)  # whether the unit before and after is
    runs = split_at_gaps(np.flatnonzero(~timed), 1)
    sizes = [len(run) for run in runs if len(run) <= _SHORT and amid[0][run[0]] and amid[1][run[-1]]]
    num_recognised = int(recognised.sum())
    num_weak = int(timed.sum()) - num_recognised
    return len(sizes) >= _PLACES and sum(sizes) > max(_MANY * num_recognised, _AS_MANY_AS_WEAK * num_weak)
