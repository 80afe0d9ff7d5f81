#!/usr/bin/env python3
"""Time and memory of aligning a lecture on one thread at four lengths, compared with torchaudio and ctc-segmentation.

    . ./path.sh; python benchmarks/align_speed.py --ctc-segmentation-python PEER/bin/python --plot align.png

Every tool runs in a separate process; a failure is reported with its cause. ctc-segmentation is not a dependency of
this project; install it with `python -m venv PEER && PEER/bin/pip install ctc-segmentation`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.align_synthetic import MEDIUM, emissions, speech

WORKER = Path(__file__).with_name("align_speed_worker.py")
PROJECT = WORKER.parent.parent
OURS = ("ours", "ours with faults allowed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[600.0, 1800.0, 4310.0, 8620.0])
    parser.add_argument("--peers-at", type=float, default=4310.0, help="length for the other tools [%(default)s]")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=180.0, help="time limit of a process in seconds [%(default)s]")
    parser.add_argument("--ctc-segmentation-python", help="a Python with ctc-segmentation installed")
    parser.add_argument("--plot", type=Path, help="file for a plot of time and memory over length")
    args = parser.parse_args()
    results: dict[float, dict[str, dict[str, Any]]] = {}
    print("| aligner | length s | tokens | seconds (median) | CPU seconds | MB above the input | more than 1 s off |")
    print("|---|---|---|---|---|---|---|")
    for seconds in args.seconds:
        rng = np.random.default_rng(0)
        spoken = speech(rng, seconds)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "log_probs.npy", emissions(rng, spoken, MEDIUM))
            np.save(folder / "units.npy", spoken.units)
            np.save(folder / "frames.npy", spoken.frames)
            tools = dict.fromkeys(OURS, sys.executable)
            if seconds == args.peers_at:
                tools["torchaudio"] = sys.executable
                if args.ctc_segmentation_python:
                    tools["ctc-segmentation"] = args.ctc_segmentation_python
            for tool, python in tools.items():
                result = _run(python, tool, folder, args.repeats if tool.startswith("ours") else 1, args.timeout)
                results.setdefault(seconds, {})[tool] = result
                print(f"| {tool} | {seconds:g} | {len(spoken.units)} | {_cells(result)} |", flush=True)
    if args.plot:
        _plot(results, args.plot)


def _run(python: str, tool: str, folder: Path, repeats: int, timeout: float) -> dict[str, Any]:
    """What the worker measured, or {"failure": cause}."""
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment = os.environ | threads | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'egs'}"}
    command = [python, str(WORKER), tool, str(folder), str(repeats)]
    try:
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"failure": f"not finished after {timeout:g} s"}
    if process.returncode < 0:
        return {"failure": f"killed by {signal.Signals(-process.returncode).name}"}
    if process.returncode:
        return {"failure": (process.stderr.strip().splitlines() or ["failed"])[-1][:100]}
    return dict(json.loads(process.stdout.splitlines()[-1]))


def _cells(result: dict[str, Any]) -> str:
    if "failure" in result:
        return f"{result['failure']} | - | - | -"
    off = "-" if result["off"] is None else f"{result['off']:.2%}"
    return f"{result['seconds']:.2f} | {result['cpu']:.2f} | {result['megabytes']:.0f} | {off}"


def _plot(results: dict[float, dict[str, dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3))
    for axis, key, label in zip(axes, ("cpu", "megabytes"), ("CPU seconds", "MB above the input")):
        for tool in OURS:
            measured = {seconds: r[tool][key] for seconds, r in results.items() if key in r[tool]}
            axis.plot(list(measured), list(measured.values()), "o-", label=tool)
        axis.set(xlabel="length of the lecture, s", ylabel=label, xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
