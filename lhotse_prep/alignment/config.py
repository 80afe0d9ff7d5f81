"""Where aligned supervisions end (section `stretches` of prep.yaml), and the costs of faults in a transcript."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import require, require_all

TIMES_VERSION = 5  # raised when the same options give other times of words


@dataclass(frozen=True)
class StretchConfig:
    """Where one supervision ends and the next begins."""

    min_pause: float = 0.35  # seconds of silence between words
    min_word: float = 0.04  # seconds that a word lasts at least
    max_word: float = 1.5  # seconds; no word is drawn out longer: the rest is speech without text

    def __post_init__(self) -> None:
        if self.min_pause <= 0 or not 0 < self.min_word <= self.max_word:
            raise ConfigError("need min_pause > 0 s and 0 < min_word <= max_word (seconds)")


@dataclass(frozen=True)
class FaultConfig:
    """What faults in a transcript cost the search, and which times are too doubtful to keep."""

    star_penalty: float = 2.0  # log-prob that each frame of speech without text costs; last alignment only
    star_opening: float = 3.0  # that each stretch of such speech costs in addition
    skip_cost: float = 4.0  # that a token without speech costs
    mismatch_penalty: float = 4.5  # that a token spoken as another costs
    min_island: int = 6  # tokens; a shorter timed run loses its times amid longer runs of untimed text

    @property
    def costs(self) -> dict[str, float]:
        """The costs, by the names of the parameters of lhotse_prep.alignment.search.align.align."""
        names = ("star_penalty", "star_opening", "skip_cost", "mismatch_penalty")
        return {name: getattr(self, name) for name in names}

    def __post_init__(self) -> None:
        require_all(self, ("star_opening", "min_island"), 0)
        require(
            0 < self.star_penalty < self.mismatch_penalty < self.star_penalty + self.star_opening + self.skip_cost,
            "need 0 < star_penalty < mismatch_penalty < star_penalty + star_opening + skip_cost",
        )
