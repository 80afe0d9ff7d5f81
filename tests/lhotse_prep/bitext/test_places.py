"""The coarse search leaves the true places open, whatever is missing, and stays inside its budget."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.bitext import places
from lhotse_prep.bitext.places import band_of_places, cut_into_blocks

NUM_TYPES = 400


def blocks(tokens: np.ndarray, words: np.ndarray) -> places.Blocks:
    """Blocks of texts in which type n is translated as type n."""
    probs = np.eye(NUM_TYPES, dtype=np.float32) * 0.6
    unigram = np.full(NUM_TYPES, 1 / NUM_TYPES, dtype=np.float32)
    return cut_into_blocks((tokens, np.arange(len(tokens) + 1)), (words, np.arange(len(words) + 1)), probs, unigram)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("missing", ["nothing", "tokens", "words"])
def test_true_places_are_open_and_wrong_ones_are_not(seed: int, missing: str) -> None:
    rng = np.random.default_rng(seed)
    text = rng.integers(0, NUM_TYPES, 1500).astype(np.int32)
    at = np.arange(1500)
    first = int(rng.integers(0, 1100))
    left = np.delete(at, slice(first, first + 400))
    kept_tokens, kept_words = (left if missing == "tokens" else at), (left if missing == "words" else at)
    starts = np.arange(0, len(kept_words) + 1, 10)
    starts[-1] = len(kept_words)
    band = band_of_places(blocks(text[kept_tokens], text[kept_words]), starts)
    place = {t: n for n, t in enumerate(kept_tokens.tolist())}
    for k, word in enumerate(starts[:-1].tolist()):
        if (token := place.get(int(kept_words[word]))) is not None:
            assert band.low[k] <= token <= band.high[k]
    assert np.median(band.high - band.low) < 150
    assert (np.diff(band.low) >= 0).all() and (np.diff(band.high) >= 0).all() and (band.low[1:] <= band.high[:-1]).all()


def test_unrelated_texts_stay_inside_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tokens, words = rng.integers(0, 200, 2000), rng.integers(200, 400, 1500)
    monkeypatch.setattr(places, "MAX_CELLS", 30_000)
    band = band_of_places(blocks(tokens.astype(np.int32), words.astype(np.int32)), np.arange(0, 1501, 10))
    assert (band.high - band.low + 1).sum() < 2 * 30_000
    assert band.low[0] == 0 and band.high[-1] == 2000
