#!/usr/bin/env python3
"""Time and memory of our transducer loss, compared with torchaudio's and, if installed, k2's.

    python benchmarks/rnnt_loss.py [--vocab 500 2000 5000] [--impl native torchaudio k2] [--threads 2] [--device cpu]

Measured from the joiner's inputs (vectors of dimension 256) to their gradients and those of the layers: simple loss of
two projections, pruning ranges, pruned joiner (tanh, output layer), pruned loss, backward. torchaudio's loss has no
pruning and needs the joiner's output for every (frame, token). Each implementation runs in a separate process, so that
peaks do not mix. Also runs on CPython 3.9 with torch 1.13.1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
T, U, J, S_RANGE = 250, 60, 256, 5
IMPLEMENTATIONS = ("native", "k2", "torchaudio")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--vocab", type=int, nargs="+", default=[500, 2000, 5000])
    parser.add_argument("--impl", nargs="+", choices=IMPLEMENTATIONS, default=IMPLEMENTATIONS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="repetitions, of which the median counts [%(default)s]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="utterances [%(default)s]")
    parser.add_argument("--rnnt-type", default="regular", choices=("regular", "modified", "constrained"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # measure here and print JSON
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.impl[0], args.vocab[0], args)))
        return
    print(f"B={args.batch} T={T} U={U} J={J} s_range={S_RANGE} {args.rnnt_type}, {args.threads} threads, {args.device}")
    print(f"{'implementation':16}{'V':>6}{'seconds':>10}{'CPU s':>8}{'peak MB':>10}{'of it, the loss':>17}")
    for vocab in args.vocab:
        for name in args.impl:
            if importlib.util.find_spec("k2" if name == "k2" else "torchaudio" if name == "torchaudio" else "torch"):
                row = in_separate_process(name, vocab, args)
                times = f"{row['seconds']:10.3f}{row['cpu_seconds']:8.3f}"
                print(f"{name:16}{vocab:6d}{times}{row['peak']:10.0f}{row['added']:17.0f}", flush=True)


def in_separate_process(name: str, vocab: int, args: argparse.Namespace) -> dict[str, float]:
    """Measure one row of the table."""
    command = [sys.executable, __file__, "--one", "--impl", name, "--vocab", str(vocab)]
    command += ["--threads", str(args.threads), "--repeats", str(args.repeats), "--device", args.device]
    command += ["--rnnt-type", args.rnnt_type, "--batch", str(args.batch)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    row: dict[str, float] = json.loads(output.splitlines()[-1])
    return row


def measure(name: str, vocab: int, args: argparse.Namespace) -> dict[str, float]:
    """Median wall and CPU seconds, and peak memory in MB of the process (device cpu) or of the GPU."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    am = torch.randn(args.batch, T, J, device=device, requires_grad=True)
    lm = torch.randn(args.batch, U + 1, J, device=device, requires_grad=True)
    symbols = torch.randint(1, vocab, (args.batch, U), device=device)
    boundary = torch.tensor([[0, 0, U, T]] * args.batch, device=device)
    layers = [torch.nn.Linear(J, vocab).to(device) for _ in range(3)]
    run = _step(name, am, lm, symbols, boundary, layers, args.rnnt_type)
    if name == "native":
        run_small_problem(device, args.rnnt_type)  # compiles the numba kernels
    before = peak(device)
    times: list[float] = []
    cpu_times: list[float] = []
    for _ in range(args.repeats):
        am.grad = lm.grad = None
        for layer in layers:
            layer.zero_grad(set_to_none=True)
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = run()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        cpu_times.append(time.process_time() - cpu_started)
    after, middle = peak(device), len(times) // 2
    seconds = {"seconds": sorted(times)[middle], "cpu_seconds": sorted(cpu_times)[middle]}
    return {**seconds, "peak": after, "added": after - before}


def run_small_problem(device: Any, rnnt_type: str) -> None:
    """Forward and backward of a small problem."""
    import torch

    layers = [torch.nn.Linear(4, 5).to(device) for _ in range(3)]
    am, lm = (torch.randn(1, n, 4, device=device, requires_grad=True) for n in (9, 4))
    symbols, boundary = torch.tensor([[1, 2, 3]], device=device), torch.tensor([[0, 0, 3, 9]], device=device)
    _step("native", am, lm, symbols, boundary, layers, rnnt_type)().backward()


def peak(device: Any) -> float:
    """Peak memory so far in MB."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _step(name: str, am: Any, lm: Any, symbols: Any, boundary: Any, layers: Any, rnnt_type: str) -> Callable[[], Any]:
    """A function that computes the loss."""
    import torch

    simple_am, simple_lm, output = layers
    if name == "torchaudio":
        from torchaudio.functional import rnnt_loss

        def full() -> Any:
            logits = output(torch.tanh(am[:, :, None] + lm[:, None]))
            lens = boundary.int().T.contiguous()
            return rnnt_loss(logits, symbols.int(), lens[3], lens[2], blank=0, reduction="sum")

        return full
    sys.path[:0] = [str(PROJECT), str(PROJECT / "egs")]
    from ml2021.asr.loss.rnnt_loss import rnnt_functions

    f = rnnt_functions(name)

    def pruned() -> Any:
        simple, counts = f.smoothed(simple_lm(lm), simple_am(am), symbols, 0, boundary, 0.25, 0.0, rnnt_type, 0.0)
        ranges = f.prune_ranges(*counts, boundary, S_RANGE)
        am_pruned, lm_pruned = f.prune(am, lm, ranges)
        logits = output(torch.tanh(am_pruned + lm_pruned))
        return 0.5 * simple.sum() + f.pruned(logits, symbols, ranges, 0, boundary, rnnt_type, 0.0).sum()

    return pruned


if __name__ == "__main__":
    main()
