"""Each broken limit is reported with the cue, its value and the limit."""

from __future__ import annotations

import pytest

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.cue import Cue
from ml2021.st.cues.limits import BrokenLimit, broken_limits, report

CONFIG = SubtitleConfig()
GOOD = Cue(0, 3000, ("好好好",), ("Good, very good.",))


@pytest.mark.parametrize(
    ("cue", "key", "value", "limit"),
    [
        (Cue(1000, 1900, ("好",), ("Good.",)), "min_duration", 0.9, 1.0),
        (Cue(1000, 8500, ("好",), ("Good.",)), "max_duration", 7.5, 7.0),
        (Cue(1000, 7000, ("好" * 17,), ("Good.",)), "max_cjk", 17.0, 16.0),
        (Cue(1000, 7000, ("好" * 12 + "a" * 14,), ()), "max_cjk", 17.333, 16.0),
        (Cue(1000, 7000, ("好",), ("x" * 43,)), "max_latin", 43.0, 42.0),
        (Cue(1000, 7000, ("好", "好", "好"), ("Good.",)), "max_lines", 3.0, 2.0),
        (Cue(1000, 2000, ("好" * 10,), ("Good.",)), "cjk_reading_speed", 10.0, 9.0),
        (Cue(1000, 2000, ("好" * 5 + "a" * 10,), ("Good.",)), "cjk_reading_speed", 9.5, 9.0),
        (Cue(1000, 2000, (), ("x" * 21,)), "max_reading_speed", 21.0, 20.0),
    ],
)
def test_each_limit(cue: Cue, key: str, value: float, limit: float) -> None:
    assert broken_limits([cue], CONFIG) == [BrokenLimit(1, 1.0, key, value, limit)]


def test_a_gap_is_the_earlier_cues() -> None:
    cues = [GOOD, Cue(3040, 5000, ("好",), ()), Cue(5080, 7000, ("好",), ())]
    assert broken_limits(cues, CONFIG) == [BrokenLimit(1, 0.0, "min_gap", 0.04, 0.08)]


def test_what_keeps_the_limits_exactly_is_no_report() -> None:
    cues = [Cue(0, 1000, ("好" * 9,), ("x" * 20,)), Cue(1080, 8080, ("好" * 16, "好" * 16), ("x" * 42, "x" * 42))]
    assert broken_limits(cues, CONFIG) == [] == broken_limits([], CONFIG)


def test_report_counts_cues_and_limits_by_file() -> None:
    bad = Cue(4000, 4500, ("好" * 17,), ("Good.",))
    files = report({"x": [GOOD, bad], "x.en": [GOOD]}, CONFIG)["files"]
    assert files["x"]["cues"] == 2 and files["x"]["cues_beyond_a_limit"] == 1
    assert files["x"]["counts"] == {"cjk_reading_speed": 1, "max_cjk": 1, "min_duration": 1}
    assert files["x"]["broken"][0] == {"cue": 2, "start": 4.0, "key": "min_duration", "value": 0.5, "limit": 1.0}
    assert files["x.en"] == {"cues": 1, "cues_beyond_a_limit": 0, "counts": {}, "broken": []}
