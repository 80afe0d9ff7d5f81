"""Peak memory of stages 0 and 1 on a synthetic table of lectures, which is written to a temporary folder.

    . ./path.sh; python benchmarks/prep_memory.py --lectures 20 --seconds 4310
    . ./path.sh; python benchmarks/prep_memory.py --lectures 100000 --seconds 0.5 --kind utterances

Prints a table with one row. 20 lectures of 4310 s need 3.2 GB on disk, for the table and the extracted recordings.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf

from benchmarks.memory import Peak

PROJECT = Path(__file__).resolve().parents[1]
RATE = 16_000
SHARD = 500 << 20  # bytes of a table; the Hugging Face Hub writes shards of this size with row groups of 100 rows
SCHEMA = pa.schema(
    [
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("transcription", pa.string()),
        ("translation", pa.string()),
        ("file", pa.string()),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lectures", type=int, default=20, help="number of rows [%(default)s]")
    parser.add_argument("--seconds", type=float, default=4310, help="length of a row [%(default)s]")
    parser.add_argument("--kind", choices=("long", "utterances"), default="long")
    parser.add_argument("--num-jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for the temporary folder [the system's]")
    args = parser.parse_args()
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        tables, out = Path(work) / "tables", Path(work) / "out"
        num_bytes = make_tables(tables, args.lectures, args.seconds)
        command = [sys.executable, "-m", "lhotse_prep", "manifests", str(tables), str(out), "--kind", args.kind]
        environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'egs'}"}
        begin = time.monotonic()
        process = subprocess.Popen([*command, "--num-jobs", str(args.num_jobs)], env=environment)
        peak = Peak(process.pid)
        if process.wait():
            sys.exit("error: python -m lhotse_prep manifests failed")
        peak.stop()
        print(
            "| rows | seconds each | GB of tables | jobs | peak MB, all processes | wall s |\n|---|---|---|---|---|---|"
        )
        print(
            f"| {args.lectures} | {args.seconds:g} | {num_bytes / 1e9:.2f} | {args.num_jobs} | {peak.megabytes:.0f} "
            f"| {time.monotonic() - begin:.0f} |"
        )


def make_tables(folder: Path, num_rows: int, seconds: float) -> int:
    """Write test-NNNNN.parquet files like those of the Hugging Face Hub; returns their total size in bytes."""
    folder.mkdir(parents=True)
    batch: list[dict[str, object]] = []
    size, number, total = 0, 0, 0
    for row in _rows(num_rows, seconds):
        batch.append(row)
        size += len(row["audio"]["bytes"])  # type: ignore[index]
        if size > SHARD:
            total += _write(folder, number, batch)
            batch, size, number = [], 0, number + 1
    return total + (_write(folder, number, batch) if batch else 0)


def _write(folder: Path, number: int, batch: list[dict[str, object]]) -> int:
    path = folder / f"test-{number:05d}.parquet"
    pq.write_table(pa.Table.from_pylist(batch, SCHEMA), path, row_group_size=100, compression="none")
    return path.stat().st_size


def _rows(num_rows: int, seconds: float) -> Iterator[dict[str, object]]:
    """Rows with 9-bit noise, which compresses to about the same FLAC size as speech."""
    rng = np.random.default_rng(0)
    for i in range(num_rows):
        out = io.BytesIO()
        pcm = rng.integers(-256, 256, int(seconds * RATE), dtype=np.int16)
        sf.write(out, pcm, RATE, format="FLAC", subtype="PCM_16", compression_level=0)
        yield {
            "audio": {"bytes": out.getvalue(), "path": f"week{i}_1.flac"},
            "file": f"week{i}_1.flac",
            "transcription": " ".join("我們講機器學習" * max(1, int(seconds / 2))),
            "translation": "We talk about it. ",
        }


if __name__ == "__main__":
    main()
