#!/usr/bin/env python3
"""Training speed in seconds of audio per second: forward, loss, backward and optimiser step on synthetic batches.

. ./path.sh; OMP_NUM_THREADS=2 python benchmarks/train_throughput.py --layout mini --bf16
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.loss.transducer import losses_of_encoder_out
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import NUM_FEATURES, AsrModel, num_parameters
from ml2021.training.optimizers import ScaledAdam

LAYOUTS = Path(__file__).parents[1] / "conf" / "zipformer"
NUM_BATCHES = 4
FRAMES_PER_SECOND = 100
TOKENS_PER_SECOND = 4.3
Batch = tuple[Tensor, Tensor, list[list[int]]]


def synthetic_batch(duration: float, num_utterances: int, vocab_size: int, generator: torch.Generator) -> Batch:
    """Random features, lengths and tokens of about `duration` seconds in total; lengths differ by at most a fifth."""
    longest = int(duration * FRAMES_PER_SECOND / (0.9 * num_utterances))
    lens = torch.randint(int(0.8 * longest), longest + 1, (num_utterances,), generator=generator)
    features = 3 * torch.randn(num_utterances, int(lens.max()), NUM_FEATURES, generator=generator) - 8
    counts = (lens * TOKENS_PER_SECOND / FRAMES_PER_SECOND).int().tolist()
    return features, lens, [torch.randint(3, vocab_size, (n,), generator=generator).tolist() for n in counts]


class Clock:
    """Total seconds of named parts."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, defaultdict[str, float](float)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add the time of the with-block to the part `name`."""
        begin = self._now()
        yield
        self.seconds[name] += self._now() - begin

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def train_step(model: AsrModel, optimizer: ScaledAdam, batch: Batch, step: int, bf16: bool, clock: Clock) -> None:
    """One training step, with its parts timed."""
    features, lens, tokens = batch
    set_batch_count(model, float(step))
    with torch.autocast(features.device.type, torch.bfloat16, enabled=bf16):
        with clock.of("encoder"):
            encoder_out, out_lens = model.forward_encoder(features, lens)
        with clock.of("losses"):
            losses = losses_of_encoder_out(model, encoder_out, out_lens, tokens)
            loss = (0.5 * losses.simple + losses.pruned + 0.2 * losses.ctc) / out_lens.sum()
    with clock.of("backward"):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
    with clock.of("optimiser"):
        optimizer.step()


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=sorted(p.stem for p in LAYOUTS.glob("*.yaml")), default="mini")
    parser.add_argument("--duration", type=float, default=25.0, help="seconds of audio per batch [%(default)s]")
    parser.add_argument("--num-utterances", type=int, default=4, help="utterances per batch [%(default)s]")
    parser.add_argument("--vocab-size", type=int, default=500, help="number of tokens [%(default)s]")
    parser.add_argument("--batch-count", type=int, default=2000, help="step for the model's schedules [%(default)s]")
    parser.add_argument("--steps", type=int, default=12, help="steps to time [%(default)s]")
    parser.add_argument("--bf16", action="store_true", help="matrix products in bf16 (autocast)")
    parser.add_argument("--device", default="cpu", help="[%(default)s]")
    args = parser.parse_args(argv)
    device, generator = torch.device(args.device), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    config = load_config(LAYOUTS / f"{args.layout}.yaml", "model", TransducerConfig)
    model = AsrModel(config, args.vocab_size).to(device).train()
    optimizer = ScaledAdam(model.parameters(), lr=0.03)
    batches = []
    for _ in range(NUM_BATCHES):
        x, lens, tokens = synthetic_batch(args.duration, args.num_utterances, args.vocab_size, generator)
        batches.append((x.to(device), lens.to(device), tokens))
    for step in range(NUM_BATCHES):
        train_step(model, optimizer, batches[step], args.batch_count, args.bf16, Clock(device))
    clock, processor = Clock(device), time.process_time()
    for step in range(args.steps):
        train_step(model, optimizer, batches[step % NUM_BATCHES], args.batch_count + step, args.bf16, clock)
    processor = time.process_time() - processor
    audio = sum(float(batches[s % NUM_BATCHES][1].sum()) for s in range(args.steps)) / FRAMES_PER_SECOND
    total = sum(clock.seconds.values())
    parts = ", ".join(f"{name} {1000 * s / args.steps:.0f} ms" for name, s in clock.seconds.items())
    precision = "bf16 autocast" if args.bf16 else "float32"
    print(
        f"{args.layout}: {num_parameters(model)} parameters, {precision}, {device}, {torch.get_num_threads()} threads"
    )
    print(f"{audio / total:.1f} s of audio a second ({audio / args.steps:.1f} s a batch); a step: {parts}")
    print(f"processor time {processor / args.steps:.2f} s a step; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
