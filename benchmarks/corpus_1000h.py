"""Time and peak memory of stages 1, 3, 4, 6 and 7 on a made-up corpus of up to 1,000 hours.

    . ./path.sh; python benchmarks/corpus_1000h.py --hours 10 100 1000 --work /large/disk

An hour of this corpus is what an hour of lectures is to everything but the samples: 35 recordings, 300 windows, 14,400
tokens of transcript and 9,000 words of translation, each utterance with exact times, so that no model is trained. Its
audio is real FLAC, but short: an utterance of 12 s is 0.4 s long, and recordings are links to a few files, so 1,000
hours need about 3 GB of disk. The cost of samples is measured by prep_scaling.py. Stage 6 has a recogniser that knows
the transcript of a window but for one token.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from benchmarks.memory import Peak

PROJECT = Path(__file__).resolve().parents[1]
RATE = 16_000
PER_HOUR = 35  # recordings
UTTERANCES = (9, 8, 9, 8, 9, 8, 9)  # of seven recordings, one after the other; 300 in 35
TOKENS, WORDS = 48, 30  # of an utterance: transcript and translation
SPEECH, PAUSE = 6400, 1600  # samples of an utterance and of the pause after it
PARTS = {"train": 0.9, "dev": 0.05, "test": 0.05}  # share of the recordings
CONF = {
    "prep.yaml": """
