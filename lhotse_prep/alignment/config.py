"""Where aligned supervisions end (section `stretches` of prep.yaml), and what faults of a transcript cost."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import require, require_all


@dataclass(frozen=True)
class StretchConfig:
    """Where one supervision ends and the next begins."""

    min_pause: float = 0.25  # seconds of silence between words
    min_word: float = 0.04  # seconds; a word lasts at least that long
    max_word: float = 1.5  # seconds; no word is drawn out longer: what follows is speech without text

    def __post_init__(self) -> None:
        if self.min_pause <= 0 or not 0 < self.min_word <= self.max_word:
            raise ConfigError("need min_pause > 0 s and 0 < min_word <= max_word (seconds)")


@dataclass(frozen=True)
class FaultConfig:
    """What faults of a transcript cost the search, and which times are too doubtful to keep."""

    star_penalty: float = 2.0  # log-probability that a frame of speech without text pays, last alignment only
    star_opening: float = 3.0  # and each stretch of such speech at its beginning
    skip_cost: float = 4.0  # and a token with no speech
    mismatch_penalty: float = 4.5  # and a token spoken as another
    min_island: int = 6  # tokens; shorter timed runs amid more text without times are untimed

    @property
    def costs(self) -> dict[str, float]:
        """What faults of a transcript cost, by the names of lhotse_prep.alignment.search.align.align."""
        names = ("star_penalty", "star_opening", "skip_cost", "mismatch_penalty")
        return {name: getattr(self, name) for name in names}

    def __post_init__(self) -> None:
        require_all(self, ("star_opening", "min_island"), 0)
        require(
            0 < self.star_penalty < self.mismatch_penalty < self.star_penalty + self.star_opening + self.skip_cost,
            "need 0 < star_penalty < mismatch_penalty < star_penalty + star_opening + skip_cost",
        )
