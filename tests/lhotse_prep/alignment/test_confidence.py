"""The report on an alignment: counts, runs without a time, and the line that is printed."""

from __future__ import annotations

import numpy as np

from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.word_times import WordTimes


def report(starts: list[float | None], scores: list[float]) -> dict:
    start = np.array([np.nan if s is None else s for s in starts])
    return confidence_report(
        "week1", [f"w{i}" for i in range(len(starts))], WordTimes(start, start + 0.5, np.array(scores))
    )


def test_runs_without_a_time_and_where_they_lie() -> None:
    found = report([None, 1.0, None, None, 4.0, None], [0, 0.5, 0, 0, 1.0, 0])
    assert (found["words"], found["timed"], found["timed_part"], found["score_mean"]) == (6, 2, 0.3333, 0.75)
    assert [(r["first_token"], r["num_tokens"], r["after"], r["before"], r["text"]) for r in found["untimed_runs"]] == [
        (0, 1, None, 1.0, "w0"),
        (2, 2, 1.5, 4.0, "w2 w3"),
        (5, 1, 4.5, None, "w5"),
    ]
    line = report_line(found)
    assert line == "week1: 33.33% of 6 words timed, mean score 0.750; 3 runs untimed, the longest 2 words: w2 w3"


def test_everything_and_nothing_timed() -> None:
    assert report([0.0, 1.0], [1.0, 0.5])["untimed_runs"] == []
    nothing = report([None, None], [0.0, 0.0])
    assert nothing["timed"] == 0 and nothing["score_mean"] == 0.0 and len(nothing["untimed_runs"]) == 1
