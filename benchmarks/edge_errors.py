"""How far the starts and the ends of true utterances are off, and which words have no time, for benchmarks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from lhotse import SupervisionSegment

from benchmarks.alignment_truth import Figures, Truth, share_off
from lhotse_prep.alignment.stretches import end_errors, onset_errors
from lhotse_prep.manifests.exact_times import first_token

FAR = (0.2, 0.5, 2.0)  # seconds
DOUBTFUL = 0.5  # seconds off, beyond which a word's score should be low
COLUMNS = (
    *("corpus", "times", "edge", "utterances", "median ms", "95% ms", "worst ms"),
    *(f"> {seconds:g} s" for seconds in FAR),
    *("untimed", "score", f"score if > {DOUBTFUL:g} s"),
)


@dataclass(frozen=True)
class Edge:
    """The starts or the ends of true utterances."""

    errors: list[float]  # seconds; infinite for an utterance without a time
    scores: list[float]  # of the words at these edges; 0 for one without a time

    def cells(self) -> list[str]:
        """The cells of the table, from the number of utterances on."""
        f = Figures.of(self.errors)
        shares = [f"{share_off(self.errors, seconds):.1%}" for seconds in FAR]
        return [
            *(f"{x:.0f}" for x in (f.count, f.median, f.p95, f.worst)),
            *shares,
            str(f.untimed),
            self._median_score(-1.0),
            self._median_score(DOUBTFUL),
        ]

    def _median_score(self, least: float) -> str:
        """Of the edges that have a time and are more than `least` seconds off."""
        off = np.array(self.errors)
        chosen = np.isfinite(off) & (off > least)
        return f"{np.median(np.array(self.scores)[chosen]):.2f}" if chosen.any() else "-"


@dataclass(frozen=True)
class UntimedWords:
    """Words in a row that have no time."""

    lecture: str
    first: int  # of the words of its transcript, from 0
    words: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """The times of one kind on one corpus."""

    start: Edge
    end: Edge
    num_words: int
    untimed: list[UntimedWords]

    def edges(self) -> list[tuple[str, Edge]]:
        """Both edges by name."""
        return [("start", self.start), ("end", self.end)]

    def rows(self, corpus: str, times: str) -> list[str]:
        """The rows of the table."""
        return [f"| {' | '.join([corpus, times, name, *edge.cells()])} |" for name, edge in self.edges()]

    def untimed_lines(self, corpus: str, times: str, most: int) -> list[str]:
        """The list of the words without a time, in Markdown; at most so many runs of them."""
        count = sum(len(run.words) for run in self.untimed)
        lines = [f"- {corpus}, {times}: {count} of {self.num_words} words have no time"]
        for run in self.untimed[:most]:
            lines.append(f"  - {run.lecture}, from word {run.first} on: {' '.join(run.words)}")
        if len(self.untimed) > most:
            lines.append(f"  - and {len(self.untimed) - most} more runs of words")
        return lines


def result_of(
    stretches: Mapping[str, Sequence[SupervisionSegment]],
    transcripts: Mapping[str, Sequence[str]],
    truth: Mapping[str, Truth],
) -> Result:
    """The errors of times.

    Args:
      stretches: with the times of words, by lecture.
      transcripts: the words of each lecture.
      truth: (start, end, words) of the true utterances of each lecture; together they spell its transcript.
    """
    start, end = Edge([], []), Edge([], [])
    untimed: list[UntimedWords] = []
    for lecture, words in transcripts.items():
        of_lecture, utterances = stretches.get(lecture, ()), truth[lecture]
        scores = {
            index: item.score or 0.0
            for s in of_lecture
            for index, item in enumerate((s.alignment or {}).get("word", []), first_token(s))
        }
        bounds = np.cumsum([0, *(len(text.split()) for _, _, text in utterances)]).tolist()
        start.errors.extend(onset_errors(of_lecture, utterances))
        start.scores.extend(scores.get(index, 0.0) for index in bounds[:-1])
        end.errors.extend(end_errors(of_lecture, utterances))
        end.scores.extend(scores.get(index - 1, 0.0) for index in bounds[1:])
        untimed += _untimed_words(lecture, words, scores)
    return Result(start, end, sum(map(len, transcripts.values())), untimed)


def _untimed_words(lecture: str, words: Sequence[str], timed: Collection[int]) -> Iterator[UntimedWords]:
    """The runs of words whose index is not in `timed`."""
    indices = [i for i in range(len(words)) if i not in timed]
    for _, group in groupby(enumerate(indices), lambda x: x[1] - x[0]):
        run = [index for _, index in group]
        yield UntimedWords(lecture, run[0], tuple(words[i] for i in run))


def plot(results: Mapping[tuple[str, str], Result], path: Path) -> None:
    """Draw the cumulative share of utterances by error: a row for each corpus, a line for each kind of times.

    Args:
      results: by corpus and kind of times.
      path: the picture, .png.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    corpora = list(dict.fromkeys(corpus for corpus, _ in results))
    figure, axes = pyplot.subplots(len(corpora), 2, figsize=(9, 3.2 * len(corpora)), squeeze=False, sharey=True)
    for (corpus, times), result in results.items():
        for axis, (edge, values) in zip(axes[corpora.index(corpus)], result.edges()):
            off = np.sort(1000 * np.array(values.errors))
            share = np.arange(1, len(off) + 1) / len(off)
            timed = np.isfinite(off)
            axis.step(np.maximum(off[timed], 1.0), share[timed], where="post", label=times)
            axis.set(xscale="log", xlim=(1, 10_000), ylim=(0, 1), title=f"{corpus}: {edge}", xlabel="error, ms")
            axis.grid(alpha=0.3)
    for start, end in axes:
        start.set_ylabel("share of utterances")
        end.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
