"""Traditional and Simplified characters, by OpenCC."""

from __future__ import annotations

import functools
from typing import Any

from lhotse_prep.text.config import SCRIPTS
from lhotse_prep.text.normalize import normalize_transcript, remove_han_spaces
from lhotse_prep.workflow.errors import ConfigError


def convert_script(text: str, script: str) -> str:
    """Spaced tokens in the script asked for: keep, s2t (to Traditional) or t2s (to Simplified).

    OpenCC goes by phrases (发 becomes 發 or 髮), so it is given text without spaces; it never changes their number.
    """
    if script not in SCRIPTS:
        raise ConfigError(f"script must be one of {', '.join(SCRIPTS)}, got {script!r}")
    if script == "keep" or not text:
        return text
    return normalize_transcript(converter(script).convert(remove_han_spaces(text)))


@functools.cache
def converter(script: str) -> Any:
    """OpenCC's for s2t or t2s."""
    import opencc

    return opencc.OpenCC(script)
