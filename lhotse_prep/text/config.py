"""How transcripts are written: section `text` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

SCRIPTS = ("keep", "s2t", "t2s")


@dataclass(frozen=True)
class TextConfig:
    """How transcripts are written."""

    script: str = "keep"  # Han characters stay, or become Traditional (s2t) or Simplified (t2s) by OpenCC

    def __post_init__(self) -> None:
        if self.script not in SCRIPTS:
            raise ConfigError(f"script must be one of {', '.join(SCRIPTS)}, got {self.script!r}")
