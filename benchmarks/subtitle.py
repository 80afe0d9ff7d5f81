"""How exactly a recogniser's words become times of a known text: alone, placed by sound, and after training on it.

    python benchmarks/subtitle.py FOLDER WORDS [--train] [--repeat 5]

FOLDER has NAME.flac or .wav, NAME.txt and truth/NAME.json ([[start, end, text], ...]); WORDS has NAME.jsonl or .ctm.
Prints a table of the errors of the starts of true stretches in ms, seconds of work and memory. --repeat N appends a
row for the recording N times in a row, to see how both grow.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile as sf
from alignment_truth import Figures, Truth, read_truth

from lhotse_prep.alignment.hypotheses import Hypothesis, read_hypotheses
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.given_model import times_of_hypotheses
from ml2021.asr.decode.config import PROJECT
from ml2021.st.known_text import times as known_times
from ml2021.st.known_text.times import AlignerChoice, TimedText, time_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("--train", action="store_true", help="also train stage 3's aligner from these times")
    parser.add_argument("--repeat", type=int, default=0, help="also time the recording this many times in a row")
    args = parser.parse_args()
    config = load_config(PROJECT / "conf" / "mini" / "asr.yaml", "aligner", AlignerConfig)
    choices = {
        "words alone": AlignerChoice(config=replace(config, refine=False)),
        "by sound": AlignerChoice(config=config),
    }
    if args.train:
        choices["and trained"] = AlignerChoice(config=config, train=True)
    print("| lecture | times | median ms | 95% ms | worst ms | untimed | of | seconds | MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    hypotheses = read_hypotheses(args.words)
    for name, truth in read_truth(args.folder / "truth").items():
        if name not in hypotheses:
            continue
        audio = next(p for p in (args.folder / f"{name}.flac", args.folder / f"{name}.wav") if p.is_file())
        for title, choice in choices.items():
            _row(name, title, audio, truth, hypotheses[name], choice)
        if args.repeat:
            with tempfile.TemporaryDirectory() as work:
                samples, rate = sf.read(str(audio), dtype="float32")
                longer, seconds = Path(work) / "longer.wav", len(samples) / rate
                sf.write(str(longer), np.tile(samples, args.repeat), rate)
                offsets = [seconds * k for k in range(args.repeat)]
                long_truth = [(b + x, e + x, t) for x in offsets for b, e, t in truth]
                h = hypotheses[name]
                start, end = (np.concatenate([x + o for o in offsets]) for x in (h.start, h.end))
                repeated = Hypothesis(h.words * args.repeat, start, end)
                _row(f"{name} x {args.repeat}", "by sound", longer, long_truth, repeated, choices["by sound"])


def _row(name: str, title: str, audio: Path, truth: Truth, words: Hypothesis, choice: AlignerChoice) -> None:
    """Print a row of the table."""

    def given(_: str, lectures: list[Lecture], config: AlignerConfig, *__: object) -> object:
        return times_of_hypotheses(lectures, {lectures[0].id: words}, config, "words")

    text = normalize_transcript(" ".join(t for _, _, t in truth)).split()
    started = time.time()
    with tempfile.TemporaryDirectory() as work, patch.object(known_times, "times_of_model", given):
        timed = time_text(
            name, audio, sf.info(str(audio)).duration, text, [], replace(choice, model="words"), Path(work)
        )
    seconds, memory = time.time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    f = Figures.of(_errors(timed, truth))
    values = (f"{x:.0f}" for x in (f.median, f.p95, f.worst, f.untimed, f.count, seconds, memory))
    print("|", " | ".join([name, title, *values]), "|", flush=True)


def _errors(timed: TimedText, truth: Truth) -> list[float]:
    errors, index = [], 0
    for begin, _, text in truth:
        off = abs(float(timed.start[index]) - begin)
        errors.append(off if np.isfinite(off) else np.inf)
        index += len(normalize_transcript(text).split())
    return errors


if __name__ == "__main__":
    main()
