"""Seconds of audio a CPU second of ours and of Lhotse's own extractors, on the same windows, one thread each.

python benchmarks/fbank_throughput.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from lhotse.features import Fbank, FbankConfig, LibrosaFbank, LibrosaFbankConfig, TorchaudioFbank, TorchaudioFbankConfig
from lhotse.features.base import FeatureExtractor

from lhotse_prep.audio.fbank import SAMPLE_RATE, fbank_extractor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=40, help="windows [%(default)s]")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts [%(default)s]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    windows = [rng.uniform(-0.3, 0.3, int(args.seconds * SAMPLE_RATE)).astype(np.float32) for _ in range(args.windows)]
    makers: dict[str, Callable[[], FeatureExtractor]] = {
        "ours (lhotse_prep.audio.fbank)": fbank_extractor,
        "Lhotse Fbank": lambda: Fbank(FbankConfig(num_mel_bins=80)),
        "Lhotse TorchaudioFbank": lambda: TorchaudioFbank(TorchaudioFbankConfig(num_mel_bins=80)),
        "Lhotse LibrosaFbank": lambda: LibrosaFbank(LibrosaFbankConfig(sampling_rate=SAMPLE_RATE)),
    }
    extractors: dict[str, FeatureExtractor] = {}
    for name, make in makers.items():
        try:
            extractors[name] = make()
            extractors[name].extract(windows[0], SAMPLE_RATE)
        except ImportError as e:
            extractors.pop(name, None)
            print(f"{name}: not installed ({e})")
    best = dict.fromkeys(extractors, float("inf"))
    for _ in range(args.rounds):  # in turn, so that a busy moment hits all
        for name, extractor in extractors.items():
            begin = time.process_time()
            for window in windows:
                extractor.extract(window, SAMPLE_RATE)
            best[name] = min(best[name], time.process_time() - begin)
    fastest = min(best.values())
    print("| extractor | seconds of audio a CPU second | of the fastest |\n|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {args.windows * args.seconds / seconds:.0f} | {fastest / seconds:.0%} |", flush=True)


if __name__ == "__main__":
    main()
