"""Which fields the rows of Lhotse's manifests have, and of which types: recordings, supervisions, features and cuts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from lhotse_prep.workflow.errors import DataError

RECORDING, SUPERVISION, FEATURES, CUT = "recording", "supervision", "features", "cut"  # kinds of rows
_LARGEST = 1e15  # of any number: a sample of a recording, or its time in seconds
_Field = tuple[tuple[type, ...], str]  # the types that a field may have, and their name in messages
_NUMBER: _Field = ((int, float), "a number")
_WHOLE: _Field = ((int,), "a whole number")
_TEXT: _Field = ((str,), "a text")
_NAME: _Field = ((str, int), "a text")  # some of Lhotse's recipes number their speakers
_CHANNEL: _Field = ((int, list), "a channel or a list of channels")
_LIST: _Field = ((list,), "a list")
_OBJECT: _Field = ((dict,), "an object")
_CUT = {"id": _TEXT, "start": _NUMBER, "duration": _NUMBER, "channel": _CHANNEL}
_CUT_PARTS = {"supervisions": _LIST, "features": _OBJECT, "recording": _OBJECT, "custom": _OBJECT}
_REQUIRED: dict[str, dict[str, _Field]] = {
    RECORDING: {"id": _TEXT, "sources": _LIST, "sampling_rate": _WHOLE, "num_samples": _WHOLE, "duration": _NUMBER},
    SUPERVISION: {"id": _TEXT, "recording_id": _TEXT, "start": _NUMBER, "duration": _NUMBER},
    FEATURES: {
        "type": _TEXT,
        "num_frames": _WHOLE,
        "num_features": _WHOLE,
        "sampling_rate": _WHOLE,
        "start": _NUMBER,
        "duration": _NUMBER,
        "storage_type": _TEXT,
        "storage_key": _TEXT,
    },
    "MonoCut": _CUT,
    "MultiCut": _CUT,
    "PaddingCut": {"id": _TEXT, "duration": _NUMBER, "sampling_rate": _WHOLE},
    "MixedCut": {"id": _TEXT, "tracks": _LIST},
    "track": {"cut": _OBJECT, "type": _TEXT},
    "source": {"type": _TEXT, "channels": _LIST, "source": _TEXT},
    "transform": {"name": _TEXT, "kwargs": _OBJECT},
}
_OPTIONAL: dict[str, dict[str, _Field]] = {
    RECORDING: {"channel_ids": _LIST, "transforms": _LIST},
    SUPERVISION: {
        "channel": _CHANNEL,
        "text": _TEXT,
        "language": _NAME,
        "speaker": _NAME,
        "gender": _NAME,
        "custom": _OBJECT,
        "alignment": _OBJECT,
    },
    FEATURES: {"frame_shift": _NUMBER, "storage_path": _TEXT, "recording_id": _TEXT, "channels": _CHANNEL},
    "MonoCut": _CUT_PARTS,
    "MultiCut": _CUT_PARTS,
    "PaddingCut": {
        "num_frames": _WHOLE,
        "num_features": _WHOLE,
        "num_samples": _WHOLE,
        "frame_shift": _NUMBER,
        "feat_value": _NUMBER,
        "custom": _OBJECT,
    },
    "MixedCut": {"transforms": _LIST},
    "track": {"offset": _NUMBER, "snr": _NUMBER},
    "source": {},
    "transform": {},
}
_NEVER_NULL = ("channel", "frame_shift", "offset")  # they may be left out, but Lhotse counts with what is there
_POSITIVE = ("sampling_rate", "frame_shift")  # what Lhotse divides by
_OUR_NUMBERS = ("confidence", "first_token")  # of a supervision's `custom`
_OLD_CUT = "Cut"  # the name of MonoCut before Lhotse 0.8


def kind_of(row: Any) -> str | None:
    """The kind of a row, judged by its fields as Lhotse does; None if it is no row of a manifest."""
    if not isinstance(row, dict):
        return None
    if "sources" in row and "sampling_rate" in row:
        return RECORDING
    if "num_features" in row and "storage_type" in row:
        return FEATURES
    if str(row.get("type", "")).endswith(_OLD_CUT):
        return CUT
    return SUPERVISION if "recording_id" in row else None


def check_row(row: Any, kind: str, where: str) -> None:
    """Raise DataError unless a row of JSON or YAML has all fields of its kind, each of its type; they may be nested.

    Args:
      row: what the file has.
      kind: RECORDING, SUPERVISION, FEATURES or CUT.
      where: file and line, at the beginning of messages.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, and it is {shown(row)}")
    _CHECKS[kind](row, where)


