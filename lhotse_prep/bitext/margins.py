"""How sure each pair of the best path is: by how much the best path that leaves it is worse.

T tokens, K segments, C cells of the band. Row k is the position after k segments, column j the position after j tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from lhotse_prep.bitext.search import (
    NULL_RUN,
    NULL_STRETCH,
    NULL_TOKEN,
    NULL_WORD,
    Band,
    Cells,
    LectureUnits,
    LengthPrior,
    fill,
)

DISTANCE = 3  # tokens; a path that stays this near to the best path does not leave it


def margins(
    lecture: LectureUnits, prior: LengthPrior, band: Band, beads: Sequence[tuple[int, int, int, int]], cells: Cells
) -> np.ndarray:
    """For each bead the log-probability of the best path less that of the best path that leaves it, in nats.

    A path leaves a bead if it is more than DISTANCE tokens away from it in one of the bead's rows, or if it leaves both
    sides of the bead unpaired. A bead without one of its sides gets 0.

    Args:
      lecture, prior, band: as they were searched.
      beads, cells: from `search`.
    """
    num_tokens = len(lecture.source_starts) - 1
    from_end = fill(lecture.reversed(), prior, Band(num_tokens - band.high[::-1], num_tokens - band.low[::-1]))
    through = cells.score + from_end.score[::-1]
    near_low, near_high = _near(beads, num_tokens, len(band.low))
    starts = band.starts()
    left = _best_outside(through, starts, band.low, near_low, near_high)
    total = float(cells.score[-1])
    values = np.zeros(len(beads))
    for n, (k0, k1, i, j) in enumerate(beads):
        if k0 == k1 or i == j:
            continue
        before = float(cells.score[starts[k0] + i - band.low[k0]])
        after = float(from_end.score[::-1][starts[k1] + j - band.low[k1]])
        unpaired = before + after + _price_unpaired(lecture, (k0, k1, i, j))
        values[n] = total - max(unpaired, left[k0 : k1 + 1].max())
    return np.maximum(values, 0.0)


def _price_unpaired(lecture: LectureUnits, bead: tuple[int, int, int, int]) -> float:
    """Log-probability of both sides of a bead without each other."""
    k0, k1, i, j = bead
    odds = lecture.segment_odds[k0] + lecture.segment_odds[k1] + lecture.token_odds[i] + lecture.token_odds[j]
    run = NULL_RUN + NULL_WORD * lecture.segment_words[k0:k1].sum()
    return float(run + NULL_STRETCH + NULL_TOKEN * (j - i) + 0.5 * odds)


def _near(beads: Sequence[tuple[int, int, int, int]], num_tokens: int, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last column of each row that are near the path, both (K + 1,)."""
    low, high = np.full(num_rows, num_tokens), np.zeros(num_rows, dtype=np.int64)
    for k0, k1, i, j in beads:
        for k, first, last in ((k0, i, i), (k1, j, j)):
            low[k], high[k] = min(low[k], first - DISTANCE), max(high[k], last + DISTANCE)
        inside = min(DISTANCE, (j - i) // 4)  # a row inside the bead: its edges are other places
        low[k0 + 1 : k1], high[k0 + 1 : k1] = i + inside, j - inside
    return low, high


@numba.njit(cache=True)
def _best_outside(through, starts, first_columns, near_low, near_high):
    """(K + 1,) the highest score of each row in a column outside near_low..near_high."""
    best = np.full(len(first_columns), -np.inf)
    for k in range(len(first_columns)):
        for cell in range(starts[k], starts[k + 1]):
            column = first_columns[k] + cell - starts[k]
            if (column < near_low[k] or column > near_high[k]) and through[cell] > best[k]:
                best[k] = through[cell]
    return best
