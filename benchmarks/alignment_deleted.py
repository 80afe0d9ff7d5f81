#!/usr/bin/env python3
"""A trained aligner on lectures of which some seconds of text are missing, at many places: is a word in a wrong place?

    PYTHONPATH=.:egs OMP_NUM_THREADS=1 python benchmarks/alignment_deleted.py --data data/mini --truth data/mini/truth

Stage 3 has trained the aligner of --data; its log-probs are computed once. Prints a line for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from lhotse.utils import fastcopy
from numpy.typing import NDArray

from lhotse_prep.config import load_config
from lhotse_prep.corpora.source import PARTS
from lhotse_prep.features import SAMPLE_RATE
from lhotse_prep.prep_config import StretchConfig
from lhotse_prep.stretches import make_stretches, onset_errors
from lhotse_prep.vad import speech_regions
from ml2021.asr.acoustic import FRAME, Acoustic, load_acoustic
from ml2021.asr.word_alignment import align_words, finish_times
from ml2021.config import AlignerConfig

Truth = list[tuple[float, float, str]]  # begin and end in seconds, spaced tokens


@dataclass(frozen=True)
class Heard:
    """A lecture as the aligner hears it."""

    supervision: SupervisionSegment
    log_probs: NDArray[np.float32]  # (T, V)
    regions: NDArray[np.int64]  # (R, 2) stretches of speech in samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/ and aligned/aligner/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.json")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"))
    parser.add_argument("--delete", type=float, default=60.0, help="seconds of transcript [%(default)s]")
    parser.add_argument("--places", type=int, default=24, help="in each lecture, one at a time [%(default)s]")
    args = parser.parse_args()
    model = load_acoustic(args.data / "aligned/aligner", torch.device("cpu"))
    truth = {p.stem: [(float(b), float(e), str(t)) for b, e, t in json.loads(p.read_text(encoding="utf-8"))]
             for p in sorted(args.truth.glob("*.json"))}  # fmt: skip
    heard = _hear(args.data, model, truth)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    errors: list[float] = []
    num_words = num_untimed = 0
    for place in range(args.places):
        rng = np.random.default_rng(place)
        left: dict[str, Truth] = {}
        for name in heard:
            begin = rng.uniform(0, truth[name][-1][1] - args.delete)
            left[name] = [x for x in truth[name] if not begin <= x[0] < begin + args.delete]
        words = {name: " ".join(t for _, _, t in left[name]).split() for name in heard}
        units = {name: model.encode(words[name]) for name in heard}
        times = {name: align_words(x.log_probs, units[name], name, FRAME, aligner) for name, x in heard.items()}
        for name, found in finish_times(times, units, {name: x.regions for name, x in heard.items()}).items():
            lecture = fastcopy(heard[name].supervision, text=" ".join(words[name]))
            made = make_stretches(lecture, found, heard[name].regions / SAMPLE_RATE, stretches)
            errors += onset_errors(made, left[name])
            num_words += len(found.start)
            num_untimed += int(np.isnan(found.start).sum())
    off = 1000 * np.array(errors)
    timed = off[np.isfinite(off)]
    median, p95 = (np.quantile(off, q, method="higher") for q in (0.5, 0.95))
    print("| places | stretches | median ms | 95% ms | worst ms | more than 2 s off | untimed | words untimed |")
    print("|---|---|---|---|---|---|---|---|")
    print(f"| {args.places} | {len(off)} | {median:.0f} | {p95:.0f} | {timed.max():.0f} | {(timed > 2000).sum()} "
          f"| {len(off) - len(timed)} | {num_untimed / num_words:.2%} |")  # fmt: skip


def _hear(data: Path, model: Acoustic, truth: Mapping[str, Truth]) -> dict[str, Heard]:
    heard = {}
    for part in PARTS:
        recordings = load_manifest(data / f"manifests/ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        for s in load_manifest(data / f"manifests/ml2021_supervisions_{part}.jsonl.gz", SupervisionSet):
            if s.recording_id in truth:
                samples, _ = sf.read(recordings[s.recording_id].sources[0].source, dtype="float32")
                log_probs = np.concatenate(list(model.blocks(samples)))
                heard[s.recording_id] = Heard(s, log_probs, speech_regions(samples, s.id))
    return heard


if __name__ == "__main__":
    main()
