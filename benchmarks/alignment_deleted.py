#!/usr/bin/env python3
"""Alignment errors of a trained aligner if some seconds of text are missing from a lecture, at many places.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/alignment_deleted.py --data data/mini --truth data/mini/truth

Run stage 3 on --data first, which trains the aligner. Its log-probs are computed once. Prints a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.utils import fastcopy
from numpy.typing import NDArray

from benchmarks.alignment_truth import Figures, Truth, read_truth, without_some
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.stretches import make_stretches, onset_errors
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import load_part
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.acoustic import Acoustic, load_acoustic
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.model.layers.encoder_frames import FRAME


@dataclass(frozen=True)
class Emissions:
    """A lecture and the output of the aligner's model."""

    supervision: SupervisionSegment
    log_probs: NDArray[np.float32]  # (T, V)
    regions: NDArray[np.int64]  # (R, 2) speech regions in samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data folder with manifests/ and aligned/aligner/")
    parser.add_argument("--truth", type=Path, required=True, help="folder of LECTURE.json files with the true times")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"))
    parser.add_argument("--delete", type=float, default=60.0, help="seconds of transcript to delete [%(default)s]")
    parser.add_argument("--places", type=int, default=24, help="places in each lecture, one at a time [%(default)s]")
    args = parser.parse_args()
    model = load_acoustic(args.data / "aligned/aligner", torch.device("cpu"))
    truth = read_truth(args.truth)
    lectures = _emissions(args.data, model, truth)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    errors: list[float] = []
    num_words = num_untimed = 0
    for place in range(args.places):
        rng = np.random.default_rng(place)
        left = {name: without_some(truth[name], args.delete, rng) for name in lectures}
        words = {name: " ".join(t for _, _, t in left[name]).split() for name in lectures}
        units = {name: model.encode(words[name]) for name in lectures}
        times = {name: align_words(x.log_probs, units[name], name, FRAME, aligner) for name, x in lectures.items()}
        speech = {name: x.regions for name, x in lectures.items()}
        for name, word_times in finish_times(times, words, units, speech).items():
            supervision = fastcopy(lectures[name].supervision, text=" ".join(words[name]))
            regions = lectures[name].regions / SAMPLE_RATE
            errors += onset_errors(make_stretches(supervision, word_times, regions, stretches), left[name])
            num_words += len(word_times.start)
            num_untimed += int(np.isnan(word_times.start).sum())
    f = Figures.of(errors)
    print("| places | stretches | median ms | 95% ms | worst ms | more than 2 s off | untimed | words untimed |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {args.places} | {f.count} | {f.median:.0f} | {f.p95:.0f} | {f.worst:.0f} | {f.far} | {f.untimed} "
        f"| {num_untimed / num_words:.2%} |"
    )


def _emissions(data: Path, model: Acoustic, truth: Mapping[str, Truth]) -> dict[str, Emissions]:
    lectures = {}
    for part in PARTS:
        recordings = load_part(data / "manifests", "recordings", part, RecordingSet)
        for s in load_part(data / "manifests", "supervisions", part, SupervisionSet):
            if s.recording_id in truth:
                samples, _ = sf.read(recordings[s.recording_id].sources[0].source, dtype="float32")
                log_probs = np.concatenate(list(model.blocks(samples)))
                lectures[s.recording_id] = Emissions(s, log_probs, speech_regions(samples, s.id))
    return lectures


if __name__ == "__main__":
    main()
