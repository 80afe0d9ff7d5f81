"""Speed of our feature extractor and of Lhotse's, in seconds of audio per CPU second, with one thread each.

. ./path.sh; python benchmarks/fbank_throughput.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from lhotse.features import Fbank, FbankConfig, LibrosaFbank, LibrosaFbankConfig, TorchaudioFbank, TorchaudioFbankConfig
from lhotse.features.base import FeatureExtractor

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.audio.inspect import SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=40, help="number of windows [%(default)s]")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a window [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the fastest counts [%(default)s]")
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
    for _ in range(args.rounds):  # interleaved, so that a busy moment affects all
        for name, extractor in extractors.items():
            begin = time.process_time()
            for window in windows:
                extractor.extract(window, SAMPLE_RATE)
            best[name] = min(best[name], time.process_time() - begin)
    fastest = min(best.values())
    print("| extractor | seconds of audio per CPU second | relative to the fastest |\n|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {args.windows * args.seconds / seconds:.0f} | {fastest / seconds:.0%} |", flush=True)


if __name__ == "__main__":
    main()
