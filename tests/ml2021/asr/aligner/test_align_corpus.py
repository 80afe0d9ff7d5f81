"""Stage 3's files: supervisions, CTM, the confidence report and the scores, from a recogniser's words."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import SupervisionSet, load_manifest
from pympi.Praat import TextGrid

from lhotse_prep.alignment import matching
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.ctm import read_ctm
from lhotse_prep.manifests.exact_times import make_segments
from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.manifests.make import prepare_ml2021
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl
from ml2021.asr.aligner.align_corpus import align_corpus
from ml2021.asr.aligner.config import AlignerConfig

WORDS = ["我", "們", "今", "天", "要", "講", "bert", "的", "訓", "練"]
UNSPOKEN = ["沒", "有", "人", "說", "過", "這", "句", "話", "喔"]
ONSETS = {"week1": 0.5, "week2": 1.0, "week3": 1.5}  # seconds at which each lecture's speech begins


@pytest.fixture()
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three lectures of 12 s whose words last 0.3 s; week2's transcript ends with text that is not spoken."""
    source, rows = tmp_path / "source", []
    source.mkdir()
    for name, onset in ONSETS.items():
        sf.write(source / f"{name}.flac", np.random.default_rng(len(rows)).normal(0, 0.1, 12 * 16_000), 16_000)
        text = WORDS * 3 + (UNSPOKEN if name == "week2" else [])
        (source / f"{name}.txt").write_text(" ".join(text), encoding="utf-8")
        (source / f"{name}.en.txt").write_text("a translation", encoding="utf-8")
        rows += [f"{name} 1 {onset + 0.3 * i:.2f} 0.28 {w}" for i, w in enumerate(WORDS * 3)]
    (source / "splits.yaml").write_text("train: [week1]\ndev: [week2]\ntest: [week3]\n")
    (tmp_path / "hyp.ctm").write_text("\n".join(rows), encoding="utf-8")
    prepare_ml2021(source, tmp_path / "manifests")
    (tmp_path / "truth").mkdir()
    truth = [[ONSETS["week3"] + 0.02, 10.0, " ".join(WORDS * 3)]]
    (tmp_path / "truth/week3.json").write_text(json.dumps(truth))
    regions = {name: np.array([[int(onset * 16_000), 11 * 16_000]]) for name, onset in ONSETS.items()}
    monkeypatch.setattr(matching, "speech_regions", lambda audio, name: regions[name])
    return tmp_path


def test_files_and_scores(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = corpus / "aligned"
    out.mkdir()
    config = AlignerConfig(model=str(corpus / "hyp.ctm"), refine=False)
    with caplog.at_level(logging.INFO):
        align_corpus(corpus / "manifests", corpus / "truth", out, config, StretchConfig())
    for part, name in (("train", "week1"), ("dev", "week2"), ("test", "week3")):
        stretches = load_manifest(out / f"ml2021_supervisions_{part}.jsonl.gz", SupervisionSet)
        items = [i for s in stretches for i in s.alignment["word"]]
        assert [i.symbol for i in items] == WORDS * 3
        assert [i.start for i in items] == pytest.approx([ONSETS[name] + 0.3 * i for i in range(30)], abs=1e-3)
        lines = (out / f"ml2021_{part}.ctm").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 30 and lines[0].split()[::4] == [name, WORDS[0]]
    reports = {r["id"]: r for r in read_jsonl(out / "confidence.jsonl")}
    assert reports["week1"]["timed_part"] == 1.0 and reports["week1"]["score_mean"] == 1.0
    (run,) = reports["week2"]["untimed_runs"]
    assert (run["first_token"], run["text"], run["before"]) == (30, " ".join(UNSPOKEN), None)
    assert any(m.startswith("week2: 76.92% of 39 words timed") for m in caplog.messages)
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["words"], scores["words_untimed"], scores["confidence_median"]) == (99, 9, 1.0)
    assert scores["alignment_median_ms"] == pytest.approx(20.0, abs=0.2)


def test_lecture_that_the_words_do_not_fit_is_named(corpus: Path) -> None:
    path = corpus / "hyp.ctm"
    path.write_text(path.read_text(encoding="utf-8").replace("week3", "week9"), encoding="utf-8")
    (corpus / "aligned").mkdir()
    with pytest.raises(DataError, match="lecture week3 is not in"):
        align_corpus(
            corpus / "manifests",
            corpus / "truth",
            corpus / "aligned",
            AlignerConfig(model=str(path), refine=False),
            StretchConfig(),
        )


