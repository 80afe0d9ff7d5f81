"""The process in which sherpa-onnx runs, seen from the one that recognises: an error of it becomes a DataError."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.sherpa.worker import read_message, write_message

logger = logging.getLogger(__name__)
_PLACE = re.compile(r"^\S+\.(cc|h|cpp):\S*?:\d+ ?|^\S+\.(cc|h|cpp):\d+:?\s*")  # of a line in sherpa-onnx's sources
_LONGEST = 300  # characters of a message
_SECONDS_TO_END = 5.0


class SherpaProcess:
    """Opens a recogniser of sherpa-onnx and decodes windows with it."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """
        Args:
          folder: of the model, for messages.
          settings: the factory, its arguments, and whether it is online.
        Raises:
          DataError: sherpa-onnx cannot open the model.
        """
        self.folder = folder
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same imports as here
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ml2021.asr.sherpa.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        self.pid = os.getpid()
        self.printed = self._exchange(settings)[1]

    def decode(self, windows: Sequence[NDArray[np.float32]]) -> tuple[list[dict[str, Any]], str]:
        """What sherpa-onnx says about each window, and what it printed meanwhile.

        Raises:
          DataError: sherpa-onnx failed.
        """
        return self._exchange([len(w) for w in windows], windows)

    def set_language(self, language: str) -> None:
        """Decode in a language from now on; only for Whisper.

        Raises:
          DataError: sherpa-onnx failed.
        """
        self._exchange(language)

    def close(self) -> None:
        """End the process."""
        self._finalizer()

    def _exchange(self, content: Any, windows: Sequence[NDArray[np.float32]] = ()) -> tuple[Any, str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._errors.seek(0, os.SEEK_END)
        before = self._errors.tell()
        try:
            write_message(self._process.stdin, content, windows)
            answer = read_message(self._process.stdout)
        except (EOFError, OSError) as e:
            self.close()
            raise DataError(
                f"sherpa-onnx cannot use {self.folder}: {self._reason(before)} (exit status {self._process.returncode})"
            ) from e
        return answer, self._printed_since(before)

    def _printed_since(self, position: int) -> str:
        self._errors.seek(position)
        return self._errors.read().decode("utf-8", errors="replace")

    def _reason(self, position: int) -> str:
        """The line that says why the process ended: the last one, or the last of sherpa-onnx's before a traceback."""
        status = self._process.returncode
        if status == -signal.SIGKILL:
            return "its process was killed, probably for want of memory: free some, or take the int8 files"
        lines = [line.strip() for line in self._printed_since(position).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("terminate called", "what():  std::"))] or lines
        reason = lines[-1] if lines else "it ended without a message; are its files damaged?"
        return _PLACE.sub("", reason)[:_LONGEST]


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # the process has ended with something unread
                pipe.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