def shown(value: Any) -> str:
    """A value in a message: the beginning of its JSON, or "a list", "an object"."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    try:
        return json.dumps(value)[:40]
    except (TypeError, ValueError):  # YAML has dates and bytes; JSON has whole numbers of any length
        return f"a {type(value).__name__}"


def _check_recording(row: dict[str, Any], where: str) -> None:
    _check_fields(row, RECORDING, where)
    for number, source in enumerate(row["sources"]):
        inside = _object(source, where, f"sources[{number}]")
        _check_fields(source, "source", inside)
        _check_channels(source["channels"], inside, "channels")
    _check_channels(row.get("channel_ids"), where, "channel_ids")
    _check_transforms(row, where)


def _check_supervision(row: dict[str, Any], where: str) -> None:
    _check_fields(row, SUPERVISION, where)
    _check_channels(row.get("channel"), where, "channel")
    custom = row.get("custom") or {}
    for name in _OUR_NUMBERS:
        if name in custom and custom[name] is not None:
            _check_value(custom[name], _NUMBER, where, f"custom.{name}")
    for name, items in (row.get("alignment") or {}).items():
        if not isinstance(items, list):
            raise DataError(f'{where}: "alignment.{name}" must be a list, and is {shown(items)}')
        for number, item in enumerate(items):
            if type(item) is list and len(item) == 4:  # the usual form first: most of a manifest are words
                symbol, start, duration, score = item
                is_number = type(start) is float and type(duration) is float and type(score) is float
                if is_number and type(symbol) is str and _are_small(start, duration, score):
                    continue
            _check_item(item, where, f"alignment.{name}[{number}]")


def _are_small(a: float, b: float, c: float) -> bool:
    return -_LARGEST < a < _LARGEST and -_LARGEST < b < _LARGEST and -_LARGEST < c < _LARGEST


def _check_item(item: Any, where: str, field: str) -> None:
    """Check a word of an alignment: [symbol, start, duration] or [symbol, start, duration, score]."""
    values = list(item.values()) if isinstance(item, dict) else item  # an object before Lhotse 1.8
    if not isinstance(values, list) or not 3 <= len(values) <= 4:
        raise DataError(f'{where}: "{field}" must be [symbol, start, duration, score], and is {shown(item)}')
    _check_value(values[0], _TEXT, where, f"{field}, symbol")
    _check_value(values[1], _NUMBER, where, f"{field}, start")
    _check_value(values[2], _NUMBER, where, f"{field}, duration")
    if len(values) == 4 and values[3] is not None:
        _check_value(values[3], _NUMBER, where, f"{field}, score")


def _check_features(row: dict[str, Any], where: str) -> None:
    _check_fields(row, FEATURES, where)
    _check_channels(row.get("channels"), where, "channels")
    if "frame_shift" not in row and not row["num_frames"]:
        raise DataError(f'{where}: no "frame_shift", and 0 frames to tell it from; make the manifest again')


def _check_cut(row: dict[str, Any], where: str) -> None:
    """Check a cut and what is in it, one track of a mixed cut after the other."""
    left = [(row, where)]
    while left:
        cut, inside = left.pop()
        if "type" not in cut:
            raise DataError(f'{inside}: no "type"; is it a cut?')
        kind = "MonoCut" if cut["type"] == _OLD_CUT else cut["type"]
        if not isinstance(kind, str) or not kind.endswith("Cut") or kind not in _REQUIRED:
            raise DataError(f'{inside}: "type" must be MonoCut, MultiCut, MixedCut or PaddingCut, and is {shown(kind)}')
        _check_fields(cut, kind, inside)
        if kind == "MixedCut":
            if not cut["tracks"]:
                raise DataError(f'{inside}: "tracks" is empty; make the manifest again')
            for number, track in enumerate(cut["tracks"]):
                at = _object(track, inside, f"tracks[{number}]")
                _check_fields(track, "track", at)
                left.append((track["cut"] | {"type": track["type"]}, at))
            _check_transforms(cut, inside)
            continue
        if cut["duration"] <= 0:
            raise DataError(f'{inside}: "duration" must be > 0, and is {cut["duration"]}')
        _check_channels(cut.get("channel"), inside, "channel")
        if cut.get("recording") is not None:
            _check_recording(cut["recording"], f"{inside}, recording")
        if cut.get("features") is not None:
            _check_features(cut["features"], f"{inside}, features")
        for number, supervision in enumerate(cut.get("supervisions") or []):
            _check_supervision(supervision, _object(supervision, inside, f"supervisions[{number}]"))


def _check_transforms(row: dict[str, Any], where: str) -> None:
    for number, transform in enumerate(row.get("transforms") or []):
        _check_fields(transform, "transform", _object(transform, where, f"transforms[{number}]"))


def _check_channels(channels: Any, where: str, field: str) -> None:
    for channel in channels if isinstance(channels, list) else []:
        _check_value(channel, _WHOLE, where, field)


def _object(value: Any, where: str, field: str) -> str:
    """Where an object of a list is; raises DataError if it is none."""
    if not isinstance(value, dict):
        raise DataError(f'{where}: "{field}" must be an object, and is {shown(value)}')
    return f"{where}, {field}"


def _check_fields(row: Mapping[str, Any], kind: str, where: str) -> None:
    for name, field in _REQUIRED[kind].items():
        if name not in row:
            raise DataError(f'{where}: no "{name}"; make the manifest again')
        if not (type(row[name]) is str and field is _TEXT):  # quick
            _check_value(row[name], field, where, name)
    for name, field in _OPTIONAL[kind].items():
        if row.get(name) is not None or (name in _NEVER_NULL and name in row):
            _check_value(row[name], field, where, name)


def _check_value(value: Any, field: _Field, where: str, name: str) -> None:
    types, expected = field
    if not isinstance(value, types) or value is True or value is False:
        raise DataError(f'{where}: "{name}" must be {expected}, and is {shown(value)}')
    if isinstance(value, (int, float)):
        if not isinstance(value, int) and not math.isfinite(value):
            raise DataError(f'{where}: "{name}" must be finite, and is {value}')
        if abs(value) > _LARGEST:
            raise DataError(f'{where}: "{name}" must be at most {_LARGEST:g}, and is larger')
        if value <= 0 and name in _POSITIVE:
            raise DataError(f'{where}: "{name}" must be > 0, and is {value}')


_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    RECORDING: _check_recording,
    SUPERVISION: _check_supervision,
    FEATURES: _check_features,
    CUT: _check_cut,
}
