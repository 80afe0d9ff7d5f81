#!/usr/bin/env python3
"""A trained aligner on lectures of which some seconds of text are missing, at many places: is a word in a wrong place?

    PYTHONPATH=.:egs OMP_NUM_THREADS=1 python benchmarks/alignment_deleted.py --data data/mini --truth data/mini/truth

Stage 3 has trained the aligner of --data; its log-probs are computed once. Prints a line for RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from lhotse.utils import fastcopy
from numpy.typing import NDArray

from benchmarks.alignment_truth import Figures, Truth, read_truth, without_some
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.stretches import make_stretches, onset_errors
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.audio.fbank import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.acoustic import FRAME, Acoustic, load_acoustic
from ml2021.asr.aligner.config import AlignerConfig


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
    truth = read_truth(args.truth)
    heard = _hear(args.data, model, truth)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    errors: list[float] = []
    num_words = num_untimed = 0
    for place in range(args.places):
        rng = np.random.default_rng(place)
        left = {name: without_some(truth[name], args.delete, rng) for name in heard}
        words = {name: " ".join(t for _, _, t in left[name]).split() for name in heard}
        units = {name: model.encode(words[name]) for name in heard}
        times = {name: align_words(x.log_probs, units[name], name, FRAME, aligner) for name, x in heard.items()}
        for name, found in finish_times(times, units, {name: x.regions for name, x in heard.items()}).items():
            lecture = fastcopy(heard[name].supervision, text=" ".join(words[name]))
            made = make_stretches(lecture, found, heard[name].regions / SAMPLE_RATE, stretches)
            errors += onset_errors(made, left[name])
            num_words += len(found.start)
            num_untimed += int(np.isnan(found.start).sum())
    f = Figures.of(errors)
    print("| places | stretches | median ms | 95% ms | worst ms | more than 2 s off | untimed | words untimed |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {args.places} | {f.count} | {f.median:.0f} | {f.p95:.0f} | {f.worst:.0f} | {f.far} | {f.untimed} "
        f"| {num_untimed / num_words:.2%} |"
    )


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
