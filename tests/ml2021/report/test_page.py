"""The page of a run is one self-contained file with all results of the run."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.report import clips
from ml2021.report.config import PageConfig
from ml2021.report.provenance import commit
from tests.ml2021.report.conftest import NASTY, NUM_WINDOWS, WINDOW, Run

VOID = {"meta", "img", "br", "link"}
SHAPES = {"line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """Collects text, tags and external links of a page; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.visible: list[str] = []  # text that a reader sees
        self.data: dict[str, Any] = {}  # JSON that the script reads, by element id
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._id = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._id = dict(attrs).get("id") or ""
        self.ids += [self._id] if self._id else []
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href") and value:
                (self.links if value.startswith("#") else self.outside).append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            assert "url(" not in data and "@import" not in data
        elif self.open and self.open[-1] == "script":
            if self._id:
                self.data[self._id] = json.loads(data)
        else:
            self.visible.append(data)


def test_page_needs_nothing_else(finished_run: Run) -> None:
    text = finished_run.page()
    page = Page(text)
    assert page.outside == ["data:,"]  # the icon, which a browser would request otherwise
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[^']+'", text)
    assert {link[1:] for link in page.links if not link.startswith("#w:")} <= set(page.ids)
    assert page.tags.count("script") == 3 and page.tags.count("svg") == 4 + 3 + 2  # histograms, curves of both models


def test_text_from_data_is_never_markup(finished_run: Run) -> None:
    text = finished_run.page()
    page = Page(text)
    assert "img" not in page.tags and "onerror=boom" in text
    assert NASTY not in text and "<script>3" not in text and "<nets>" not in text and "# <b>" not in text
    words = [word[0] for w in page.data["lecture-data"][0]["windows"] for word in w["words"]]
    assert NASTY in words and "# <b>" in "".join(page.visible)  # as text, it is all there


def test_page_has_figures_bars_and_intervals(finished_run: Run) -> None:
    page = Page(finished_run.page())
    text = "".join(page.visible)
    for figure in ("71.2", "3.20", "≤ 5", "MISSED", "asr-train", "12.0", "nrefs:1|case:mixed", "num_epochs: 3"):
        assert figure in text
    assert "./run.sh --conf" in text and "python -m ml2021.scoring.error_rate" in text
    assert "MISSED" not in "".join(Page(finished_run.page(has_bars=False)).visible)


def test_windows_have_words_errors_translations_and_audio(finished_run: Run) -> None:
    page = Page(finished_run.page())
    test, train = page.data["lecture-data"]
    assert (test["id"], test["part"], train["id"]) == ("lecture08", "test", "lecture01")
    window = test["windows"][3]
    assert window["words"][0] == ["我", 0.25, 0.75, 0.5]  # times relative to the window
    assert window["alignment"] == ["我", "們", ["用", "有"], NASTY, "來", "做"]
    assert test["windows"][5]["alignment"][-1] == ["", "net"] and train["windows"][5]["alignment"] is None
    assert [p[1:] for p in window["pairs"]] == [["We use <nets> & 3.", "We took <nets> & lecture08-0003.", ""]]
    assert train["doubtful"] == [[0.25, 3.25]]  # the only pair that was left out
    assert train["windows"][0]["pairs"][0][3] == "score below 0" and train["windows"][1]["pairs"] == []
    assert [c[3] for c in window["cascade"]] == ["Nets <b>3."]
    peaks = base64.b64decode(test["peaks"])
    assert len(peaks) == WINDOW * NUM_WINDOWS * test["rate"] and max(peaks) == 255
    assert sum(peaks[:100]) < sum(peaks[-100:]) / 10  # the tone gets louder
    clip, rate = soundfile.read(io.BytesIO(base64.b64decode(page.data["clip-data"]["lecture08-0003"])))
    assert len(clip) / rate == pytest.approx(WINDOW, abs=0.1) and abs(clip).max() > 0.1


@pytest.mark.parametrize("megabytes", [0, 0.02, 0.06, 10])
@pytest.mark.parametrize("at_once", [1, 4, 32])
def test_clips_keep_to_the_limit_and_the_page_says_how_many_there_are(
    finished_run: Run, megabytes: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "_AT_ONCE", at_once)
    page = Page(finished_run.page(audio_megabytes=megabytes))
    shown = page.data["clip-data"]
    assert sum(map(len, shown.values())) <= megabytes * 1e6
    assert f"Audio of {len(shown)} of 24 windows" in "".join(page.visible) and f"limit {megabytes:g} MB" in "".join(
        page.visible
    )
    assert len(shown) == 24 if megabytes == 10 else len(shown) < 24
    if megabytes == 0.02:  # errors first
        assert list(shown) and set(shown) <= {"lecture08-0003", "lecture08-0005"}
    if megabytes == 0.06:  # test before train
        assert {"lecture08-0003", "lecture08-0005"} < set(shown) and not any(c.startswith("lecture01") for c in shown)


def test_config_refuses_nonsense() -> None:
    with pytest.raises(ConfigError, match="audio_megabytes"):
        PageConfig(-1.0)
    with pytest.raises(ConfigError, match="lecture_hours must be in 0..500, got -1"):
        PageConfig(lecture_hours=-1.0)


def add_train_lectures(run: Run, num_lectures: int) -> None:
    """Copies of the train lecture; the later ones are less sure."""
    for path in (run.data / "cuts", run.data / "aligned"):
        (file,) = path.glob("ml2021_*_train.jsonl.gz")
        with gzip.open(file, "rt", encoding="utf-8") as f:
            rows = list(f)
        with gzip.open(file, "wt", encoding="utf-8") as f:
            for i in range(num_lectures):
                confidence = f'"confidence": {0.9 - i / 1000:.3f}'
                for row in rows:
                    f.write(re.sub('"confidence": [0-9.]+', confidence, row.replace("lecture01", f"copy{i:04d}")))


def test_page_of_a_thousand_lectures_draws_the_most_interesting_and_lists_all(run: Run) -> None:
    add_train_lectures(run, 150)
    ids = [f"copy{i:04d}" for i in range(150)]
    rows = [
        {"id": i, "words": 72, "timed_part": 1 - k / 1000, "score_mean": 0.9, "untimed_runs": []}
        for k, i in enumerate(ids)
    ]
    write_jsonl(run.data / "aligned" / "confidence.jsonl", rows * 2)
    write_jsonl(run.data / "bitext" / "train.jsonl", [pair_of(i) for i in ids])
    seconds = WINDOW * NUM_WINDOWS
    text = run.page(audio_megabytes=0, lecture_hours=4 * seconds / 3600)
    page = Page(text)
    drawn = page.data["lecture-data"]
    assert [x["id"] for x in drawn] == ["lecture08", *ids[-3:]]  # test, then those with the lowest confidence
    assert all(len(x["windows"]) == NUM_WINDOWS and len(x["stretches"]) == NUM_WINDOWS for x in drawn)
    assert drawn[1]["windows"][0]["pairs"][0][1] == "target of copy0147"
    shown = "".join(page.visible)
    assert "151 lectures, 2.01 h, 1812 windows" in shown and "4 of 151 lectures are drawn" in shown
    assert "The 200 of 300 lectures with the most words without times" in shown
    assert "copy0100" in shown and "copy0040" not in shown
    assert "confidence of 10872 words" in text  # of all lectures, not of those that are drawn
    table = (run.exp / "lectures.tsv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 152 and table[0].split("\t")[:3] == ["lecture", "part", "seconds"]
    assert table[1].split("\t") == ["lecture08", "test", "48.000", "12", "72", "0.927", "72", "2", "2.778"]
    assert table[2].split("\t") == ["copy0000", "train", "48.000", "12", "72", "0.900", "0", "0", ""]
    assert len(text) < 300_000


def pair_of(lecture: str) -> dict[str, Any]:
    place = {"first_token": 0, "num_tokens": 6}
    return {"id": f"{lecture}-0", "lecture": lecture, "source": "x", "target": f"target of {lecture}", **place}


def test_errors_link_to_windows_that_are_drawn_only(run: Run) -> None:
    (run.data / "cuts" / "ml2021_cuts_test.jsonl.gz").unlink()
    page = Page(run.page())
    assert not any(link.startswith("#w:") for link in page.links)
    assert "lecture08-0003" in "".join(page.visible)  # in the table of errors, as text


def test_many_missing_recordings_are_one_sentence(run: Run) -> None:
    add_train_lectures(run, 9)
    for path in (run.data / "source").glob("*.wav"):
        path.unlink()
    text = "".join(Page(run.page()).visible)
    assert "of lecture08, copy0000, copy0001, copy0002, copy0003 and 5 more: their audio files are missing" in text


@pytest.mark.parametrize(
    ("deleted", "message"),
    [
        ("exp/asr/greedy_search/recogs-test-greedy_search.txt", "there are no recogs-test-*.txt"),
        ("exp/mt/decode/hyps.jsonl", "Translations of the reference transcript by the translator: there is no"),
        ("data/cuts/ml2021_cuts_train.jsonl.gz", "Lectures of train: there is no"),
        ("data/source/lecture08.wav", "Waveform and audio of lecture08"),
        ("data/aligned/ml2021_supervisions_test.jsonl.gz", "Alignment of each lecture is not shown"),
        ("exp/asr/tensorboard", "there are no training curves"),
        ("exp/st/lecture08.jsonl", "Alignment of each lecture is not shown"),
    ],
)
def test_page_says_what_a_missing_file_leaves_out(run: Run, deleted: str, message: str) -> None:
    path = run.data.parent / deleted
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.unlink()
    page = Page(run.page())
    assert message in "".join(page.visible)
    assert page.data["lecture-data"][0]["id"] == "lecture08"


def test_page_of_an_empty_run(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    page = Page(Run(tmp_path / "conf", tmp_path / "data", tmp_path).page(has_bars=False))
    assert page.data == {"lecture-data": [], "clip-data": {}} and "svg" not in page.tags


def test_same_run_gives_the_same_page(finished_run: Run) -> None:
    assert finished_run.page() == finished_run.page()


def test_commit_is_that_of_the_checkout(project: Path, tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    if (project / ".git").exists():
        assert len(commit(project / "egs").removesuffix("+changes")) == 12


def run_stage(project: Path, run: Run, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "local/make_report.py", "--conf", str(run.conf), "--data", str(run.data)]
    command += ["--exp", str(run.exp), *options]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=100)


def test_stage_always_prints_the_table_and_makes_the_page_once(project: Path, run: Run) -> None:
    (run.data / "truth").mkdir()
    first = run_stage(project, run)
    assert first.returncode == 0, first.stderr
    results = json.loads((run.exp / "results.json").read_text())
    assert results["bleu_mt"] == 71.2 and results["wall_seconds"]["report"] > 0
    assert results["wall_seconds"]["total"] == pytest.approx(sum(results["wall_seconds"].values()) / 2, abs=0.1)
    assert "starts of sentences off by, 95% (ms)" in first.stdout and "MISSED" in first.stdout
    second = run_stage(project, run)
    assert "up to date" in second.stderr and second.stdout == first.stdout


def test_stage_names_the_stage_that_is_missing_or_makes_a_partial_page(project: Path, run: Run) -> None:
    (run.exp / "st" / ".done").unlink()
    result = run_stage(project, run)
    assert result.returncode == 1 and "stage 10 makes it" in result.stderr and "Traceback" not in result.stderr
    assert run_stage(project, run, "--partial", "--audio-megabytes", "0").returncode == 0
    assert "Audio of 0 of 24 windows" in (run.exp / "report" / "index.html").read_text(encoding="utf-8")
