"""Terms that Whisper is told before each window, as if they had been said just before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)
_MOST_TOKENS = 220  # of Whisper's prompt; those before the last 223 would be ignored


def prompt_of_terms(terms: Sequence[str], num_tokens: Callable[[str], int]) -> str:
    """The first terms, as many as Whisper reads; how many it does not is logged.

    Args:
      terms: the most important ones first.
      num_tokens: counts the tokens of a text.
    """
    prompt = ""
    for i, term in enumerate(terms):
        longer = f"{prompt}, {term}" if prompt else term
        if num_tokens(f" {longer}") > _MOST_TOKENS:
            logger.warning(
                "Whisper reads %d tokens of hotwords: the first %d of %d are used, put the most important ones first",
                _MOST_TOKENS,
                i,
                len(terms),
            )
            break
        prompt = longer
    return prompt
