"""Errors meant for the user. Entry points print them as one line, without a traceback."""

from __future__ import annotations

from collections.abc import Sequence


class Ml2021Error(Exception):
    """Something that the user can fix; the message says what is wrong, with which id or key, and what to do."""


class DataError(Ml2021Error):
    """Something is wrong with the data: a file, a lecture, a manifest."""


class ConfigError(Ml2021Error):
    """Something is wrong with an option or a configuration value."""


def list_names(names: Sequence[str], most: int = 10) -> str:
    """Names in a message: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
