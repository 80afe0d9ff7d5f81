"""The script of the transcripts: section `text` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

SCRIPTS = ("keep", "s2t", "t2s")


@dataclass(frozen=True)
class TextConfig:
    """The script of the transcripts."""

    script: str = "keep"  # leave Han characters as they are; s2t, t2s: to Traditional or Simplified by OpenCC

    def __post_init__(self) -> None:
        if self.script not in SCRIPTS:
            raise ConfigError(f"script must be one of {', '.join(SCRIPTS)}, got {self.script!r}")
