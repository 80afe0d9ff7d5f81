#!/usr/bin/env python3
"""A long lecture, made of a corpus's lectures one after the other: peak memory, time, and MER against true sentences.

PYTHONPATH=.:egs OMP_NUM_THREADS=1 python benchmarks/long_form.py --exp-dir exp/mini/asr --data data/mini

Each length is decoded in a process of its own, whose peak memory is that of all its life, libraries and model included.
The sentences are those of data/mini/truth, each cut at its true times with --margin seconds around it, or up to the
middle of the pause where that is shorter.
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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from lhotse_prep.config import load_config
from lhotse_prep.features import SAMPLE_RATE, fbank
from ml2021.asr.load import load_model
from ml2021.asr.long_form import recognise
from ml2021.asr.search.methods import search
from ml2021.config import DecodeConfig
from ml2021.scoring.error_rate import ErrorRate, score

PAUSE = 0.5  # seconds of nothing between two lectures


def write_lecture(data: Path, minutes: float, path: Path) -> list[tuple[str, int, int, str]]:
    """Concatenate lectures, again and again in turn, up to about so many minutes.

    Returns:
      (id, begin and end in samples, text) of the true sentences, in order.
    """
    lectures = sorted(p for p in (data / "source").glob("*.wav") if (data / "truth" / f"{p.stem}.json").is_file())
    sentences: list[tuple[str, int, int, str]] = []
    offset = turn = 0
    with sf.SoundFile(str(path), "w", SAMPLE_RATE, 1, "PCM_16") as out:
        while offset < minutes * 60 * SAMPLE_RATE:
            source = lectures[turn % len(lectures)]
            samples = sf.read(str(source), dtype="int16")[0]
            for begin, end, text in json.loads((data / "truth" / f"{source.stem}.json").read_text(encoding="utf-8")):
                span = (int(offset + t * SAMPLE_RATE) for t in (begin, end))
                if text:
                    sentences.append((f"long-{len(sentences):05d}", *span, text))
            out.write(samples)
            out.write(np.zeros(int(PAUSE * SAMPLE_RATE), dtype=np.int16))
            offset += len(samples) + int(PAUSE * SAMPLE_RATE)
            turn += 1
    return sentences


def decode_whole(exp_dir: Path, conf: Path, audio: Path) -> None:
    """In a process of its own: print the text, seconds, and megabytes as JSON."""
    model, tokens, _ = load_model(exp_dir)
    config = load_config(conf / "decode.yaml", "decode", DecodeConfig)
    started = time.perf_counter()
    words = recognise(audio, model, tokens, config)
    seconds = time.perf_counter() - started
    text = " ".join(w.text for w in words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"text": text, "seconds": seconds, "peak_mb": peak}))


def decode_sentences(exp_dir: Path, conf: Path, audio: Path, sentences: Sequence, margin: float) -> dict[str, str]:
    """Hypotheses of the true sentences, cut at their true times, by id."""
    model, tokens, _ = load_model(exp_dir)
    config = load_config(conf / "decode.yaml", "decode", DecodeConfig)
    texts: dict[str, str] = {}
    pad = int(margin * SAMPLE_RATE)
    with sf.SoundFile(str(audio)) as f:
        for first in range(0, len(sentences), 24):
            batch = sentences[first : first + 24]
            features = []
            for k, (_, begin, end, _) in enumerate(batch, first):
                left = (sentences[k - 1][2] + begin) // 2 if k else 0
                right = (end + sentences[k + 1][1]) // 2 if k + 1 < len(sentences) else f.frames
                begin, end = max(begin - pad, left), min(end + pad, right)
                f.seek(begin)
                features.append(torch.from_numpy(fbank(f.read(end - begin, dtype="float32"))))
            padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            hypotheses = search(model, padded, torch.tensor([len(x) for x in features]), config)
            texts |= {row[0]: tokens.decode(h.tokens) for row, h in zip(batch, hypotheses)}
    return texts


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
    with tempfile.TemporaryDirectory() as work:
        for minutes in args.minutes:
            audio = Path(work) / f"long{minutes:g}.wav"
            sentences = write_lecture(args.data, minutes, audio)
            found = _in_own_process(args, audio)
            cut = decode_sentences(args.exp_dir, args.conf, audio, sentences, args.margin)
            whole = score([("long", " ".join(s[3] for s in sentences), found["text"])])
            true = score((s[0], s[3], cut[s[0]]) for s in sentences)
            _print_row(sf.info(str(audio)).duration, found, whole, true)
            audio.unlink()
    print(f"load average {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads")


def _in_own_process(args: argparse.Namespace, audio: Path) -> dict:
    command = [sys.executable, __file__, "--exp-dir", str(args.exp_dir), "--data", str(args.data)]
    command += ["--conf", str(args.conf), "--decode-whole", str(audio)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def _print_row(duration: float, found: dict, whole: ErrorRate, true: ErrorRate) -> None:
    difference = (whole.total.percent or 0) - (true.total.percent or 0)
    seconds = found["seconds"]
    print(f"{duration:.0f} s: peak {found['peak_mb']:.0f} MB, {seconds:.1f} s (RTF {seconds / duration:.4f})")
    print(f"  merged {whole.total}\n  true sentences {true.total}\n  difference {difference:+.2f} points", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
