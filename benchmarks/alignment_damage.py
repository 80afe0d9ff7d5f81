#!/usr/bin/env python3
"""Alignment errors of a trained aligner on damaged lectures, kind by kind, and what its confidences are worth.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/alignment_damage.py --corpus voices/human voices/neural \\
        --model data/voices/aligned/aligner --kinds none room+babble-10 deleted-60 wrong-text --seeds 0 1 2

Each corpus is a folder with NAME.flac or NAME.wav, and truth/NAME.json. Voices of babble and of questions are those of
the other corpora, texts those of all other lectures. Nothing is trained. The aligner should know the lectures, as in
stage 3.

An utterance's first word starts where the truth says; of any other word it is known only that it starts within its
utterance, and its error is how far outside it starts. Printed for each kind: lectures that are refused, which count in
no other column; the share of all words that the model recognises (confidence.part_recognised); errors of the starts of
utterances; shares of the timed words that are off; the share of what is said that has no time, and of what is not said
that has one. Then, over all kinds together, the share of the words above a confidence that are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import sounds
from benchmarks.lecture_damage import KINDS, NOT_SAID, SpokenLecture, damaged, names_of
from benchmarks.spoken_corpora import others_of, read_corpora
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.alignment.word_times import RECOGNISED, WordTimes
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.acoustic import Acoustic, load_acoustic
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import MIN_CONTRAST, check_text

PROJECT = Path(__file__).resolve().parent.parent
RIGHT = 0.3  # seconds; a word with a smaller error is right
TRUSTED = 0.999  # of the words above a threshold that must be right
HEAD = (
    "| damage | lectures | refused | recognised | median ms | 95% ms | > 0.5 s | > 2 s | said, untimed "
    "| not said, timed |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Judged:
    """The words of some lectures. Errors are in seconds: NaN of a word without a time, infinite if it is not said."""

    error: NDArray[np.float64]  # (W,)
    score: NDArray[np.float64]  # (W,)
    is_said: NDArray[np.bool_]  # (W,)
    is_first: NDArray[np.bool_]  # (W,) of an utterance

    @classmethod
    def of(cls, lecture: SpokenLecture, times: WordTimes) -> Judged:
        """Compare the times of a lecture's words with the truth."""
        utterance = np.array([w.utterance for w in lecture.words])
        is_said = utterance != NOT_SAID
        is_first = np.array([w.is_first for w in lecture.words])
        begin, end = lecture.utterances[utterance].T  # of words that are not said: not used
        outside = np.maximum(np.maximum(begin - times.start, times.start - end), 0.0)
        error = np.where(is_first, np.abs(times.start - begin), outside)
        return cls(np.where(is_said | np.isnan(times.start), error, np.inf), times.score, is_said, is_first)

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        """The words of all parts."""
        names = ("error", "score", "is_said", "is_first")
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def row(kind: str, judged: Sequence[Judged], num_refused: int) -> str:
    """A row of the table: shares of no words are `-`."""
    count = len(judged) + num_refused
    if not judged:
        return f"| {kind} | {count} | {num_refused} |" + " - |" * 7
    j = Judged.joined(judged)
    timed = ~np.isnan(j.error)
    starts = 1000 * j.error[timed & j.is_said & j.is_first]
    median, p95 = (f"{np.quantile(starts, q):.0f}" if len(starts) else "-" for q in (0.5, 0.95))
    off = j.error[timed & j.is_said]
    shares = [_share(off > 0.5), _share(off > 2), _share(~timed[j.is_said]), _share(timed[~j.is_said])]
    recognised = _share(timed & (j.score >= RECOGNISED))
    return f"| {kind} | {count} | {num_refused} | {recognised} | {median} | {p95} | {' | '.join(shares)} |"


def curve(judged: Judged, thresholds: Sequence[float]) -> list[tuple[float, float, float]]:
    """(threshold, share of the timed words with at least that confidence, share of these that are right)."""
    timed = ~np.isnan(judged.error)
    error, score = judged.error[timed], judged.score[timed]
    result = []
    for threshold in thresholds:
        above = error[score >= threshold]
        result.append(
            (threshold, len(above) / max(1, len(error)), float((above < RIGHT).mean()) if len(above) else 1.0)
        )
    return result


def trusted_threshold(judged: Judged, share: float = TRUSTED) -> float | None:
    """The lowest confidence such that of the words with at least that, this share is right; None: there is none."""
    timed = ~np.isnan(judged.error)
    order = np.argsort(-judged.score[timed], kind="stable")
    score, right = judged.score[timed][order], (judged.error[timed] < RIGHT)[order]
    shares = np.cumsum(right) / np.arange(1, len(right) + 1)
    is_last = np.append(score[:-1] != score[1:], True)  # of equal confidences
    enough = np.flatnonzero(is_last & (shares >= share))
    return float(score[enough[-1]]) if len(enough) else None


