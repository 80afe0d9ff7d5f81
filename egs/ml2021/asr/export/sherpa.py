"""Decoding with sherpa-onnx, in a process of its own: where it meets an error it ends the process it is in."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import check_cut
from lhotse_prep.tokens.token_table import BLANK, TokenTable
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.streaming import StreamingRecogniser
from ml2021.scoring.counts import mer_tokens, score

BATCH_SECONDS = 100.0  # of audio decoded at a time
STREAM_TAIL = 0.8  # seconds of silence behind a stream
MER_LIMIT = 5.0  # between sherpa-onnx and us: features at the edges of a cut differ a little, more is another model
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SherpaConfig:
    """How sherpa-onnx decodes."""

    blank_penalty: float = 0.0  # taken from the blank's logit
    int8: bool = False  # the networks in 8 bits
    streaming: bool = False  # a folder of export_streaming, chunk by chunk
    decoding_method: str = "greedy_search"  # or modified_beam_search, which hotwords need
    max_active_paths: int = 4  # hypotheses that modified_beam_search keeps; a hotword's token must be among their best
    hotwords_file: str = ""  # a word or phrase a line, Chinese and English as transcripts have them
    hotwords_score: float = 1.5  # added for each token of a hotword
    num_threads: int = 2


def decode_cuts(model_dir: Path, cuts_file: Path, out_file: Path, config: SherpaConfig | None = None) -> dict[str, str]:
    """Decode the cuts of a Lhotse manifest with an exported model.

    Args:
      model_dir: what export.export_onnx or export_streaming wrote.
      cuts_file: a jsonl(.gz) of cuts, whose audio is read.
      out_file: {"id", "text"} lines, one a cut.
      config: the defaults where it is None.
    Returns:
      {cut id: text}.
    Raises:
      ConfigError: hotwords are asked for, and the model's tokens are those of a sentencepiece model alone.
      DataError: sherpa-onnx failed; its last words are in the message.
    """
    if config and config.hotwords_file and (model_dir / "bpe.vocab").read_text(encoding="utf-8").startswith(BLANK):
        raise ConfigError(
            f"{model_dir} has tokens of kind bpe or bbpe, and hotwords with sherpa-onnx are for char+bpe: decode with "
            "ml2021.asr.decode --hotwords-file, which takes them with any"
        )
    options = json.dumps(asdict(config or SherpaConfig()))
    command = [sys.executable, "-m", "ml2021.asr.export.sherpa", *map(str, (model_dir, cuts_file, out_file)), options]
    out_file.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # it finds what we found
    result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode != 0 or not out_file.is_file():
        said = (result.stderr + result.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(f"sherpa-onnx ended with {result.returncode} on {model_dir}: {said[0][-300:]}")
    return {row["id"]: row["text"] for row in read_jsonl(out_file)}


def compare_with_ours(
    model: AsrModel,
    tokens: TokenTable,
    model_dir: Path,
    cuts_file: Path,
    refs: Mapping[str, str],
    num_cuts: int,
    streaming: bool = False,
) -> dict[str, float | None]:
    """Decode cuts spread over a manifest by greedy search, with sherpa-onnx and with ours.

    Args:
      model: what was exported to model_dir.
      refs: {cut id: text}; cuts that are not among them are left out.
      num_cuts: how many to decode, at most.
      streaming: the model is causal and model_dir of export_streaming: both decode chunk by chunk.
    Returns:
      sherpa_num_cuts; sherpa_mer, sherpa_int8_mer and sherpa_our_mer on these cuts; sherpa_same_percent of them have
      equal texts in float32. Of streams, sherpa_streaming_num_cuts and so on.
    Raises:
      DataError: sherpa-onnx failed, or its error rate is not ours within MER_LIMIT.
    """
    from lhotse import CutSet

    cuts = [cut for cut in CutSet.from_file(cuts_file).map(check_cut) if cut.id in refs]
    cuts = cuts[:: -(-len(cuts) // num_cuts)] if cuts else []
    if not cuts:
        raise DataError(f"no cut of {cuts_file} was decoded: decode the test part again (stage 6)")
    ours = _greedy_texts(model, tokens, cuts, streaming)
    with tempfile.TemporaryDirectory() as work:
        CutSet.from_cuts(cuts).to_file(Path(work) / "cuts.jsonl.gz")
        theirs, int8 = (
            decode_cuts(model_dir, Path(work) / "cuts.jsonl.gz", Path(work) / "hyps.jsonl", config)
            for config in (SherpaConfig(streaming=streaming), SherpaConfig(int8=True, streaming=streaming))
        )
    mer, int8_mer = (score((i, refs[i], t) for i, t in texts.items()).total.percent for texts in (theirs, int8))
    our_mer = score((i, refs[i], ours[i]) for i in theirs).total.percent
    num_same = sum(mer_tokens(text) == mer_tokens(ours[i]) for i, text in theirs.items())
    logger.info(
        "%d cuts%s: MER %s with sherpa-onnx, %s in int8, %s with ours, %d the same",
        len(cuts),
        " as streams" if streaming else "",
        mer,
        int8_mer,
        our_mer,
        num_same,
    )
    if mer is not None and our_mer is not None and abs(mer - our_mer) > MER_LIMIT:
        raise DataError(
            f"{model_dir} decodes at MER {mer:.2f} with sherpa-onnx and {our_mer:.2f} with ours, limit {MER_LIMIT} "
            "apart: is the model damaged?"
        )
    found = {
        "num_cuts": len(cuts),
        "mer": mer,
        "int8_mer": int8_mer,
        "our_mer": our_mer,
        "same_percent": round(100 * num_same / len(cuts), 2),
    }
    return {f"sherpa_{'streaming_' if streaming else ''}{name}": value for name, value in found.items()}


@torch.inference_mode()
def _greedy_texts(model: AsrModel, tokens: TokenTable, cuts: Sequence[Cut], streaming: bool) -> dict[str, str]:
    """{cut id: what greedy search hears}, each cut by itself, as sherpa-onnx pads none."""
    device = next(model.parameters()).device
    texts = {}
    for cut in cuts:
        features = torch.from_numpy(fbank(cut.load_audio()[0])).to(device)
        if streaming:
            stream = StreamingRecogniser(model)
            stream.accept(features)
            hypothesis = stream.finish()
        else:
            lens = torch.tensor([len(features)], device=device)
            hypothesis = greedy_search(model, *model.forward_encoder(features[None], lens))[0]
        texts[cut.id] = tokens.decode(hypothesis.tokens)
    return texts


def open_recognizer(model_dir: Path, config: SherpaConfig):  # type: ignore[no-untyped-def]
    """sherpa-onnx's recognizer of a folder. An error inside sherpa-onnx ends this process."""
    import sherpa_onnx

    kind = "int8.onnx" if config.int8 else "onnx"
    paths = {name: str(model_dir / f"{name}.{kind}") for name in ("encoder", "decoder", "joiner")}
    own = {"model_type": "zipformer2"} if config.streaming else {}
    recognizer = sherpa_onnx.OnlineRecognizer if config.streaming else sherpa_onnx.OfflineRecognizer
    return recognizer.from_transducer(
        **paths,
        **own,
        tokens=str(model_dir / "tokens.txt"),
        num_threads=config.num_threads,
        decoding_method=config.decoding_method,
        max_active_paths=config.max_active_paths,
        blank_penalty=config.blank_penalty,
        hotwords_file=config.hotwords_file,
        hotwords_score=config.hotwords_score,
        modeling_unit="cjkchar+bpe" if config.hotwords_file else "cjkchar",
        bpe_vocab=str(model_dir / "bpe.vocab") if config.hotwords_file else "",
    )


