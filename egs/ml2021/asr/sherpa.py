"""Decoding with sherpa-onnx, in a process of its own: where it meets an error it ends the process it is in."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.features import SAMPLE_RATE
from lhotse_prep.stages import read_jsonl, run_main, write_jsonl
from ml2021.scoring.error_rate import mer_tokens, score
from ml2021.scoring.texts import read_texts

BATCH_SECONDS = 100.0  # of audio decoded at a time
MER_LIMIT = 5.0  # between sherpa-onnx and us: features at the edges of a cut differ a little, more is another model
logger = logging.getLogger(__name__)


def decode_cuts(model_dir: Path, cuts_file: Path, out_file: Path, blank_penalty: float = 0.0) -> dict[str, str]:
    """Decode the cuts of a Lhotse manifest with an exported model.

    Args:
      model_dir: what export.export_onnx wrote.
      cuts_file: a jsonl(.gz) of cuts, whose audio is read.
      out_file: {"id", "text"} lines, one a cut.
      blank_penalty: taken from the blank's logit.
    Returns:
      {cut id: text}.
    Raises:
      DataError: sherpa-onnx failed; its last words are in the message.
    """
    command = [sys.executable, "-m", "ml2021.asr.sherpa", *map(str, (model_dir, cuts_file, out_file, blank_penalty))]
    out_file.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # it finds what we found
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode != 0 or not out_file.is_file():
        said = (result.stderr + result.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(f"sherpa-onnx ended with {result.returncode} on {model_dir}: {said[0][-300:]}")
    return {row["id"]: row["text"] for row in read_jsonl(out_file)}


def compare_with_ours(
    model_dir: Path, cuts_file: Path, recogs_file: Path, num_cuts: int, blank_penalty: float
) -> dict[str, float | None]:
    """Decode cuts spread over a manifest, and hold the texts against those of our own decoding.

    Args:
      recogs_file: our references and hypotheses, which has every cut of the manifest.
      num_cuts: how many to decode, at most.
      blank_penalty: with which ours were decoded.
    Returns:
      sherpa_num_cuts; sherpa_mer and sherpa_our_mer on these cuts; sherpa_same_percent of them have equal texts.
    Raises:
      DataError: sherpa-onnx failed, or its error rate is not ours within MER_LIMIT.
    """
    from lhotse import CutSet

    refs, ours = read_texts(recogs_file, "ref"), read_texts(recogs_file, "hyp")
    cuts = [cut for cut in CutSet.from_file(cuts_file) if cut.id in refs]
    cuts = cuts[:: -(-len(cuts) // num_cuts)] if cuts else []
    if not cuts:
        raise DataError(f"{recogs_file} has no cut of {cuts_file}: decode the test part again (stage 6)")
    with tempfile.TemporaryDirectory() as work:
        CutSet.from_cuts(cuts).to_file(Path(work) / "cuts.jsonl.gz")
        theirs = decode_cuts(model_dir, Path(work) / "cuts.jsonl.gz", Path(work) / "hyps.jsonl", blank_penalty)
    mer = score((i, refs[i], text) for i, text in theirs.items()).total.percent
    our_mer = score((i, refs[i], ours[i]) for i in theirs).total.percent
    num_same = sum(mer_tokens(text) == mer_tokens(ours[i]) for i, text in theirs.items())
    logger.info("%d cuts: MER %s with sherpa-onnx, %s with ours, %d the same", len(cuts), mer, our_mer, num_same)
    if mer is not None and our_mer is not None and abs(mer - our_mer) > MER_LIMIT:
        raise DataError(
            f"{model_dir} decodes at MER {mer:.2f} with sherpa-onnx and {our_mer:.2f} with ours, limit {MER_LIMIT} "
            f"apart: decode again (stage 6) if {recogs_file} is of another training"
        )
    return {
        "sherpa_num_cuts": len(cuts),
        "sherpa_mer": mer,
        "sherpa_our_mer": our_mer,
        "sherpa_same_percent": round(100 * num_same / len(cuts), 2),
    }


def main(argv: Sequence[str]) -> None:
    """Arguments: model folder, manifest of cuts, file to write, blank penalty."""
    import sherpa_onnx
    from lhotse import CutSet

    model_dir, cuts_file, out_file = map(Path, argv[:3])
    paths = {name: str(model_dir / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")}
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        **paths, tokens=str(model_dir / "tokens.txt"), num_threads=2, blank_penalty=float(argv[3])
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
