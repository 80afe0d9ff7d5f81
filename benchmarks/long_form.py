#!/usr/bin/env python3
"""Long-form decoding of a lecture concatenated from a corpus: peak memory, time, and MER compared with true sentences.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/long_form.py --exp-dir exp/mini/asr --data data/mini

Each length is decoded in a separate process; its peak memory includes libraries and model. The words are assigned to
lectures by their times and scored per lecture. For comparison, the true sentences (DATA/truth) are cut at their true
times with --margin seconds on both sides, at most up to the middle of the pause, and decoded; once per lecture, even if
the lecture is repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch

from benchmarks.memory import megabytes
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import DecodeConfig, with_lm_dir
from ml2021.asr.decode.long_form import recognise
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.load import load_model
from ml2021.asr.search.methods import search
from ml2021.scoring.counts import ErrorRate, score

PAUSE = 0.5  # seconds of silence between two lectures


@dataclass(frozen=True)
class Sentence:
    """A sentence: begin and end in samples of its lecture, and text."""

    begin: int
    end: int
    text: str


def lectures_of(data: Path) -> list[Path]:
    """The lectures of a corpus with known sentence times."""
    return sorted(p for p in (data / "source").glob("*.wav") if (data / "truth" / f"{p.stem}.json").is_file())


def sentences_of(data: Path, path: Path) -> list[Sentence]:
    """The true sentences of a lecture, in order."""
    rows = json.loads((data / "truth" / f"{path.stem}.json").read_text(encoding="utf-8"))
    return [Sentence(int(b * SAMPLE_RATE), int(e * SAMPLE_RATE), text) for b, e, text in rows if text]


def write_lecture(lectures: Sequence[Path], minutes: float, path: Path) -> list[int]:
    """Concatenate lectures in turn, repeatedly, up to about so many minutes.

    Returns:
      The beginning of each turn, in samples.
    """
    begins: list[int] = []
    offset = 0
    with sf.SoundFile(str(path), "w", SAMPLE_RATE, 1, "PCM_16") as out:
        while offset < minutes * 60 * SAMPLE_RATE:
            samples = sf.read(str(lectures[len(begins) % len(lectures)]), dtype="int16")[0]
            out.write(samples)
            out.write(np.zeros(int(PAUSE * SAMPLE_RATE), dtype=np.int16))
            begins.append(offset)
            offset += len(samples) + int(PAUSE * SAMPLE_RATE)
    return begins


def decode_config(exp_dir: Path, conf: Path) -> DecodeConfig:
    """The configuration in decode.yaml, with the folder of its language model."""
    return with_lm_dir(load_config(conf / "decode.yaml", "decode", DecodeConfig), exp_dir.parent)


def decode_whole(exp_dir: Path, conf: Path, audio: Path) -> None:
    """Decode in this process; print the words with their start times, the seconds and the peak memory as JSON."""
    model, tokens = load_model(exp_dir)
    started = time.perf_counter()
    config = decode_config(exp_dir, conf)
    words = recognise(audio, model, tokens, config, load_fusion(config, tokens, torch.device("cpu")))
    seconds = time.perf_counter() - started
    print(json.dumps({"words": [(w.text, w.start) for w in words], "seconds": seconds, "peak_mb": megabytes("VmHWM")}))


def decode_sentences(
    exp_dir: Path, conf: Path, lecture: Path, sentences: Sequence[Sentence], margin: float
) -> list[str]:
    """The hypotheses of a lecture's sentences, cut at their true times."""
    model, tokens = load_model(exp_dir)
    config = decode_config(exp_dir, conf)
    fusion = load_fusion(config, tokens, torch.device("cpu"))
    pad = int(margin * SAMPLE_RATE)
    samples = sf.read(str(lecture), dtype="float32")[0]
    texts: list[str] = []
    for first in range(0, len(sentences), 24):
        features = []
        for k in range(first, min(first + 24, len(sentences))):
            begin, end = sentences[k].begin, sentences[k].end
            left = (sentences[k - 1].end + begin) // 2 if k else 0
            right = (end + sentences[k + 1].begin) // 2 if k + 1 < len(sentences) else len(samples)
            features.append(torch.from_numpy(fbank(samples[max(begin - pad, left) : min(end + pad, right)])))
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        hypotheses = search(model, padded, torch.tensor([len(x) for x in features]), config, fusion)
        texts += [tokens.decode(h.tokens) for h in hypotheses]
    return texts


def scores(
    turns: Sequence[int],
    sentences: Sequence[Sequence[Sentence]],
    cut: Sequence[Sequence[str]],
    long_form: dict[str, Any],
) -> tuple[ErrorRate, ErrorRate]:
    """The error rates of the long-form words, turn by turn, and of the separate sentences, repeated as in the turns.

    Args:
      turns: the beginning of each turn, in samples.
      sentences, cut: the true sentences of each lecture, and the hypotheses of the separate sentences.
      long_form: the output of decode_whole.
    """
    starts = np.array([start for _, start in long_form["words"]]) * SAMPLE_RATE
    bounds = np.searchsorted(starts, [*(t - PAUSE * SAMPLE_RATE / 2 for t in turns), np.inf]).tolist()
    whole, true = [], []
    for turn, (a, b) in enumerate(pairwise(bounds)):
        lecture = turn % len(sentences)
        whole.append(
            (
                f"turn{turn}",
                " ".join(s.text for s in sentences[lecture]),
                " ".join(word for word, _ in long_form["words"][a:b]),
            )
        )
        rows = zip(sentences[lecture], cut[lecture], strict=True)
        true += [(f"turn{turn}-{k}", sentence.text, text) for k, (sentence, text) in enumerate(rows)]
    return score(whole), score(true)


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="corpus folder with source/ and truth/")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 72.0])
    parser.add_argument("--margin", type=float, default=0.3, help="seconds around a sentence [%(default)s]")
    parser.add_argument("--decode-whole", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.decode_whole:
        decode_whole(args.exp_dir, args.conf, args.decode_whole)
        return
    lectures = lectures_of(args.data)
    sentences = [sentences_of(args.data, path) for path in lectures]
    cut = [decode_sentences(args.exp_dir, args.conf, *each, args.margin) for each in zip(lectures, sentences)]
    with tempfile.TemporaryDirectory() as work:
        for minutes in args.minutes:
            audio = Path(work) / f"long{minutes:g}.wav"
            turns = write_lecture(lectures, minutes, audio)
            long_form = _in_separate_process(args, audio)
            _print_row(sf.info(str(audio)).duration, long_form, *scores(turns, sentences, cut, long_form))
            audio.unlink()
    print(f"load average {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads")


def _in_separate_process(args: argparse.Namespace, audio: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--exp-dir", str(args.exp_dir), "--data", str(args.data)]
    command += ["--conf", str(args.conf), "--decode-whole", str(audio)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return row


def _print_row(duration: float, long_form: dict[str, Any], whole: ErrorRate, true: ErrorRate) -> None:
    difference = (whole.total.percent or 0) - (true.total.percent or 0)
    seconds = long_form["seconds"]
    print(f"{duration:.0f} s: peak {long_form['peak_mb']:.0f} MB, {seconds:.1f} s (RTF {seconds / duration:.4f})")
    print(f"  merged {whole.total}\n  true sentences {true.total}\n  difference {difference:+.2f} points", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
