"""Which of many texts shares most runs of tokens with another one; 12 bytes a run are kept, and no text.

M indexed texts, R different runs of each text together.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_RUN = 8  # tokens; lectures of one speaker share few runs as long as this
_Key = tuple[str, str]  # (part, id)


class SharedRuns:
    """The runs of tokens of some texts, to find the one that shares most of them with another text."""

    def __init__(self, texts: Iterable[tuple[_Key, Sequence[str]]]) -> None:
        """
        Args:
          texts: (part, id) and tokens of each; those without tokens are left out, of equal keys the last one counts.
        """
        runs, numbers = array("q"), array("i")  # (R,): hashes of the runs, and number of the text of each
        self._keys: list[_Key] = []  # (M,)
        number_of: dict[_Key, int] = {}
        for key, tokens in texts:
            if tokens:
                runs_of_text = set(_runs(tokens))
                number_of[key] = len(self._keys)
                numbers.extend([len(self._keys)] * len(runs_of_text))
                runs.extend(runs_of_text)
                self._keys.append(key)
        texts_of_runs = np.frombuffer(numbers, dtype=np.int32) if numbers else np.zeros(0, np.int32)
        self._num_runs = np.bincount(texts_of_runs, minlength=len(self._keys))  # (M,)
        hashes = np.frombuffer(runs, dtype=np.int64) if runs else np.zeros(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        self._runs, self._numbers = hashes[order], texts_of_runs[order]  # both (R,)
        self._latest = set(number_of.values())

    def __len__(self) -> int:
        return len(self._keys)

    def most_shared(self, tokens: Sequence[str], parts: Container[str]) -> tuple[float, _Key]:
        """The largest share of runs, of the shorter text, and (part, id) of the text of these parts that has it."""
        runs = np.fromiter(set(_runs(tokens)) if tokens else (), dtype=np.int64)
        if not len(runs):
            return 0.0, ("", "")
        first = np.searchsorted(self._runs, runs, side="left")
        end = np.searchsorted(self._runs, runs, side="right")
        numbers, counts = np.unique(self._numbers[_ranges(first, end)], return_counts=True)
        shares = (
            (int(n) / min(len(runs), int(self._num_runs[i])), self._keys[i])
            for i, n in zip(numbers.tolist(), counts)
            if self._keys[i][0] in parts and i in self._latest
        )
        return max(shares, default=(0.0, ("", "")))


def _ranges(first: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from first[i] to end[i] - 1 of every i, one after the other."""
    lens = end - first
    before = np.cumsum(lens) - lens  # of the ranges before each one
    numbers: NDArray[np.int64] = np.arange(lens.sum()) + np.repeat(first - before, lens)
    return numbers


def _runs(tokens: Sequence[str]) -> Iterator[int]:
    """A hash of each run of tokens; of the whole text if it is shorter."""
    return (hash(tuple(tokens[i : i + _RUN])) for i in range(max(1, len(tokens) - _RUN + 1)))
