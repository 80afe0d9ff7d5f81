"""TextGrid and EAF files, read back by pympi's readers and by an XML parser."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pympi.Elan import Eaf
from pympi.Praat import TextGrid

from lhotse_prep.alignment.annotations import Interval, tiers_of, without_overlaps, write_eaf, write_textgrid

WORDS = [
    Interval(0.5, 0.8, "我"),
    Interval(0.8, 1.25, '"quoted"'),
    Interval(1.2, 1.2, "<b>&"),
    Interval(2.0, 9.0, "呢"),
]


def read_textgrid(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    return {t.name: list(t.get_intervals()) for t in TextGrid(str(path)).get_tiers()}


def test_textgrid_is_read_back(tmp_path: Path) -> None:
    write_textgrid(
        tmp_path / "l.TextGrid", tiers_of([Interval(0.5, 3.0, "all\nof it")], WORDS, [0.9, 1, 0, 0.256]), 3.0
    )
    tiers = read_textgrid(tmp_path / "l.TextGrid")
    assert list(tiers) == ["utterances", "words", "confidence"]
    for tier in tiers.values():  # no gap, no overlap, from 0 to the end
        assert tier[0][0] == 0 and tier[-1][1] == 3.0
        assert all(a[1] == b[0] and a[0] < a[1] for a, b in zip(tier, tier[1:]))
    assert [x[2] for x in tiers["utterances"]] == ["", "all of it"]
    labels = [x for x in tiers["words"] if x[2]]
    assert labels == [(0.5, 0.8, "我"), (0.8, 1.2, '"quoted"'), (1.2, 1.201, "<b>&"), (2.0, 3.0, "呢")]
    assert [x[2] for x in tiers["confidence"] if x[2]] == ["0.90", "1.00", "0.00", "0.26"]


def test_eaf_is_read_back_and_names_the_recording(tmp_path: Path) -> None:
    media = tmp_path / "課 1.wav"
    tiers = {"words": [*WORDS, Interval(2.5, 2.6, "bell\x07")]}
    write_eaf(tmp_path / "l.eaf", tiers, 3.0, media)
    first = (tmp_path / "l.eaf").read_bytes()
    document = Eaf(str(tmp_path / "l.eaf"))
    assert list(document.get_tier_names()) == ["words"]
    got = sorted(document.get_annotation_data_for_tier("words"))
    assert [x[0] for x in got] == [500, 800, 1200, 2000, 2500] and [x[1] for x in got] == [800, 1200, 1201, 2500, 2600]
    assert [x[2] for x in got] == ["我", '"quoted"', "<b>&", "呢", "bell\ufffd"]
    root = ElementTree.fromstring(first)
    assert root.find("HEADER/MEDIA_DESCRIPTOR").get("MEDIA_URL") == media.resolve().as_uri()  # type: ignore[union-attr]
    write_eaf(tmp_path / "l.eaf", tiers, 3.0, media)
    assert (tmp_path / "l.eaf").read_bytes() == first and not (tmp_path / "l.bak").exists()


def test_no_word_is_lost_and_none_overlap() -> None:
    rng = random.Random(0)
    for _ in range(200):
        duration = rng.uniform(0.2, 5)
        tier = [
            Interval(x := rng.uniform(-0.1, duration), x + rng.choice([0, 0.0001, 0.3, 9]), str(i)) for i in range(60)
        ]
        kept = without_overlaps(tier, duration)
        assert [x.label for x in kept] == [x.label for x in sorted(tier, key=lambda x: (x.start, x.end))]
        assert kept[0].start >= 0 and kept[-1].end <= round(duration, 3)
        assert all(a.start < a.end <= b.start for a, b in zip(kept, kept[1:]))
        for before, after in zip(sorted(tier, key=lambda x: (x.start, x.end)), kept):
            assert abs(after.start - min(max(before.start, 0), duration)) < 0.0615  # 60 words, one millisecond each


@pytest.mark.parametrize("tier", [[], [Interval(0, 1, "")]])
def test_an_empty_tier_is_one_empty_interval(tmp_path: Path, tier: list[Interval]) -> None:
    write_textgrid(tmp_path / "l.TextGrid", {"words": tier}, 1.0)
    assert read_textgrid(tmp_path / "l.TextGrid") == {"words": [(0.0, 1.0, "")]}