class Aligner:
    """Stage 3's alignment with a model; the log-probs of a recording are computed once, whatever its text."""

    def __init__(self, model: Acoustic, config: AlignerConfig) -> None:
        self.model, self.config = model, config
        self._undamaged: dict[str, _Emissions] = {}

    def align(self, lectures: Iterable[tuple[SpokenLecture, bool]]) -> Iterator[tuple[SpokenLecture, WordTimes | None]]:
        """Times of the words of each lecture, None if it is refused; the lag of the model is that of all together.

        Args:
          lectures: each with whether its sound is undamaged, so that its log-probs are kept.
        """
        aligned: dict[int, tuple[SpokenLecture, _Emissions, WordTimes | None, list[list[int]]]] = {}
        for number, (lecture, is_undamaged) in enumerate(lectures):
            words = [w.text for w in lecture.words]
            units = self.model.encode(words)
            emissions = self._emissions(lecture, is_undamaged)
            times = None
            try:
                times = self._aligned(lecture.id, emissions, units)
            except DataError as e:
                print(f"refused: {e}", flush=True)
            kept = emissions if is_undamaged else replace(emissions, log_probs=emissions.log_probs[:0])
            aligned[number] = (lecture, kept, times, units)
        timed = {str(n): times for n, (_, _, times, _) in aligned.items() if times is not None}
        units_of = {str(n): units for n, (_, _, _, units) in aligned.items()}
        regions = {n: aligned[int(n)][1].regions for n in timed}
        words_of = {n: [w.text for w in aligned[int(n)][0].words] for n in timed}
        finished = finish_times(timed, words_of, units_of, regions)
        for number, (lecture, *_) in aligned.items():
            yield lecture, finished.get(str(number))

    def _aligned(self, lecture: str, emissions: _Emissions, units: list[list[int]]) -> WordTimes:
        """As stage 3 does it with a given model; raises DataError if it refuses the text."""

        def align(of: list[list[int]]) -> WordTimes:
            return align_words(emissions.log_probs, of, lecture, self.model.frame, self.config)

        times = align(units)
        check_text(lecture, "the model", times, lambda: align(units[::-1]), MIN_CONTRAST)
        return times

    def _emissions(self, lecture: SpokenLecture, is_undamaged: bool) -> _Emissions:
        if is_undamaged and lecture.id in self._undamaged:
            return self._undamaged[lecture.id]
        samples = lecture.samples / max(1.0, float(np.abs(lecture.samples).max()))
        regions = speech_regions(samples, lecture.id)
        emissions = _Emissions(np.concatenate(list(self.model.blocks(samples))), regions)
        if is_undamaged:
            self._undamaged[lecture.id] = emissions
        return emissions


@dataclass(frozen=True)
class _Emissions:
    log_probs: NDArray[np.float32]  # (T, V)
    regions: NDArray[np.int64]  # (R, 2) stretches of speech in samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="folders of lectures with truth/")
    parser.add_argument("--model", type=Path, required=True, help="stage 3's aligner/, or any model with CTC outputs")
    parser.add_argument("--conf", type=Path, default=PROJECT / "conf/ml2021", help="costs of faults [%(default)s]")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help="such as none room+babble-10 [all alone]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--lectures", nargs="+", help="only these are damaged and aligned [all]")
    args = parser.parse_args()
    try:
        with_mp3 = [kind for kind in args.kinds if "mp3" in names_of(kind)]
    except ValueError as e:
        parser.error(f"--kinds: {e}")
    corpora = read_corpora(args.corpus)
    config = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    aligner = Aligner(load_acoustic(args.model, torch.device("cpu")), config)
    chosen = [(x, folder) for folder, lectures in corpora.items() for x in lectures]
    chosen = [(x, folder) for x, folder in chosen if args.lectures is None or x.id in args.lectures]
    print(HEAD, flush=True)
    everything: list[Judged] = []
    for kind in args.kinds:
        if kind in with_mp3 and not sounds.can_write_mp3():
            print(f"| {kind} | skipped: soundfile's library does not write MP3 |" + " |" * 8)
            continue
        judged: list[Judged] = []
        num_refused = 0
        for seed in args.seeds:
            hurt = ((damaged(x, kind, seed, others_of(x, folder, corpora)), x) for x, folder in chosen)
            for lecture, times in aligner.align((y, y.samples is x.samples) for y, x in hurt):
                if times is None:
                    num_refused += 1
                else:
                    judged.append(Judged.of(lecture, times))
        print(row(kind, judged, num_refused), flush=True)
        everything += judged
    if everything:
        _print_curve(Judged.joined(everything))


def _print_curve(judged: Judged) -> None:
    print(f"\n| confidence at least | of the timed words | within {RIGHT} s |\n|---|---|---|")
    for threshold, kept, right in curve(judged, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)):
        print(f"| {threshold:.2f} | {kept:.1%} | {right:.2%} |")
    trusted = trusted_threshold(judged)
    if trusted is None:
        print(f"\nno confidence has {TRUSTED:.1%} of the words above it within {RIGHT} s")
    else:
        ((_, kept, _),) = curve(judged, [trusted])
        print(f"\n{TRUSTED:.1%} of the words are within {RIGHT} s from a confidence of {trusted:.3f} on ({kept:.1%})")


def _share(chosen: NDArray[np.bool_]) -> str:
    return f"{chosen.mean():.2%}" if len(chosen) else "-"


if __name__ == "__main__":
    main()
