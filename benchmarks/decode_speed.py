#!/usr/bin/env python3
"""Real-time factor of greedy search, ours and sherpa-onnx's, on the same model and windows, one thread each.

PYTHONPATH=.:egs OMP_NUM_THREADS=1 python benchmarks/decode_speed.py --exp-dir exp/mini/asr \
    --cuts data/mini/cuts/ml2021_cuts_test.jsonl.gz

Both begin with samples in memory and end with text: features, encoder and search are in the time, loading is not. Each
runs in turn, --rounds times; the fastest round counts, as the one that was least disturbed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from numpy.typing import NDArray

from lhotse_prep.features import SAMPLE_RATE, fbank, fbank_extractor
from lhotse_prep.tokens import TokenTable
from ml2021.asr.export import export_onnx
from ml2021.asr.load import load_model
from ml2021.asr.model import AsrModel, num_parameters
from ml2021.asr.search.methods import search
from ml2021.asr.sherpa import SherpaConfig, decode_batch, open_recognizer
from ml2021.config import DecodeConfig

Samples = NDArray[np.float32]
System = Callable[[Sequence[Samples]], list[str]]  # a batch of recordings -> their texts


def ours(model: AsrModel, tokens: TokenTable) -> System:
    """Our own decoding."""
    extractor = fbank_extractor()

    def decode(batch: Sequence[Samples]) -> list[str]:
        features = [torch.from_numpy(fbank(samples, extractor)) for samples in batch]
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        with torch.inference_mode():
            hypotheses = search(model, padded, torch.tensor([len(x) for x in features]), DecodeConfig())
        return [tokens.decode(h.tokens) for h in hypotheses]

    return decode


def sherpa(model_dir: Path, int8: bool) -> System:
    """sherpa-onnx's, of exported files."""
    recognizer = open_recognizer(model_dir, SherpaConfig(int8=int8, num_threads=1))
    return lambda batch: decode_batch(recognizer, batch)


def seconds_of(system: System, batches: Sequence[Sequence[Samples]]) -> tuple[float, float, list[str]]:
    """(wall seconds, processor seconds, texts) of all batches."""
    wall, processor = time.perf_counter(), time.process_time()
    texts = [text for batch in batches for text in system(batch)]
    return time.perf_counter() - wall, time.process_time() - processor, texts


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", type=Path, required=True)
    parser.add_argument("--cuts", type=Path, required=True)
    parser.add_argument("--num-cuts", type=int, default=40, help="[%(default)s]")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], help="windows a batch [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    model, tokens, _ = load_model(args.exp_dir)
    windows = sorted((c.load_audio()[0] for c in CutSet.from_file(args.cuts).subset(first=args.num_cuts)), key=len)
    duration = sum(map(len, windows)) / SAMPLE_RATE
    print(f"{len(windows)} windows, {duration:.0f} s, {num_parameters(model)} parameters, one thread")
    with tempfile.TemporaryDirectory() as work:
        export_onnx(model, tokens, Path(work))
        systems = {
            "ours": ours(model, tokens),
            "sherpa-onnx float32": sherpa(Path(work), int8=False),
            "sherpa-onnx int8": sherpa(Path(work), int8=True),
        }
        for size in args.batch_sizes:
            batches = [windows[i : i + size] for i in range(0, len(windows), size)]
            best: dict[str, tuple[float, float, list[str]]] = {}
            for _ in range(args.rounds):
                for name, system in systems.items():
                    best[name] = min(best.get(name, (float("inf"), 0.0, [])), seconds_of(system, batches))
            for name, (wall, processor, texts) in best.items():
                same = sum(a.split() == b.split() for a, b in zip(map(_spaced, texts), map(_spaced, best["ours"][2])))
                print(
                    f"batch {size}: {name}: RTF {wall / duration:.5f}, processor {processor / duration:.5f}, "
                    f"{same} of {len(windows)} texts as ours"
                )
    print(f"load average {os.getloadavg()[0]:.1f}")


def _spaced(text: str) -> str:
    return " ".join(text.replace(" ", ""))


if __name__ == "__main__":
    main(sys.argv[1:])
