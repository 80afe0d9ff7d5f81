"""Decodes with an exported model in sherpa-onnx, and compares its texts with those of this project."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import AUDIO, open_cuts, write_manifest
from lhotse_prep.tokens.special_tokens import BLANK_NAMES
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.streaming import StreamingRecogniser
from ml2021.asr.sherpa.process import SherpaProcess
from ml2021.scoring.counts import mer_tokens, score

BATCH_SECONDS = 100.0  # of audio decoded at a time
# Largest difference in MER (percentage points) between sherpa-onnx and our search. Features at the edges of a cut
# differ slightly; a larger difference means that the exported model is not the same.
MER_LIMIT = 5.0
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SherpaConfig:
    """How sherpa-onnx decodes."""

    blank_penalty: float = 0.0  # subtracted from the logit of blank
    int8: bool = False  # use the .int8.onnx files
    streaming: bool = False  # decode chunk by chunk, with the files of export_streaming
    decoding_method: str = "greedy_search"  # greedy_search, or modified_beam_search, which hotwords need
    max_active_paths: int = 4  # hypotheses that modified_beam_search keeps
    hotwords_file: str = ""  # text file with a word or phrase per line, in Chinese and English as in the transcripts
    hotwords_score: float = 1.5  # added to the score for each token of a hotword
    num_threads: int = 2  # threads of onnxruntime


def decode_cuts(model_dir: Path, cuts_file: Path, config: SherpaConfig | None = None) -> dict[str, str]:
    """Decode the cuts of a Lhotse manifest with an exported model.

    Args:
      model_dir: folder that export_onnx or export_streaming wrote.
      cuts_file: cuts as jsonl(.gz); their audio is read.
      config: None for the defaults.
    Returns:
      {cut id: text}.
    Raises:
      ConfigError: config has hotwords, but the model's tokens are of kind bpe or bbpe.
      DataError: sherpa-onnx failed; the message has its last line of output.
    """
    config = config or SherpaConfig()
    if config.hotwords_file and (model_dir / "bpe.vocab").read_text(encoding="utf-8").startswith(BLANK_NAMES):
        raise ConfigError(
            f"{model_dir} has tokens of kind bpe or bbpe, but hotwords in sherpa-onnx need char+bpe: decode with "
            "python -m ml2021.asr.decode --hotwords-file, which accepts every kind"
        )
    process = SherpaProcess(model_dir, sherpa_settings(model_dir, config))
    texts: dict[str, str] = {}
    for batch in _batches(open_cuts(cuts_file, AUDIO)):
        results, _ = process.decode([samples for _, samples in batch])
        texts |= {cut_id: (result["text"] or "").strip() for (cut_id, _), result in zip(batch, results, strict=True)}
    process.close()
    return texts


def _batches(cuts: Iterable[Cut]) -> Iterator[list[tuple[str, NDArray[np.float32]]]]:
    """(cut id, samples) of all cuts, in batches of about BATCH_SECONDS."""
    batch: list[tuple[str, NDArray[np.float32]]] = []
    for cut in cuts:
        batch.append((cut.id, cut.load_audio()[0]))
        if sum(len(samples) for _, samples in batch) >= BATCH_SECONDS * SAMPLE_RATE:
            yield batch
            batch = []
    if batch:
        yield batch


def compare_with_ours(
    model: AsrModel,
    tokens: TokenTable,
    model_dir: Path,
    cuts_file: Path,
    refs: Mapping[str, str],
    num_cuts: int,
    streaming: bool = False,
) -> dict[str, float | None]:
    """Decode cuts spread evenly over a manifest with greedy search, by sherpa-onnx and by this project.

    Args:
      model: the model that was exported to model_dir.
      tokens: its tokens.
      model_dir: folder that export_onnx or export_streaming wrote.
      cuts_file: manifest of cuts.
      refs: {cut id: reference text}; other cuts are left out.
      num_cuts: at most this many cuts are decoded.
      streaming: decode chunk by chunk; the model is causal and model_dir is from export_streaming.
    Returns:
      sherpa_num_cuts; sherpa_mer, sherpa_int8_mer and sherpa_our_mer on these cuts; sherpa_same_percent, the share of
      cuts whose float32 texts are equal. With streaming, sherpa_streaming_num_cuts and so on.
    Raises:
      DataError: no cut has a reference, sherpa-onnx failed, or its MER differs from ours by more than MER_LIMIT.
    """
    cuts = [cut for cut in open_cuts(cuts_file, AUDIO) if cut.id in refs]
    cuts = cuts[:: -(-len(cuts) // num_cuts)] if cuts else []
    if not cuts:
        raise DataError(f"no cut of {cuts_file} has a decoded text: decode the test part again (stage 6)")
    ours = _greedy_texts(model, tokens, cuts, streaming)
    with tempfile.TemporaryDirectory() as work:
        write_manifest(Path(work) / "cuts.jsonl.gz", cuts)
        theirs, int8 = (
            decode_cuts(model_dir, Path(work) / "cuts.jsonl.gz", config)
            for config in (SherpaConfig(streaming=streaming), SherpaConfig(int8=True, streaming=streaming))
        )
    mer, int8_mer = (score((i, refs[i], t) for i, t in texts.items()).total.percent for texts in (theirs, int8))
    our_mer = score((i, refs[i], ours[i]) for i in theirs).total.percent
    num_same = sum(mer_tokens(text) == mer_tokens(ours[i]) for i, text in theirs.items())
    logger.info(
        "%d cuts%s: MER %s with sherpa-onnx, %s in int8, %s with our search; %d texts are the same",
        len(cuts),
        " as streams" if streaming else "",
        mer,
        int8_mer,
        our_mer,
        num_same,
    )
    if mer is not None and our_mer is not None and abs(mer - our_mer) > MER_LIMIT:
        raise DataError(
            f"{model_dir} has MER {mer:.2f} with sherpa-onnx and {our_mer:.2f} with our search; they may differ by "
            f"{MER_LIMIT:g}: is the model damaged? Export it again (stage 11)"
        )
    scores = {
        "num_cuts": len(cuts),
        "mer": mer,
        "int8_mer": int8_mer,
        "our_mer": our_mer,
        "same_percent": round(100 * num_same / len(cuts), 2),
    }
    return {f"sherpa_{'streaming_' if streaming else ''}{name}": value for name, value in scores.items()}


@torch.inference_mode()
def _greedy_texts(model: AsrModel, tokens: TokenTable, cuts: Sequence[Cut], streaming: bool) -> dict[str, str]:
    """{cut id: text} by our greedy search, one cut at a time, because sherpa-onnx does not pad either."""
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


def sherpa_settings(model_dir: Path, config: SherpaConfig) -> dict[str, Any]:
    """What asr.sherpa.worker opens the recogniser of an exported model with."""
    suffix = "int8.onnx" if config.int8 else "onnx"
    bpe_vocab = model_dir / "bpe.vocab"
    with_bpe = bool(config.hotwords_file) and bpe_vocab.stat().st_size > 0
    arguments = {
        **{name: str(model_dir / f"{name}.{suffix}") for name in ("encoder", "decoder", "joiner")},
        **({"model_type": "zipformer2"} if config.streaming else {}),
        "tokens": str(model_dir / "tokens.txt"),
        "num_threads": config.num_threads,
        "decoding_method": config.decoding_method,
        "max_active_paths": config.max_active_paths,
        "blank_penalty": config.blank_penalty,
        "hotwords_file": config.hotwords_file,
        "hotwords_score": config.hotwords_score,
        "modeling_unit": "cjkchar+bpe" if with_bpe else "cjkchar",
        "bpe_vocab": str(bpe_vocab) if with_bpe else "",
    }
    return {"factory": "from_transducer", "arguments": arguments, "online": config.streaming, "stream_options": {}}
