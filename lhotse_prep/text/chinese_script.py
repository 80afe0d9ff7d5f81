"""Conversion between Traditional and Simplified Chinese with OpenCC."""

from __future__ import annotations

import functools
from typing import Any

from lhotse_prep.text.config import SCRIPTS
from lhotse_prep.text.normalize import normalize_transcript, remove_han_spaces
from lhotse_prep.workflow.errors import ConfigError


def convert_script(text: str, script: str) -> str:
    """Normalised text in another script.

    OpenCC converts phrase by phrase (发 becomes 發 or 髮), so it gets text without spaces between Han characters. It
    never changes the number of characters.

    Args:
      text: as normalize_transcript returns it.
      script: keep (no change), s2t (to Traditional) or t2s (to Simplified).
    Raises:
      ConfigError: another script.
    """
    if script not in SCRIPTS:
        raise ConfigError(f"script must be one of {', '.join(SCRIPTS)}, got {script!r}")
    if script == "keep" or not text:
        return text
    return normalize_transcript(converter(script).convert(remove_han_spaces(text)))


@functools.cache
def converter(script: str) -> Any:
    """OpenCC's converter for s2t or t2s."""
    import opencc

    return opencc.OpenCC(script)