def decode_batch(recognizer, batch: Sequence[NDArray[np.float32]], streaming: bool = False) -> list[str]:  # type: ignore[no-untyped-def]
    """Texts of a batch of (num_samples,) at 16 kHz, decoded together."""
    streams = []
    for samples in batch:
        streams.append(recognizer.create_stream())
        streams[-1].accept_waveform(SAMPLE_RATE, samples)
        if streaming:  # what the last chunk must see behind the end
            streams[-1].accept_waveform(SAMPLE_RATE, np.zeros(int(STREAM_TAIL * SAMPLE_RATE), dtype=np.float32))
            streams[-1].input_finished()
    if not streaming:
        if streams:
            recognizer.decode_streams(streams)
        return [stream.result.text for stream in streams]
    while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)
    return [recognizer.get_result(stream) for stream in streams]


def main(argv: Sequence[str]) -> None:
    """Arguments: model folder, manifest of cuts, file to write, configuration as JSON."""
    from lhotse import CutSet

    model_dir, cuts_file, out_file = map(Path, argv[:3])
    config = SherpaConfig(**json.loads(argv[3]))
    recognizer = open_recognizer(model_dir, config)
    rows: list[dict[str, str]] = []
    batch: list[tuple[str, NDArray[np.float32]]] = []

    def decode() -> None:
        texts = decode_batch(recognizer, [samples for _, samples in batch], config.streaming)
        rows.extend({"id": cut_id, "text": text} for (cut_id, _), text in zip(batch, texts, strict=True))
        batch.clear()

    for cut in CutSet.from_file(cuts_file).map(check_cut):
        batch.append((cut.id, cut.load_audio()[0]))
        if sum(len(samples) for _, samples in batch) >= BATCH_SECONDS * SAMPLE_RATE:
            decode()
    decode()
    write_jsonl(out_file, rows)


if __name__ == "__main__":
    run_main(main)
