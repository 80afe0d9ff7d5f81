"""A report on the alignment of each lecture: how much of the text is timed, how reliably, and which runs are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.outside_times import part_covered
from lhotse_prep.alignment.word_times import RECOGNISED, WordTimes


def part_recognised(times: WordTimes) -> float:
    """The part of a transcript's words, 0..1, that have a time and a score of at least RECOGNISED.

    It tells whether a transcript is that of its recording, where the part that is timed does not: a word of the text
    may be spoken as another, so that most words of a wrong text get some time in the speech.
    """
    return float((np.isfinite(times.start) & (times.score >= RECOGNISED)).mean())


def confidence_report(
    lecture: str, words: Sequence[str], times: WordTimes, regions: NDArray[np.float64]
) -> dict[str, Any]:
    """
    Args:
      lecture: the lecture's id.
      words: (W,) of its transcript.
      times: of the words.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
    Returns:
      Counts, the fraction of words that are timed, their mean score (0..1), the fraction of the speech that has a timed
      word within a second, the agreement with the speech of times that a recogniser gave, and every run of untimed
      words with the times before and after it (seconds; None at an end of the lecture).
    """
    timed = np.isfinite(times.start)
    untimed = np.flatnonzero(~timed)
    runs = np.split(untimed, np.flatnonzero(np.diff(untimed) > 1) + 1) if len(untimed) else []
    return {
        "id": lecture,
        "words": len(words),
        "timed": int(timed.sum()),
        "timed_part": round(float(timed.mean()), 4),
        "score_mean": round(float(times.score[timed].mean()), 4) if timed.any() else 0.0,
        "speech_covered": round(part_covered(times.start, times.end, regions), 4),
        **({} if times.agreement is None else {"agreement": times.agreement}),
        "untimed_runs": [
            {
                "first_token": int(run[0]),
                "num_tokens": len(run),
                "after": round(float(times.end[run[0] - 1]), 3) if run[0] > 0 else None,
                "before": round(float(times.start[run[-1] + 1]), 3) if run[-1] + 1 < len(words) else None,
                "text": " ".join(words[w] for w in run),
            }
            for run in runs
        ],
    }


def report_line(report: dict[str, Any], longest: int = 40) -> str:
    """A report as one line to print; of the longest untimed run at most `longest` characters."""
    line = (
        f"{report['id']}: {report['timed_part']:.2%} of {report['words']} words timed, "
        f"mean score {report['score_mean']:.3f}; {report['speech_covered']:.1%} of the speech has words"
    )
    if "agreement" in report:
        line += f", agreement {report['agreement']:.2f}"
    runs = report["untimed_runs"]
    if runs:
        worst = max(runs, key=lambda r: r["num_tokens"])
        text = worst["text"] if len(worst["text"]) <= longest else worst["text"][:longest] + " ..."
        line += f"; {len(runs)} runs untimed, the longest {worst['num_tokens']} words: {text}"
    return line
