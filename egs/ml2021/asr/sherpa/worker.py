"""Runs sherpa-onnx in a process of its own, because sherpa-onnx ends the process when it meets an error.

The process that recognises writes messages to this one's standard input and reads the answers from its standard output:
8 bytes with a length, then JSON; the samples of windows follow their lengths as float32. What sherpa-onnx prints goes
to standard error, which the other process keeps in a file.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
STREAM_TAIL = 0.8  # seconds of silence after a stream, whose last chunk needs what follows the speech


def write_message(file: IO[bytes], content: Any, arrays: Sequence[NDArray[np.float32]] = ()) -> None:
    """Write JSON, and the arrays whose lengths it names."""
    data = json.dumps(content).encode()
    file.write(struct.pack("<Q", len(data)) + data)
    for array in arrays:
        file.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
    file.flush()


def read_message(file: IO[bytes]) -> Any:
    """Read the JSON of a message; EOFError if the other process has ended."""
    head = file.read(8)
    if len(head) < 8:
        raise EOFError
    size = struct.unpack("<Q", head)[0]
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return json.loads(data)


def open_sherpa(settings: dict[str, Any]) -> Any:
    """sherpa-onnx's recogniser by its factory and arguments."""
    import sherpa_onnx

    kind = sherpa_onnx.OnlineRecognizer if settings["online"] else sherpa_onnx.OfflineRecognizer
    return getattr(kind, settings["factory"])(**settings["arguments"])


def decode(recogniser: Any, windows: Sequence[NDArray[np.float32]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What sherpa-onnx says about each window, decoded together."""
    online = settings["online"]
    streams = []
    for samples in windows:
        stream = recogniser.create_stream()
        for name, value in settings["stream_options"].items():
            stream.set_option(name, value)
        stream.accept_waveform(SAMPLE_RATE, samples)
        if online:
            stream.accept_waveform(SAMPLE_RATE, np.zeros(int(STREAM_TAIL * SAMPLE_RATE), dtype=np.float32))
            stream.input_finished()
        streams.append(stream)
    if online:
        while ready := [s for s in streams if recogniser.is_ready(s)]:
            recogniser.decode_streams(ready)
        return [_fields(recogniser.get_result_all(s)) for s in streams]
    if streams:
        recogniser.decode_streams(streams)
    return [_fields(s.result) for s in streams]


def set_language(recogniser: Any, language: str) -> None:
    """Let a Whisper decode in a language from now on; empty: in that which it detects in each window."""
    recogniser.config.model_config.whisper.language = language
    recogniser.recognizer.set_config(recogniser.config)


def _fields(result: Any) -> dict[str, Any]:
    names = (
        "text",
        "lang",
        "tokens",
        "timestamps",
        "durations",
        "segment_timestamps",
        "segment_durations",
        "segment_texts",
    )
    values = {name: _value(result, name) for name in names}
    values["log_probs"] = _value(result, "ys_log_probs") or _value(result, "ys_probs")
    return values


def _value(result: Any, name: str) -> Any:
    """A field of a result; None if this kind of result lacks it, or if a token is half a character."""
    try:
        value = getattr(result, name)
    except (AttributeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, str) else list(value)


def main() -> None:
    """Answer messages until the other process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, whose end ends this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get among the answers
    messages = sys.stdin.buffer
    settings = read_message(messages)
    recogniser = open_sherpa(settings)
    write_message(answers, "ready")
    while True:
        try:
            message = read_message(messages)
        except EOFError:
            return
        if isinstance(message, str):
            set_language(recogniser, message)
            write_message(answers, "ready")
        else:
            windows = [np.frombuffer(messages.read(4 * n), dtype="<f4") for n in message]
            write_message(answers, decode(recogniser, windows, settings))


if __name__ == "__main__":
    main()