@pytest.mark.parametrize(
    ("begin", "end", "message"),
    [
        (96_000, 210_000, "spans 6.000-13.125 s, recording week3 has 12.000 s"),
        (6_000_000, 12_000_000, "spans 375.000-750.000 s, recording week3 has 12.000 s"),
        (96_000, 96_000, "its duration is 0.0 s"),
    ],
)
def test_exact_times_that_are_not_within_their_recording_are_refused(
    corpus: Path, begin: int, end: int, message: str
) -> None:
    lecture = load_manifest(corpus / "manifests/ml2021_supervisions_test.jsonl.gz", SupervisionSet)["week3"]
    whole = {"id": "u0", "begin": begin, "end": end, "text": " ".join(WORDS * 3), "translation": "", "in_dev": False}
    write_manifest(corpus / "manifests/ml2021_segments_test.jsonl.gz", make_segments(lecture, [whole]))
    config = AlignerConfig(model=str(corpus / "hyp.ctm"), refine=False)
    with pytest.raises(DataError, match=rf"ml2021_segments_test.*supervision week3-00000: {message}"):
        align_corpus(corpus / "manifests", corpus / "truth", corpus / "aligned", config, StretchConfig())


def test_names_of_other_programs_and_lectures_that_are_not_in_the_corpus(
    corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = corpus / "hyp.ctm"
    text = path.read_text(encoding="utf-8").replace("week1 ", "audio/week1.WAV ").replace("week2 ", "week2.flac ")
    path.write_text(text + "\nmy%20other%20talk 1 0.1 0.2 我\n", encoding="utf-8")
    align_corpus(
        corpus / "manifests",
        corpus / "truth",
        corpus / "aligned",
        AlignerConfig(model=str(path), refine=False),
        StretchConfig(),
    )
    reports = {r["id"]: r for r in read_jsonl(corpus / "aligned/confidence.jsonl")}
    assert reports["week1"]["timed_part"] == 1.0 and reports["week1"]["speech_covered"] == 0.9505
    assert "1 recordings that are not among the lectures: my other talk" in caplog.text


def test_exact_times_replace_an_alignment(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lecture that was joined from utterances needs no words with times; the others are aligned as usual."""
    words = WORDS * 3
    lecture = load_manifest(corpus / "manifests/ml2021_supervisions_test.jsonl.gz", SupervisionSet)["week3"]
    common = {"translation": "half", "in_dev": False}
    halves = [
        common | {"id": "u0", "begin": 0, "end": 96_000, "text": " ".join(words[:12])},
        common | {"id": "u1", "begin": 96_000, "end": 192_000, "text": " ".join(words[12:])},
    ]
    write_manifest(corpus / "manifests/ml2021_segments_test.jsonl.gz", make_segments(lecture, halves))
    path, out = corpus / "hyp.ctm", corpus / "aligned"
    path.write_text("\n".join(x for x in path.read_text(encoding="utf-8").splitlines() if "week3" not in x))
    out.mkdir()
    with caplog.at_level(logging.INFO):
        align_corpus(
            corpus / "manifests", corpus / "truth", out, AlignerConfig(model=str(path), refine=False), StretchConfig()
        )
    test = load_manifest(out / "ml2021_supervisions_test.jsonl.gz", SupervisionSet)
    assert [(s.start, s.end, s.text.split()) for s in test] == [(0, 6, words[:12]), (6, 12, words[12:])]
    assert len(load_manifest(out / "ml2021_supervisions_train.jsonl.gz", SupervisionSet)) >= 1
    assert "test: 0 recordings aligned, 1 with exact times, 2 supervisions" in caplog.messages
    assert {r["id"]: r.get("exact", False) for r in read_jsonl(out / "confidence.jsonl")} == {
        "week1": False,
        "week2": False,
        "week3": True,
    }
    assert {p.name for p in (out / "annotations").iterdir()} == {
        f"{name}{suffix}" for name in ("week1", "week2") for suffix in (".TextGrid", ".eaf")
    }
    tiers = {t.name: list(t.get_intervals()) for t in TextGrid(str(out / "annotations/week1.TextGrid")).get_tiers()}
    expected = [w.word for w in read_ctm(out / "ml2021_train.ctm") if w.recording == "week1"]
    assert expected and [label for _, _, label in tiers["words"] if label] == expected
