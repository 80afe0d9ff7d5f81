"""Decoding with sherpa-onnx, in a process of its own: where it meets an error it ends the process it is in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.stages import read_jsonl, run_main, write_jsonl
from ml2021.asr.features import SAMPLE_RATE

BATCH_SECONDS = 100.0  # of audio decoded at a time


def decode_cuts(model_dir: Path, cuts_file: Path, out_file: Path) -> dict[str, str]:
    """Decode the cuts of a Lhotse manifest with an exported model.

    Args:
      model_dir: what export.export_onnx wrote.
      cuts_file: a jsonl(.gz) of cuts, whose audio is read.
      out_file: {"id", "text"} lines, one a cut.
    Returns:
      {cut id: text}.
    Raises:
      DataError: sherpa-onnx failed; its last words are in the message.
    """
    command = [sys.executable, "-m", "ml2021.asr.sherpa", str(model_dir), str(cuts_file), str(out_file)]
    out_file.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # it finds what we found
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode != 0 or not out_file.is_file():
        said = (result.stderr + result.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(f"sherpa-onnx ended with {result.returncode} on {model_dir}: {said[0][-300:]}")
    return {row["id"]: row["text"] for row in read_jsonl(out_file)}


def main(argv: Sequence[str]) -> None:
    """Arguments: model folder, manifest of cuts, file to write."""
    import sherpa_onnx
    from lhotse import CutSet

    model_dir, cuts_file, out_file = map(Path, argv)
    paths = {name: str(model_dir / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")}
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        **paths, tokens=str(model_dir / "tokens.txt"), num_threads=2
    )
    rows: list[dict[str, str]] = []
    batch: list[tuple[str, NDArray[np.float32]]] = []
    for cut in CutSet.from_file(cuts_file):
        batch.append((cut.id, cut.load_audio()[0]))
        if sum(len(samples) for _, samples in batch) >= BATCH_SECONDS * SAMPLE_RATE:
            rows += _decode_batch(recognizer, batch)
            batch = []
    rows += _decode_batch(recognizer, batch)
    write_jsonl(out_file, rows)


def _decode_batch(recognizer, batch: Sequence[tuple[str, NDArray[np.float32]]]) -> list[dict[str, str]]:  # type: ignore[no-untyped-def]
    streams = []
    for _, samples in batch:
        streams.append(recognizer.create_stream())
        streams[-1].accept_waveform(SAMPLE_RATE, samples)
    if streams:
        recognizer.decode_streams(streams)
    return [{"id": cut_id, "text": stream.result.text} for (cut_id, _), stream in zip(batch, streams, strict=True)]


if __name__ == "__main__":
    run_main(main)
