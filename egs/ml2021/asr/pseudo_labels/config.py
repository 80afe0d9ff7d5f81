"""Which windows are kept as pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require


@dataclass(frozen=True)
class SelectConfig:
    """Limits of windows that are kept; tokens are those of scoring: Chinese characters and other words."""

    min_confidence: float = 0.9  # mean probability of the recogniser's tokens, 0 to 1
    max_disagreement: float = 0.05  # edits between the two texts, relative to the tokens of the first
    min_rate: float = 0.5  # tokens a second of the window
    max_rate: float = 12.0  # tokens a second of the window

    def __post_init__(self) -> None:
        require(0 <= self.min_confidence <= 1, f"min_confidence must be in 0..1, got {self.min_confidence}")
        require(self.max_disagreement >= 0, f"max_disagreement must be >= 0, got {self.max_disagreement}")
        require(
            0 <= self.min_rate < self.max_rate,
            f"need 0 <= min_rate < max_rate (tokens a second), got {self.min_rate} and {self.max_rate}",
        )
