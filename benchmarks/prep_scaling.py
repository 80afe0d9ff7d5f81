"""Test of the cost model of docs/scaling.md: CPU seconds and bytes of data preparation at three corpus sizes.

    . ./path.sh; python benchmarks/prep_scaling.py

The model is `start + rate * hours` for each stage. Start and rate are measured at the two sizes of --calibrate, with
utterances of five seconds; then the costs of the sizes --hours are predicted and measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

PROJECT = Path(__file__).resolve().parents[1]
RATE, SECONDS = 16_000, 5
STAGES = ("manifests", "align", "windows")
Cost = dict[str, float]  # CPU seconds by stage, and megabytes by kind of file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", type=float, nargs=2, default=[0.05, 0.6], help="two sizes, hours [%(default)s]")
    parser.add_argument(
        "--hours", type=float, nargs=3, default=[0.05, 0.3, 1.0], help="three sizes, hours [%(default)s]"
    )
    args = parser.parse_args()
    small, large = (measure(hours) for hours in args.calibrate)
    rates = {k: max(0.0, (large[k] - small[k]) / (args.calibrate[1] - args.calibrate[0])) for k in small}
    starts = {k: small[k] - rates[k] * args.calibrate[0] for k in small}
    print("| cost | start | per hour of audio |\n|---|---|---|")
    for k in small:
        print(f"| {k} | {starts[k]:.3g} | {rates[k]:.3g} |")
    print("\n| hours | cost | predicted | measured | error |\n|---|---|---|---|---|")
    for hours in args.hours:
        cost = measure(hours)
        for k, measured in cost.items():
            predicted = starts[k] + rates[k] * hours
            print(
                f"| {hours:g} | {k} | {predicted:.3g} | {measured:.3g} | {predicted / measured - 1:+.0%} |", flush=True
            )


def measure(hours: float) -> Cost:
    """Run the stages on so many hours of synthetic utterances."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_table(folder / "train.parquet", max(1, round(3600 * hours / SECONDS)))
        arguments = {
            "manifests": [folder / "train.parquet", folder / "m"],
            "align": [folder / "m", folder / "a"],
            "windows": [folder / "m", folder / "a", folder / "w"],
        }
        cost = {f"CPU s, {stage}": cpu_seconds([stage, *map(str, arguments[stage])]) for stage in STAGES}
        cost["MB, recordings"] = size(folder / "m" / "source" / "audio")
        cost["MB, features"] = size(folder / "w")
        return cost


def cpu_seconds(arguments: list[str]) -> float:
    """The CPU time of a `python -m lhotse_prep` command on one core."""
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'egs'}", "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "lhotse_prep", *arguments]
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(folder: Path) -> float:
    """Total size of all files in megabytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def make_table(path: Path, num_rows: int) -> None:
    """Write utterances of 9-bit noise, which compress to about the same FLAC size as speech."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(num_rows):
        sf.write(path.with_suffix(".flac"), rng.integers(-256, 256, SECONDS * RATE, dtype=np.int16), RATE)
        content = path.with_suffix(".flac").read_bytes()
        rows.append(
            {
                "audio": {"bytes": content, "path": f"w_{i}.flac"},
                "file": f"w_{i}.flac",
                "transcription": "我 們 講 機 器 學 習",
                "translation": "We talk about it.",
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)


if __name__ == "__main__":
    main()
