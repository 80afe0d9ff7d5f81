#!/usr/bin/env python3
"""Recognisers side by side on whole recordings with known text: error rates, speed, and what should never happen.

    . ./path.sh; python benchmarks/recognisers.py --folder data/mini/source --recogniser exp/mini/asr \\
        --recogniser base --plain base --words-dir exp/words

The folder has NAME.flac or NAME.wav (16 kHz, mono) with NAME.txt each; --only takes some names. A recogniser is
whatever ml2021.st.transcribe takes; --plain is faster-whisper as its users run it, beam 5 with its own VAD, on the same
model. The table gives MER by our normaliser and by that of the published results, seconds of work per second of sound
(without loading), words of loops, and words that end after the recording. With --words-dir, the words of each are
written as DIR/RECOGNISER/NAME.jsonl, which stage 3 reads.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile as sf

from lhotse_prep.workflow.files import write_jsonl
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.whisper.folder import model_folder
from ml2021.asr.whisper.load import load_whisper
from ml2021.asr.whisper.loops import without_loops
from ml2021.asr.whisper.pieces import TimedPiece, words_of_pieces
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.scoring.counts import score
from ml2021.scoring.normalizers import normalizers

_TOLERANCE = 0.02  # seconds, of the end of a recording: Whisper's own step
_AUDIO = (".flac", ".wav")

Recognise = Callable[[Path], list[TimedWord]]


@dataclass(frozen=True)
class Result:
    """A recogniser on a recording."""

    recogniser: str
    recording: str
    error_rates: tuple[float, ...]  # percent, by each normaliser
    real_time_factor: float
    num_repeated: int
    num_past_end: int

    def row(self) -> str:
        """A row of the table."""
        rates = " | ".join(f"{rate:.2f}" for rate in self.error_rates)
        return (
            f"| {self.recording} | {self.recogniser} | {rates} | {self.real_time_factor:.2f} | {self.num_repeated} | "
            f"{self.num_past_end} |"
        )


HEAD = "| recording | recogniser | MER % (ours) | MER % (published) | real-time factor | repeated | past the end |"


def recordings_of(folder: Path, only: Sequence[str]) -> list[Path]:
    """The recordings of a folder that have a text, or some of them."""
    paths = [p for p in sorted(folder.iterdir()) if p.suffix in _AUDIO and p.with_suffix(".txt").is_file()]
    return [p for p in paths if not only or p.stem in only]


def measure(name: str, audio: Path, recognise: Recognise) -> tuple[Result, list[TimedWord]]:
    """Recognise a recording and compare the words with its text."""
    duration = sf.info(str(audio)).duration
    started = time.perf_counter()
    try:
        words = recognise(audio)
    except NoSpeechError as e:
        print(e, file=sys.stderr)
        words = []
    seconds = time.perf_counter() - started
    text, hypothesis = audio.with_suffix(".txt").read_text(encoding="utf-8"), " ".join(w.text for w in words)
    totals = [score([(audio.stem, n.reference(text), n.hypothesis(hypothesis))]).total for n in normalizers()]
    result = Result(
        name,
        audio.stem,
        tuple(100 * total.errors / max(1, total.num_ref) for total in totals),
        seconds / duration,
        len(words) - len(without_loops(words)),
        sum(w.end > duration + _TOLERANCE for w in words),
    )
    return result, words


def published(name: str, options: RecogniserOptions) -> Recognise:
    """One that decoding opens by its name or folder."""
    return open_recogniser(name, options).recognise


def plain_whisper(name: str, options: RecogniserOptions) -> Recognise:
    """faster-whisper as its users run it: beam 5, its own VAD, its own language detection."""
    model = load_whisper(model_folder(name), options.device, options.compute_type, options.num_threads)

    def recognise(audio: Path) -> list[TimedWord]:
        segments, _ = model.transcribe(str(audio), beam_size=5, vad_filter=True, word_timestamps=True)
        pieces: list[TimedPiece] = []
        for segment in segments:
            words = segment.words or []
            pieces += [TimedPiece(f"{' ' * (w is words[0])}{w.word}", w.start, w.end, w.probability) for w in words]
        return words_of_pieces(pieces)

    return recognise


def write_words(folder: Path, name: str, recording: str, words: Sequence[TimedWord]) -> None:
    """Write words in the form that lhotse_prep.alignment.hypotheses reads."""
    rows = [
        {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "score": round(w.score, 4)} for w in words
    ]
    folder = folder / re.sub(r"[^\w.-]+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / f"{recording}.jsonl", [{"id": recording, "words": rows}])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="NAME.flac or NAME.wav with NAME.txt")
    parser.add_argument("--only", nargs="+", default=[], help="names of recordings; without it, all")
    parser.add_argument("--recogniser", action="append", default=[], help="a folder or name; may be given again")
    parser.add_argument("--plain", action="append", default=[], help="a Whisper model for plain faster-whisper")
    parser.add_argument("--words-dir", type=Path, help="write the words there")
    parser.add_argument("--language", default="", help="for the recognisers, not for plain faster-whisper")
    parser.add_argument("--script", default="", help="such as s2twp, for the recognisers alone")
    parser.add_argument("--device", default="")
    parser.add_argument("--compute-type", default="default")
    parser.add_argument("--num-threads", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    args = parse(argv)
    options = RecogniserOptions(
        language=args.language,
        script=args.script,
        device=args.device,
        compute_type=args.compute_type,
        num_threads=args.num_threads,
    )
    recordings = recordings_of(args.folder, args.only)
    if not recordings or not args.recogniser + args.plain:
        raise SystemExit(f"{args.folder}: no recordings with a text, or no recogniser is named")
    print(HEAD, "|---" * HEAD.count(" |") + "|", sep="\n", flush=True)
    systems: list[tuple[str, Callable[[], Recognise]]] = []
    systems += [(name, partial(plain_whisper, name, options)) for name in args.plain]
    systems += [(name, partial(published, name, options)) for name in args.recogniser]
    for i, (path, opened) in enumerate(systems):
        name = f"plain faster-whisper {Path(path).name}" if i < len(args.plain) else Path(path).name
        recognise = opened()
        for audio in recordings:
            result, words = measure(name, audio, recognise)
            print(result.row(), flush=True)
            if args.words_dir is not None:
                write_words(args.words_dir, name, audio.stem, words)
    for normalizer in normalizers():
        print(normalizer.signature)


if __name__ == "__main__":
    main(sys.argv[1:])
