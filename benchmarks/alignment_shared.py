#!/usr/bin/env python3
"""Token times of lectures with known truth, from audio and transcript alone: whole, and with 60 s of text missing,
and as another voice at another rate in noise.

    PYTHONPATH=.:egs python benchmarks/alignment_shared.py --corpus ../shared/ml2021_spoken/data \
        --truth ../shared/ml2021_spoken/truth --conf conf/ml2021

Prints lines for RESULTS.md. Where there is no corpus it says so and leaves.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import SupervisionSet, load_manifest
from lhotse.utils import fastcopy
from torchaudio.functional import resample

from benchmarks.alignment_truth import Figures, Truth, read_truth, without_some
from lhotse_prep.alignment.stretches import onset_errors
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import read_done

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="table or folder of lectures")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.json")
    parser.add_argument("--conf", type=Path, default=PROJECT / "conf/ml2021")
    parser.add_argument("--work", type=Path, help="folder for data [a temporary one]")
    parser.add_argument("--delete", type=float, default=60.0, help="seconds of transcript [%(default)s]")
    parser.add_argument(
        "--voice",
        action="append",
        default=[],
        metavar="RATE:SNR",
        help="also at this rate and pitch, in pink noise at this many dB, such as 1.2:15",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the places that are deleted")
    args = parser.parse_args()
    if not (args.corpus.exists() and args.truth.is_dir()):
        print(f"skipped: no {args.corpus} or no {args.truth}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        data = work / "whole"
        _stage("make_corpus.py", args.conf, data, "--corpus", str(args.corpus.resolve()))
        _stage("make_manifests.py", args.conf, data)
        truth = read_truth(args.truth)
        print("| transcript | stretches | median ms | 95% ms | worst ms | untimed | more than 2 s off | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        _measure("whole", args.conf, data, truth)
        for seed in args.seeds:
            fewer = work / f"deleted-{seed}"
            left = _delete(data, fewer, truth, args.delete, np.random.default_rng(seed))
            _measure(f"{args.delete:g} s of each deleted, seed {seed}", args.conf, fewer, left)
        for number, voice in enumerate(args.voice):
            rate, snr = (float(x) for x in voice.split(":"))
            other = work / f"voice-{number}"
            shutil.copytree(data / "source", other / "source", dirs_exist_ok=True)
            for path in sorted((other / "source").glob("*.flac")):
                _disguise(path, rate, snr, np.random.default_rng(number))
            _stage("make_manifests.py", args.conf, other)
            faster = {name: [(b / rate, e / rate, t) for b, e, t in stretches] for name, stretches in truth.items()}
            _measure(f"rate and pitch {rate:g} times, pink noise at {snr:g} dB", args.conf, other, faster)


def _stage(script: str, conf: Path, data: Path, *options: str) -> None:
    command = [
        sys.executable,
        f"local/{script}",
        "--conf",
        str(conf.resolve()),
        "--data",
        str(data.resolve()),
        *options,
    ]
    subprocess.run(command, cwd=PROJECT, check=True)


def _delete(
    data: Path, fewer: Path, truth: dict[str, Truth], seconds: float, rng: np.random.Generator
) -> dict[str, Truth]:
    """Manifests whose transcripts lack the stretches that begin in a random span, and the truth of the rest."""
    shutil.copytree(data / "manifests", fewer / "manifests", dirs_exist_ok=True)
    left = {name: without_some(stretches, seconds, rng) for name, stretches in truth.items()}
    for part in PARTS:
        path = fewer / f"manifests/ml2021_supervisions_{part}.jsonl.gz"
        texts = [
            fastcopy(s, text=" ".join(t for _, _, t in left[s.id]) if s.id in left else s.text)
            for s in load_manifest(path, SupervisionSet)
        ]
        SupervisionSet.from_segments(texts).to_file(path)
    done = read_done(fewer / "manifests")
    assert done is not None
    write_json(fewer / "manifests/.done", done | {"outputs": {"changed": str(rng.integers(1 << 60))}})
    return left


def _disguise(path: Path, rate: float, snr: float, rng: np.random.Generator) -> None:
    """Rewrite a recording, played `rate` times as fast, with pink noise at `snr` dB."""
    samples, sampling_rate = sf.read(path, dtype="float32")
    # resample knows whole rates only, and is fast where these have large common divisors
    fast = resample(torch.from_numpy(samples), round(100 * rate), 100).numpy()
    spectrum = np.fft.rfft(rng.standard_normal(len(fast), np.float32))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(fast))
    level = fast[np.abs(fast) > 0.01].std() * 10 ** (-snr / 20)
    noisy = fast + noise * (level / noise.std())
    sf.write(path, (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32), sampling_rate)


def _measure(title: str, conf: Path, data: Path, truth: dict[str, Truth]) -> None:
    begin = time.monotonic()
    _stage("align.py", conf, data)
    seconds = time.monotonic() - begin
    errors: list[float] = []
    for part in PARTS:
        stretches = list(load_manifest(data / f"aligned/ml2021_supervisions_{part}.jsonl.gz", SupervisionSet))
        for name in sorted({s.recording_id for s in stretches} & truth.keys()):
            errors += onset_errors([s for s in stretches if s.recording_id == name], truth[name])
    f = Figures.of(errors)
    print(
        f"| {title} | {f.count} | {f.median:.0f} | {f.p95:.0f} | {f.worst:.0f} | {f.untimed} | {f.far} "
        f"| {seconds:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
