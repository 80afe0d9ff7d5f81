#!/usr/bin/env python3
"""Alignment errors of stage 3 on lectures with known times, from audio and transcript alone.

    . ./path.sh; python benchmarks/alignment_shared.py --corpus LECTURES --truth TRUTH --conf conf/ml2021

The lectures are aligned as they are, with 60 s of text deleted from each, and (--voice) with another voice and noise.
Prints a table for RESULTS.md. Without the corpus it says so and exits.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import SupervisionSet
from lhotse.utils import fastcopy
from torchaudio.functional import resample

from benchmarks.alignment_truth import Figures, Truth, read_truth, without_some
from benchmarks.stages import PROJECT, run_stage
from lhotse_prep.alignment.stretches import onset_errors
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import load_part, part_file, write_manifest
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import read_done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="table or folder of lectures")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.json files with the true times")
    parser.add_argument("--conf", type=Path, default=PROJECT / "conf/ml2021")
    parser.add_argument("--work", type=Path, help="folder for data [a temporary folder]")
    parser.add_argument("--delete", type=float, default=60.0, help="seconds of transcript to delete [%(default)s]")
    parser.add_argument(
        "--voice",
        action="append",
        default=[],
        metavar="RATE:SNR",
        help="also align with speed and pitch times RATE and pink noise at SNR dB, such as 1.2:15",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the places to delete [%(default)s]")
    args = parser.parse_args()
    if not (args.corpus.exists() and args.truth.is_dir()):
        print(f"skipped: {args.corpus} or {args.truth} does not exist")
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        data = work / "whole"
        run_stage("make_corpus.py", args.conf, data, "--corpus", str(args.corpus.resolve()))
        run_stage("make_manifests.py", args.conf, data)
        truth = read_truth(args.truth)
        print("| transcript | stretches | median ms | 95% ms | worst ms | untimed | more than 2 s off | seconds |")
        print("|---|---|---|---|---|---|---|---|")
        _measure("whole", args.conf, data, truth)
        for seed in args.seeds:
            fewer = work / f"deleted-{seed}"
            remaining = _delete(data, fewer, truth, args.delete, np.random.default_rng(seed))
            _measure(f"{args.delete:g} s of each deleted, seed {seed}", args.conf, fewer, remaining)
        for number, voice in enumerate(args.voice):
            rate, snr = (float(x) for x in voice.split(":"))
            other = work / f"voice-{number}"
            shutil.copytree(data / "source", other / "source", dirs_exist_ok=True)
            for path in sorted((other / "source").glob("*.flac")):
                _disguise(path, rate, snr, np.random.default_rng(number))
            run_stage("make_manifests.py", args.conf, other)
            faster = {name: [(b / rate, e / rate, t) for b, e, t in stretches] for name, stretches in truth.items()}
            _measure(f"rate and pitch {rate:g} times, pink noise at {snr:g} dB", args.conf, other, faster)


def _delete(
    data: Path, fewer: Path, truth: dict[str, Truth], seconds: float, rng: np.random.Generator
) -> dict[str, Truth]:
    """Write manifests without the text of a random span of each lecture; returns the true times of the rest."""
    shutil.copytree(data / "manifests", fewer / "manifests", dirs_exist_ok=True)
    remaining = {name: without_some(stretches, seconds, rng) for name, stretches in truth.items()}
    for part in PARTS:
        texts = [
            fastcopy(s, text=" ".join(t for _, _, t in remaining[s.id]) if s.id in remaining else s.text)
            for s in load_part(fewer / "manifests", "supervisions", part, SupervisionSet)
        ]
        write_manifest(part_file(fewer / "manifests", "supervisions", part), texts)
    stamp = read_done(fewer / "manifests")
    assert stamp is not None
    write_json(fewer / "manifests/.done", stamp | {"outputs": {"changed": str(rng.integers(1 << 60))}})
    return remaining


def _disguise(path: Path, rate: float, snr: float, rng: np.random.Generator) -> None:
    """Overwrite a recording with itself, played `rate` times as fast, with pink noise at `snr` dB."""
    samples, sampling_rate = sf.read(path, dtype="float32")
    # resample takes whole-number rates, and is fast if they have a large common divisor
    fast = resample(torch.from_numpy(samples), round(100 * rate), 100).numpy()
    spectrum = np.fft.rfft(rng.standard_normal(len(fast), np.float32))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(fast))
    level = fast[np.abs(fast) > 0.01].std() * 10 ** (-snr / 20)
    noisy = fast + noise * (level / noise.std())
    sf.write(path, (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32), sampling_rate)


def _measure(title: str, conf: Path, data: Path, truth: dict[str, Truth]) -> None:
    begin = time.monotonic()
    run_stage("align.py", conf, data, "--redo")
    seconds = time.monotonic() - begin
    errors: list[float] = []
    for part in PARTS:
        stretches = list(load_part(data / "aligned", "supervisions", part, SupervisionSet))
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
