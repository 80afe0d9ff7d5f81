#!/usr/bin/env python3
"""Mixed error rate and real-time factor of decoding methods on a part of a corpus, as a table for RESULTS.md.

    . ./path.sh; python benchmarks/decode_methods.py --exp exp/mini --data data/mini --part test --lm-scale 0.2

The real-time factor is the CPU time of one thread (encoder and search) over the seconds of audio; features are read
beforehand. Each method runs twice, and the shorter time counts. With --lm-scale, the methods that can use a language
model also run with the one in EXP/lm, once per scale.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from lhotse_prep.workflow.entry import run_main
from ml2021.asr.decode.config import DecodeConfig, with_lm_dir
from ml2021.asr.decode.options import suffix_of
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.load import load_model
from ml2021.asr.search.config import DECODING_METHODS, FUSION_METHODS
from ml2021.asr.search.methods import search
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.scoring.counts import score

DEFAULTS = tuple(m for m in DECODING_METHODS if not m.startswith(("beam_search", "fast_beam_search")))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, default=Path("exp/mini"), help="[%(default)s]")
    parser.add_argument("--data", type=Path, default=Path("data/mini"), help="[%(default)s]")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test", help="[%(default)s]")
    parser.add_argument("--method", choices=DECODING_METHODS, nargs="+", default=DEFAULTS, help="[%(default)s]")
    parser.add_argument("--beam-size", type=int, nargs="+", default=[4], help="[%(default)s]")
    parser.add_argument("--lm-scale", type=float, nargs="*", default=[], help="scales of the language model [none]")
    parser.add_argument("--max-duration", type=float, default=200.0, help="seconds of audio per batch [%(default)s]")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    model, tokens = load_model(args.exp / "asr")
    batches = list(AsrDataModule(args.data / "cuts", AsrDataConfig(), 0).eval_batches(args.part, args.max_duration))
    sys.stdout.write("| method | MER % | zh-CER % | en-WER % | RTF |\n|---|---|---|---|---|\n")
    for config in _configs(args):
        fusion = load_fusion(config, tokens, torch.device("cpu"))
        seconds = []
        for _ in range(2):
            pairs, audio, started = [], 0.0, time.process_time()
            for batch in batches:
                supervisions = batch["supervisions"]
                order = torch.argsort(supervisions["sequence_idx"]).tolist()
                hypotheses = search(model, batch["inputs"], supervisions["num_frames"][order], config, fusion)
                for i, hypothesis in zip(order, hypotheses):
                    cut = supervisions["cut"][i]
                    audio += cut.duration
                    pairs.append((cut.id, supervisions["text"][i], tokens.decode(hypothesis.tokens)))
            seconds.append(time.process_time() - started)
        rate = score(pairs)
        figures = " | ".join("n/a" if c.percent is None else f"{c.percent:.2f}" for c in (rate.total, rate.zh, rate.en))
        sys.stdout.write(f"| {suffix_of(config, '', False)} | {figures} | {min(seconds) / audio:.4f} |\n")
        sys.stdout.flush()


def _configs(args: argparse.Namespace) -> list[DecodeConfig]:
    """Each method, with each beam size if it has a beam, and with each scale if it can use a language model."""
    configs = []
    for method in args.method:
        has_beam = method in FUSION_METHODS
        for beam_size in args.beam_size if has_beam else args.beam_size[:1]:
            plain = DecodeConfig(method, max_duration=args.max_duration, beam_size=beam_size)
            configs.append(plain)
            if method in FUSION_METHODS:
                configs += [with_lm_dir(replace(plain, lm_scale=s), args.exp) for s in args.lm_scale]
    return configs


if __name__ == "__main__":
    run_main(main)
