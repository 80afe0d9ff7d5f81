#!/usr/bin/env python3
"""Real-time factor of greedy search: this project and sherpa-onnx, with the same model, windows and number of threads.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/decode_speed.py --exp-dir exp/mini/asr \
        --cuts data/mini/cuts/ml2021_cuts_test.jsonl.gz

Both start from samples in memory and end with text: the time includes features, encoder and search, but not loading. In
each round, every system decodes in batches of every size. The smallest CPU and wall times over all rounds count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.audio.fbank import fbank, fbank_extractor
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import open_cuts
from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.export.offline import export_onnx
from ml2021.asr.export.sherpa import SherpaConfig, sherpa_settings
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel, num_parameters
from ml2021.asr.search.methods import search
from ml2021.asr.sherpa import worker

Samples = NDArray[np.float32]
System = Callable[[Sequence[Samples]], list[str]]  # transcribes a batch of windows


def ours(model: AsrModel, tokens: TokenTable) -> System:
    """Decoding by this project."""
    extractor = fbank_extractor()

    def decode(batch: Sequence[Samples]) -> list[str]:
        features = [torch.from_numpy(fbank(samples, extractor)) for samples in batch]
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        hypotheses = search(model, padded, torch.tensor([len(x) for x in features]), DecodeConfig())
        return [tokens.decode(h.tokens) for h in hypotheses]

    return decode


def sherpa(model_dir: Path, int8: bool, num_threads: int) -> System:
    """Decoding by sherpa-onnx, with exported files."""
    settings = sherpa_settings(model_dir, SherpaConfig(int8=int8, num_threads=num_threads))
    recogniser = worker.open_sherpa(settings)
    return lambda batch: [result["text"] for result in worker.decode(recogniser, batch, settings)]


@dataclass
class Measured:
    """The smallest times over all rounds, and the texts."""

    wall: float = float("inf")  # seconds
    processor: float = float("inf")  # seconds, of all threads
    texts: Sequence[str] = ()

    def run(self, system: System, batches: Sequence[Sequence[Samples]]) -> None:
        """Decode and time one more round."""
        wall, processor = time.perf_counter(), time.process_time()
        self.texts = [text for batch in batches for text in system(batch)]
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.processor = min(self.processor, time.process_time() - processor)


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", type=Path, required=True)
    parser.add_argument("--cuts", type=Path, required=True)
    parser.add_argument("--num-cuts", type=int, default=40, help="[%(default)s]")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 20], help="in windows [%(default)s]")
    parser.add_argument("--num-threads", type=int, default=1, help="threads of each system [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.num_threads)
    model, tokens = load_model(args.exp_dir)
    windows = sorted((c.load_audio()[0] for c in islice(open_cuts(args.cuts), args.num_cuts)), key=len)
    duration = sum(map(len, windows)) / SAMPLE_RATE
    size_of_all = f"{len(windows)} windows, {duration:.0f} s, {num_parameters(model)} parameters"
    print(f"{size_of_all}, threads: {args.num_threads}")
    with tempfile.TemporaryDirectory() as work:
        export_onnx(model, tokens, Path(work))
        systems = {
            "ours": ours(model, tokens),
            "sherpa-onnx float32": sherpa(Path(work), False, args.num_threads),
            "sherpa-onnx int8": sherpa(Path(work), True, args.num_threads),
        }
        measured = {(size, name): Measured() for size in args.batch_sizes for name in systems}
        for _ in range(args.rounds):
            for (size, name), m in measured.items():
                m.run(systems[name], [windows[i : i + size] for i in range(0, len(windows), size)])
    for (size, name), m in measured.items():
        same = sum(_spaced(a) == _spaced(b) for a, b in zip(m.texts, measured[size, "ours"].texts))
        print(
            f"batch {size}: {name}: RTF {m.wall / duration:.5f}, processor {m.processor / duration:.5f}, "
            f"{same} of {len(windows)} texts equal to ours"
        )
    best = {name: min(args.batch_sizes, key=lambda size: measured[size, name].processor) for name in systems}
    figures = (f"{name} {measured[size, name].processor / duration:.5f} (batch {size})" for name, size in best.items())
    print(f"best, processor: {', '.join(figures)}; load average {os.getloadavg()[0]:.1f}")


def _spaced(text: str) -> str:
    return " ".join(text.replace(" ", ""))


if __name__ == "__main__":
    main(sys.argv[1:])
