"""The combinations of values to choose from."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.decode.config import DecodeConfig, with_lm_dir
from ml2021.asr.decode.options import VALUES, method, with_values
from ml2021.asr.search.config import FUSION_METHODS
from ml2021.asr.words.hotwords import read_terms

MOST_COMBINATIONS = 200  # each of them decodes the whole part
_TYPES: dict[str, Callable[[str], Any]] = {"decoding_method": method}
_TYPES |= {flag.replace("-", "_"): kind for flag, (kind, _) in VALUES.items() if flag != "max-duration"}
# what an option needs besides its decoding method: in words, and whether a configuration has it
_NEEDS: dict[str, tuple[str, Callable[[DecodeConfig], bool]]] = {
    "ctc_lag": ("modified_beam_search with ctc_scale above 0", lambda c: c.ctc_scale > 0),
    "lm_dir": ("lm_scale above 0", lambda c: c.lm_scale > 0),
    "lodr_scale": ("lm_scale above 0", lambda c: c.lm_scale > 0),
    "lodr_dir": ("lodr_scale above 0", lambda c: c.lodr_scale > 0),
    "hotwords_score": ("hotwords_file", lambda c: c.hotwords_file is not None),
    "lexicon_file": ("decoding_method lexicon_search", lambda c: c.decoding_method == "lexicon_search"),
    "lg_file": (
        "decoding_method fast_beam_search_nbest_LG",
        lambda c: c.decoding_method == "fast_beam_search_nbest_LG",
    ),
}
_OF_FUSION = ("lm_scale", "lm_dir", "lodr_dir", "hotwords_file", "hotwords_score")


@dataclass(frozen=True)
class Combination:
    """A value of each option that is chosen."""

    values: Mapping[str, Any]  # without options that have no effect beside the others
    written: DecodeConfig  # as a decode.yaml has it
    config: DecodeConfig  # to decode with: `written` with the folders that are the default
    order: tuple[int, ...] = ()  # among combinations with equally many errors; the least is chosen


def parse_choices(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """{option: its values} of NAME=VALUE,VALUE,... each; `null` stands for none.

    Raises:
      ConfigError: there is no such option, it occurs twice, or a value is not of its type or occurs twice.
    """
    choices: dict[str, list[Any]] = {}
    for argument in arguments:
        name, _, text = (part.strip() for part in argument.partition("="))
        name = name.replace("-", "_")
        if not name or not text:
            raise ConfigError(f"--option {argument!r}: expected NAME=VALUE,VALUE,... such as lm_scale=0,0.1,0.2")
        if name not in _TYPES:
            raise ConfigError(f"--option {name}: there is no such option to choose; there are {', '.join(_TYPES)}")
        if name in choices:
            raise ConfigError(f"--option {name} is given twice: give all of its values in one")
        values = [_value(name, value.strip()) for value in text.split(",")]
        if len(set(values)) < len(values):
            raise ConfigError(f"--option {argument}: a value is there twice")
        choices[name] = values
    return choices


def _value(name: str, text: str) -> Any:
    kind = _TYPES[name]
    if kind is str and text == "null":
        return None
    try:
        return kind(text)
    except (ValueError, argparse.ArgumentTypeError) as e:
        what = "a whole number" if kind is int else "a number" if kind is float else str(e)
        raise ConfigError(f"--option {name}: {text!r} must be {what}") from e


def combinations(
    base: DecodeConfig, fixed: Mapping[str, Any], choices: Mapping[str, Sequence[Any]], exp: Path
) -> list[Combination]:
    """All combinations of values, without those that differ in options without effect alone.

    Args:
      base: what stays.
      fixed: values of the command line, see given_values.
      choices: see parse_choices.
      exp: holds the folders lm and lexicon that are the default.
    Raises:
      ConfigError: there are too many, a value is out of its limits, or an option has no effect in any of them.
    """
    if both := sorted(choices.keys() & fixed.keys()):
        raise ConfigError(f"{both[0]} is given both as --{both[0].replace('_', '-')} and as --option: leave one out")
    total = math.prod(len(values) for values in choices.values())
    if total > MOST_COMBINATIONS:
        raise ConfigError(
            f"{total} combinations of values, each of which decodes all windows; the limit is {MOST_COMBINATIONS}: "
            "choose some of the options first, then the others, or give fewer values"
        )
    orders = {name: _order(values) for name, values in choices.items()}
    unique: dict[tuple[Any, ...], Combination] = {}
    effective = set[str]()
    for chosen in itertools.product(*choices.values()):
        given = dict(zip(choices, chosen))
        method = given.get("decoding_method", fixed.get("decoding_method", base.decoding_method))
        together = {**fixed, **{name: value for name, value in given.items() if _is_for(name, method)}}
        if together.get("lm_scale", base.lm_scale) == 0:
            together.pop("lodr_scale", None)  # it is for combinations with a language model
        written = with_values(base, together)
        effective |= {name for name in (*fixed, *given) if _has_effect(name, written)}
        values = {name: value for name, value in given.items() if _has_effect(name, written)}
        order = tuple(orders[name][value] if name in values else 0 for name, value in given.items())
        unique.setdefault(tuple(values.items()), Combination(values, written, with_lm_dir(written, exp), order))
    for name in (*fixed, *choices):
        if name not in effective:
            raise ConfigError(f"{name} has no effect here: it needs {_needed(name)}; give that too, or leave it out")
    if "hotwords_score" in choices:
        _require_terms_without_score(unique.values())
    return list(unique.values())


def _order(values: Sequence[Any]) -> dict[Any, int]:
    """{value: its place}: numbers from 0 away, others as they are given."""
    are_numbers = all(isinstance(value, (int, float)) for value in values)
    ordered = sorted(values, key=lambda v: (abs(v), v)) if are_numbers else values
    return {value: place for place, value in enumerate(ordered)}


def _is_for(name: str, method: str) -> bool:
    """Whether a method has an option."""
    methods = _methods_with(name)
    return not methods or method in methods


def _has_effect(name: str, config: DecodeConfig) -> bool:
    """Whether another value of an option could give other words."""
    if name in _NEEDS:
        return _NEEDS[name][1](config)
    return _is_for(name, config.decoding_method)


def _needed(name: str) -> str:
    return _NEEDS[name][0] if name in _NEEDS else f"decoding_method {' or '.join(_methods_with(name))}"


def _methods_with(name: str) -> tuple[str, ...]:
    """The decoding methods that an option is for; none: all of them."""
    if name in _OF_FUSION:
        return FUSION_METHODS
    (f,) = (f for f in dataclasses.fields(DecodeConfig) if f.name == name)
    return tuple(f.metadata.get("only_if", {}).get("decoding_method", ()))


def _require_terms_without_score(all_combinations: Iterable[Combination]) -> None:
    for file in {c.config.hotwords_file for c in all_combinations if c.config.hotwords_file is not None}:
        if all(term.score is not None for term in read_terms(Path(file))):
            raise ConfigError(
                f"every term of {file} has a score of its own, which hotwords_score does not change: remove the scores "
                "of those that are to get the chosen one"
            )
