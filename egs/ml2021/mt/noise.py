"""Simulated recognition errors in source sentences, which make the translator robust to real ones in the cascade."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.syllables import syllable
from ml2021.mt.config import NoiseConfig


class RecognitionNoise:
    """Substitutes, deletes and inserts tokens, and drops fillers.

    Errors of a recogniser are rarely random: it writes 八 for 把, which sounds the same, or misspells an English word
    (`llyer` for `layer`). A share `config.sound_alike` of the substitutions is of that kind. Other substitutes and
    inserted tokens are drawn from the training tokens by their frequency.
    """

    def __init__(self, tokens: Sequence[str], config: NoiseConfig) -> None:
        """
        Args:
          tokens: all tokens of the training sentences, with repetitions.
          config: rates and probabilities.
        """
        self.tokens, self.config = list(tokens), config
        self._homophones: dict[str, list[str]] = {}
        for character in sorted({t for t in tokens if is_han(t)}):
            self._homophones.setdefault(syllable(character), []).append(character)

    def __call__(self, tokens: Sequence[str], rng: random.Random) -> tuple[str, ...]:
        """Return the sentence as it might be recognised; never an empty one."""
        c = self.config
        kept = [t for t in tokens if t not in c.fillers or rng.random() >= c.filler_drop]
        if rng.random() < c.sentence_probability:
            noisy, rate = [], c.token_rate
            for token in kept:
                kind = rng.random() / max(rate, 1e-9)
                rate = max(c.token_rate, c.burst) if kind < 1 else c.token_rate
                if kind < 1 and c.keep_terms and not is_han(token):
                    noisy.append(_misspelled(token, rng))
                elif kind < 0.6:
                    noisy.append(self._substitute(token, rng))
                elif kind < 0.8:
                    noisy.extend((token, rng.choice(self.tokens)))
                elif kind >= 1:
                    noisy.append(token)
            kept = noisy
        return tuple(kept) or tuple(tokens)

    def _substitute(self, token: str, rng: random.Random) -> str:
        if rng.random() < self.config.sound_alike:
            if not is_han(token):
                return _misspelled(token, rng)
            others = [h for h in self._homophones.get(syllable(token), []) if h != token]
            if others:
                return rng.choice(others)
        return rng.choice(self.tokens)


def _misspelled(word: str, rng: random.Random) -> str:
    """Delete one to three letters of a word, or double one."""
    place = rng.randrange(len(word))
    if len(word) == 1 or rng.random() < 0.3:
        return word[:place] + word[place] + word[place:]
    num_deleted = rng.randint(1, min(3, len(word) - 1))
    return (word[:place] + word[place + num_deleted :]) or word[:1]
