"""Cutting a hypothesis into segments by mweralign (Post and Hoang, 2025), if it is installed.

Its cuts minimise the word error rate as those of mwerSegmenter do (Matusov et al., 2005). Its licence is GPL-3.0, so it
is not among the dependencies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lhotse_prep.workflow.errors import ConfigError


def resegment_by_mweralign(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """As ml2021.scoring.resegment.resegment: as many segments as references, whose concatenation is the hypothesis.

    Raises:
      ConfigError: mweralign is not installed.
    """
    align = _load()
    assert references, "no reference segments"
    ids = {token: f"w{i}" for i, token in enumerate(dict.fromkeys([*hypothesis, *(t for r in references for t in r)]))}
    spoken = [i for i, reference in enumerate(references) if reference]
    segments: list[list[str]] = [[] for _ in references]
    if not spoken or not hypothesis:
        segments[0] = list(hypothesis)
        return segments
    lines = "\n".join(" ".join(ids[token] for token in references[i]) for i in spoken)
    with _silence():
        aligned = align(lines, " ".join(ids[token] for token in hypothesis))
    lengths = [len(line.split()) for line in aligned.split("\n")]
    lengths = (lengths + [0] * len(spoken))[: len(spoken)]
    assert sum(lengths) == len(hypothesis), "mweralign lost tokens"
    begin = 0
    for i, length in zip(spoken, lengths, strict=True):
        segments[i] = list(hypothesis[begin : begin + length])
        begin += length
    return segments


def _load() -> Callable[[str, str], Any]:
    """mweralign.align_texts; its import sets up logging for the whole process, which is undone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        from mweralign import align_texts
    except ImportError as e:
        raise ConfigError(
            "mweralign is not installed: pip install -e '.[scorers]' (its licence is GPL-3.0), or leave "
            "out --resegmenter mweralign"
        ) from e
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    align: Callable[[str, str], Any] = align_texts
    return align


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what C++ prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in zip((1, 2), kept):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
