"""The report on an alignment: counts, untimed runs, and the printed line."""

from __future__ import annotations

import numpy as np

from lhotse_prep.alignment.confidence import confidence_report, part_recognised, report_line
from lhotse_prep.alignment.word_times import WordTimes

SPEECH = np.array([[0.5, 2.0], [4.0, 5.0], [9.0, 10.0]])  # seconds


def report(starts: list[float | None], scores: list[float]) -> dict:
    start = np.array([np.nan if s is None else s for s in starts])
    return confidence_report(
        "week1", [f"w{i}" for i in range(len(starts))], WordTimes(start, start + 0.5, np.array(scores)), SPEECH
    )


def test_untimed_runs_and_the_times_around_them() -> None:
    week1 = report([None, 1.0, None, None, 4.0, None], [0, 0.5, 0, 0, 1.0, 0])
    assert (week1["words"], week1["timed"], week1["timed_part"], week1["score_mean"]) == (6, 2, 0.3333, 0.75)
    assert [(r["first_token"], r["num_tokens"], r["after"], r["before"], r["text"]) for r in week1["untimed_runs"]] == [
        (0, 1, None, 1.0, "w0"),
        (2, 2, 1.5, 4.0, "w2 w3"),
        (5, 1, 4.5, None, "w5"),
    ]
    line = report_line(week1)
    assert line == (
        "week1: 33.33% of 6 words timed, mean score 0.750; 71.4% of the speech has words; "
        "3 runs untimed, the longest 2 words: w2 w3"
    )


def test_agreement_of_a_recognisers_words_is_reported() -> None:
    times = WordTimes(np.array([1.0]), np.array([1.5]), np.array([0.5]), agreement=0.8765)
    week1 = confidence_report("week1", ["w0"], times, SPEECH[:1])
    assert (week1["speech_covered"], week1["agreement"]) == (1.0, 0.8765)
    line = "week1: 100.00% of 1 words timed, mean score 0.500; 100.0% of the speech has words, agreement 0.88"
    assert report_line(week1) == line and "agreement" not in report([1.0], [1.0])


def test_everything_and_nothing_timed() -> None:
    assert report([0.0, 1.0], [1.0, 0.5])["untimed_runs"] == []
    nothing = report([None, None], [0.0, 0.0])
    assert nothing["timed"] == 0 and nothing["score_mean"] == 0.0 and len(nothing["untimed_runs"]) == 1


def test_a_word_is_recognised_if_it_has_a_time_and_half_the_score() -> None:
    start = np.array([np.nan, 1.0, 2.0, 3.0, 4.0])
    assert part_recognised(WordTimes(start, start + 0.5, np.array([0.9, 0.5, 0.49, 0.0, 1.0]))) == 0.4