checks: {max_characters_per_second: 1000.0}
windows: {target_duration: 0.5, max_duration: 1.0, min_duration: 0.1, padding: 0.05}
""",
    "asr.yaml": "{}\n",
}


@dataclass(frozen=True)
class Cost:
    """What one command costs."""

    seconds: float
    cpu_seconds: float
    megabytes: float  # largest resident memory of it and its children together


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[10, 100, 1000], help="sizes [10 100 1000]")
    parser.add_argument(
        "--stages", type=int, nargs="+", default=[1, 3, 4, 6, 7], help="without 3, exact times are taken [1 3 4 6 7]"
    )
    parser.add_argument("--num-jobs", type=int, default=1, help="processes of stages 1 and 4 [%(default)s]")
    parser.add_argument("--work", type=Path, help="folder for the corpus, removed at the end [the system's]")
    parser.add_argument("--decode", type=Path, nargs=2, metavar=("CUTS", "OUT"), help="only stage 6, in this process")
    args = parser.parse_args()
    if args.decode is not None:
        decode(*args.decode)
        return
    print(
        "| hours | stage | wall s | CPU s | peak MB | CPU s an hour since the size before |\n|---|---|---|---|---|---|"
    )
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
    before: dict[int, tuple[float, float]] = {}  # {stage: (hours, CPU seconds)}
    for hours in args.hours:
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            for stage, cost in measure(Path(work), hours, args.stages, args.num_jobs):
                rate = ""
                if stage in before:
                    last_hours, last_seconds = before[stage]
                    rate = f"{(cost.cpu_seconds - last_seconds) / (hours - last_hours):.3f}"
                before[stage] = hours, cost.cpu_seconds
                row = f"| {hours:g} | {stage} | {cost.seconds:.0f} | {cost.cpu_seconds:.1f} | {cost.megabytes:.0f} |"
                print(f"{row} {rate} |", flush=True)


def measure(work: Path, hours: float, stages: list[int], num_jobs: int) -> Iterator[tuple[int, Cost]]:
    """Make a corpus of so many hours in a folder, and run the stages one after the other."""
    conf, data = work / "conf", work / "data"
    make_corpus(conf, data, max(7, round(PER_HOUR * hours)))
    options = ["--conf", str(conf), "--data", str(data), "--exp", str(work / "exp")]
    jobs = ["--num-jobs", str(num_jobs)]
    commands = {
        1: ["local/make_manifests.py", *options, *jobs],
        3: ["local/align.py", *options],
        4: ["local/make_windows.py", *options, *jobs],
        6: [__file__, "--decode", str(data / "cuts"), str(work / "decoded")],
        7: ["local/make_bitext.py", *options],
    }
    for stage in stages:
        yield stage, cost_of(commands[stage], work / f"log-{stage}.txt")
        if stage == 1 and 3 not in stages:
            take_exact_times(data)


def decode(cuts_dir: Path, out_dir: Path) -> None:
    """Stage 6 for the windows of all parts, with a recogniser that knows the transcript but for its first token."""
    import torch

    from ml2021.asr.decode.windows import score_parts

    def texts_of(batch: dict[str, Any]) -> list[str]:
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"]).tolist()
        return [f"錯 {supervisions['text'][index].partition(' ')[2]}" for index in order]

    out_dir.mkdir(parents=True)
    score_parts(cuts_dir, list(PARTS), out_dir, 20.0, texts_of, "stub", "stub")


def take_exact_times(data: Path) -> None:
    """What stage 3 writes where all times are known, but for its reports."""
    from lhotse_prep.workflow.stage import Stage

    with Stage("align", data / "aligned", [], {}).work() as out:
        (out / "confidence.jsonl").touch()
        for path in (data / "manifests").glob("ml2021_segments_*"):
            os.link(path, out / path.name.replace("segments", "supervisions"))


def cost_of(command: list[str], log: Path) -> Cost:
    """Run a Python program of the project.

    Raises:
      SystemExit: it failed; the last lines of its log are shown.
    """
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'egs'}", "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    with open(log, "w", encoding="utf-8") as f:
        process = subprocess.Popen([sys.executable, *command], cwd=PROJECT, env=environment, stdout=f, stderr=f)
        peak = Peak(process.pid)
        code = process.wait()
    peak.stop()
    if code:
        sys.exit(f"error: {' '.join(command)} failed:\n" + log.read_text(encoding="utf-8")[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.monotonic() - begin, cpu_seconds, peak.megabytes)


def make_corpus(conf: Path, data: Path, num_recordings: int) -> None:
    """Write the configuration, and a source folder as stage 0 does, with its mark that it is done."""
    sys.path[:0] = [str(PROJECT), str(PROJECT / "egs")]
    from lhotse_prep.workflow.stage import Stage

    conf.mkdir(parents=True)
    for name, text in CONF.items():
        (conf / name).write_text(text)
    with Stage("corpus", data / "source", [], {"corpus": "made up"}).work() as source:
        write_source(source, num_recordings)


def write_source(source: Path, num_recordings: int) -> None:
    """Write the recordings, as links to 21 files, texts, splits.yaml and segments.jsonl."""
    from lhotse_prep.corpora.source.folder import SEGMENTS
    from lhotse_prep.corpora.source.splits import write_splits

    rng = np.random.default_rng(0)
    han = np.array([chr(i) for i in range(0x4E00, 0x4E00 + 3000)])
    english = np.array([f"word{i}" for i in range(3000)])
    splits: dict[str, list[str]] = {part: [] for part in PARTS}
    first_names: dict[tuple[str, int], Path] = {}  # {(part, number of utterances' pattern): its first recording}
    with open(source / SEGMENTS, "w", encoding="utf-8") as segments:
        for number in range(num_recordings):
            part, name = part_of(number, num_recordings), f"r{number:07d}"
            kind = part, number % len(UTTERANCES)
            splits[part].append(name)
            audio = source / f"{name}.flac"
            if kind in first_names:
                os.link(first_names[kind], audio)
            else:
                first_names[kind] = audio
                length = UTTERANCES[kind[1]] * (SPEECH + PAUSE)
                sf.write(audio, rng.integers(-1000, 1000, length, dtype=np.int16), RATE, subtype="PCM_16")
            texts, translations = [], []
            for i in range(UTTERANCES[kind[1]]):
                texts.append(" ".join(han[rng.integers(0, len(han), TOKENS)]))
                translations.append(" ".join(english[rng.integers(0, len(english), WORDS)]))
                begin = i * (SPEECH + PAUSE)
                row = {"lecture": name, "id": f"{name}_{i}", "begin": begin, "end": begin + SPEECH}
                row |= {"text": texts[-1], "translation": translations[-1], "in_dev": False}
                segments.write(json.dumps(row, ensure_ascii=False) + "\n")
            (source / f"{name}.txt").write_text(" ".join(texts), encoding="utf-8")
            (source / f"{name}.en.txt").write_text(" ".join(translations), encoding="utf-8")
    write_splits(source, splits)


def part_of(number: int, num_recordings: int) -> str:
    """The part of a recording; every part has at least one."""
    num_dev, num_test = (max(1, round(PARTS[part] * num_recordings)) for part in ("dev", "test"))
    if number < num_recordings - num_dev - num_test:
        return "train"
    return "dev" if number < num_recordings - num_test else "test"


if __name__ == "__main__":
    main()
