"""Reads YAML into frozen dataclasses; an unknown key or a value of the wrong type is an error."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import yaml

from lhotse_prep.workflow.errors import ConfigError

T = TypeVar("T")
SECTIONS = {  # {file of a configuration folder: its sections}
    "prep.yaml": ("mini", "corpus", "text", "checks", "lang", "stretches", "windows", "bitext"),
    "asr.yaml": ("aligner", "asr", "icefall"),
    "decode.yaml": ("decode", "lm", "sentences", "subtitles"),
    "mt.yaml": ("mt", "translate"),
}


class _StrictLoader(yaml.SafeLoader):
    """Loads plain values only, and refuses a mapping with a repeated key, where YAML would take the last value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def load_config(path: Path, section: str, cls: type[T]) -> T:
    """Read one section of a YAML file.

    Args:
      path: the file, for example conf/mini/prep.yaml.
      section: its top-level key; if it is absent or empty, the result has the defaults of cls.
      cls: a dataclass; nested dataclasses are read from nested mappings.
    Raises:
      ConfigError: the file is missing or not YAML, a section or key is unknown, or a value has the wrong type or is
        out of range.
    """
    return from_mapping(read_section(path, section), cls, f"{path}: {section}")


def read_section(path: Path, section: str) -> dict[str, Any]:
    """Read one section of a YAML file as a plain mapping, without checking its keys and values.

    Args:
      path: the file, for example conf/mini/decode.yaml.
      section: its top-level key; if it is absent or empty, the result is empty.
    Raises:
      ConfigError: the file is missing or not YAML, repeats a key, has an unknown section, or the section is not a
        mapping.
    """
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}; give a folder that has it with --conf")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections (a mapping), found {type(content).__name__}")
    known = SECTIONS.get(path.name, tuple(content))
    if unknown := sorted(str(k) for k in content if k not in (*known, section)):
        raise ConfigError(f"{path}: unknown section {', '.join(unknown)}; known sections: {', '.join(known)}")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {section} must be a mapping, found {values!r}")
    return values


def from_mapping(values: Any, cls: type[T], where: str) -> T:
    """Build the dataclass cls from a mapping; error messages begin with `where`."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping, found {values!r}")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(str(k) for k in values if k not in names)
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known keys: {', '.join(sorted(names))}")
    arguments = {k: _coerce(v, hints[k], f"{where}.{k}") for k, v in values.items()}
    try:
        return cls(**arguments)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def to_mapping(config: Any) -> dict[str, Any]:
    """The resolved values of a dataclass, to be saved beside the results."""
    return dataclasses.asdict(config)


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_all(config: object, names: Sequence[str], minimum: float, exclusive: bool = False) -> None:
    """Raise ConfigError if a named value is below `minimum`, or with `exclusive` is not above it."""
    for name in names:
        value = getattr(config, name)
        require(
            value > minimum or (value == minimum and not exclusive),
            f"{name} must be {'>' if exclusive else '>='} {minimum:g}, got {value}",
        )


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """The value as the type that the hint asks for: an int or '1e-3' (a string in YAML) as float, a list as tuple."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _coerce(value, next(a for a in args if a is not type(None)), where)
    if dataclasses.is_dataclass(hint):
        return from_mapping({} if value is None else value, hint, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_coerce(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError) as e:
            raise ConfigError(f"{where} must be a number, got {value!r}") from e
        if not math.isfinite(number):
            raise ConfigError(f"{where} must be a finite number, got {value!r}")
        return number
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{where} must be of type {hint.__name__}, got {value!r}")
