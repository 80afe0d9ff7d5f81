"""Reads what an ONNX file says about itself, without its weights: metadata and outputs.

An ONNX file is a protocol buffer (onnx.proto3): fields of a number, a wire type and a value. The weights are fields of
a known length that are skipped, so that gigabytes are read in no time; a file that was cut short is noticed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.workflow.errors import DataError

_POINTER = b"version https://git-lfs"
_GRAPH, _METADATA = 7, 14  # fields of ModelProto
_OUTPUT = 12  # field of GraphProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class OnnxHeader:
    """What a file says about itself."""

    path: Path
    metadata: dict[str, str]
    last_dims: dict[str, int | None]  # {output: its last dimension; None if it is not fixed}


def read_onnx_header(path: Path) -> OnnxHeader:
    """Read the header of an ONNX file.

    Raises:
      DataError: it is not an ONNX file, is damaged, or is a pointer of Git LFS.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: download or copy it again")
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: len(_POINTER)] == _POINTER:
            raise DataError(f"{path} is a pointer of Git LFS, not the model: get it with git lfs pull")
        try:
            return _parse(path, data)
        except (ValueError, IndexError, UnicodeDecodeError) as e:
            raise DataError(f"{path} is not a whole ONNX file ({e}): download or copy it again") from e


def _parse(path: Path, data: mmap.mmap) -> OnnxHeader:
    metadata: dict[str, str] = {}
    last_dims: dict[str, int | None] = {}
    has_graph = False
    for field, begin, end in _fields(data, 0, len(data)):
        if field == _METADATA:
            entry = {number: data[b:e].decode("utf-8") for number, b, e in _fields(data, begin, end)}
            metadata[entry.get(1, "")] = entry.get(2, "")
        elif field == _GRAPH:
            has_graph = True
            for inner, b, e in _fields(data, begin, end):
                if inner == _OUTPUT:
                    name, last = _value_info(data, b, e)
                    last_dims[name] = last
    if not has_graph:
        raise ValueError("it has no graph")
    return OnnxHeader(path, metadata, last_dims)


def _value_info(data: mmap.mmap, begin: int, end: int) -> tuple[str, int | None]:
    """Name and last dimension of a ValueInfoProto: name = 1, type = 2 (tensor = 1 (shape = 2 (dim = 1 ...)))."""
    name, last = "", None
    for field, b, e in _fields(data, begin, end):
        if field == 1:
            name = data[b:e].decode("utf-8")
        elif field == 2:
            for tensor, tb, te in _fields(data, b, e):
                if tensor == 1:
                    last = _last_dim(data, tb, te)
    return name, last


def _last_dim(data: mmap.mmap, begin: int, end: int) -> int | None:
    last = None
    for field, b, e in _fields(data, begin, end):
        if field == 2:
            for dim, db, de in _fields(data, b, e):
                if dim == 1:
                    fixed = [_varint(data, vb)[0] for value, vb, _ in _fields(data, db, de) if value == 1]
                    last = fixed[0] if fixed else None
    return last


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, begin and end of its value) of each field of a message."""
    at = begin
    while at < end:
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            stop = _varint(data, at)[1]
        elif wire_type in (_FIXED64, _FIXED32):
            stop = at + (8 if wire_type == _FIXED64 else 4)
        elif wire_type == _BYTES:
            length, at = _varint(data, at)
            stop = at + length
        else:
            raise ValueError(f"byte {at} begins no field")
        if stop > end:
            raise ValueError(f"{stop - end} bytes are missing")
        if number == 0:
            raise ValueError(f"byte {at} begins no field")
        yield number, at, stop
        at = stop


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"byte {at} is no number")
