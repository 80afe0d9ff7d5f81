"""Which values of a configuration the results depend on: all, but for those of fields that are marked otherwise.

A field marked HOW_IT_RUNS, such as the number of worker processes, changes no result. One marked FILE names a file or
folder, whose content is an input of the stage. One marked only_if(kind="ngram") matters only with these values of other
fields. A new field without a mark counts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

_COUNTS, _ONLY_IF, _BUT = "counts", "only_if", "but"
HOW_IT_RUNS: Mapping[str, Any] = {_COUNTS: False}
FILE: Mapping[str, Any] = {_COUNTS: False}


def only_if(**values: str | tuple[str, ...]) -> Mapping[str, Any]:
    """The metadata of a field that matters only if each named field of the same dataclass has one of these values."""
    return {_ONLY_IF: {name: (v,) if isinstance(v, str) else v for name, v in values.items()}}


def all_but(*names: str) -> Mapping[str, Any]:
    """The metadata of a field whose value is a dataclass, of which the named fields change no result here."""
    return {_BUT: names}


def result_options(options: Any) -> dict[str, Any]:
    """{dotted name: value as in JSON} of all values that results depend on.

    Args:
      options: a dataclass, or a mapping of names to plain values and dataclasses; dataclasses may be nested.
    """
    flat: dict[str, Any] = {}
    pairs = [(n, v, ()) for n, v in options.items()] if isinstance(options, Mapping) else _counting_fields(options)
    for name, value, but in pairs:
        if dataclasses.is_dataclass(value):
            flat |= {f"{name}.{key}": v for key, v in result_options(value).items() if key.split(".")[0] not in but}
        else:
            flat[name] = json.loads(json.dumps(value, default=str))
    return flat


def default_options(options: Any) -> dict[str, Any]:
    """As result_options, with the default values of all dataclasses; plain values and required fields are left out."""
    flat: dict[str, Any] = {}
    if isinstance(options, Mapping):
        pairs = [(name, value) for name, value in options.items() if dataclasses.is_dataclass(value)]
    else:
        pairs = [(f.name, _default(f)) for f in dataclasses.fields(options) if _default(f) is not dataclasses.MISSING]
    for name, value in pairs:
        if dataclasses.is_dataclass(value):
            flat |= {f"{name}.{key}": v for key, v in default_options(value).items()}
        else:
            flat[name] = json.loads(json.dumps(value, default=str))
    return flat


def _counting_fields(config: Any) -> list[tuple[str, Any, tuple[str, ...]]]:
    """(name, value, names of fields of the value that do not count) of the fields of a dataclass that count."""
    counting = []
    for f in dataclasses.fields(config):
        conditions: Mapping[str, tuple[str, ...]] = f.metadata.get(_ONLY_IF, {})
        if f.metadata.get(_COUNTS, True) and all(getattr(config, k) in v for k, v in conditions.items()):
            counting.append((f.name, getattr(config, f.name), f.metadata.get(_BUT, ())))
    return counting


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
