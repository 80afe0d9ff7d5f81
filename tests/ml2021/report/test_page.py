"""The page of a run: whole, in one file, with what the run left behind."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import lhotse
import pytest
from torch.utils.tensorboard import SummaryWriter

from lhotse_prep.stages import write_jsonl
from ml2021.report import plots
from ml2021.report.page import commit, write_page
from ml2021.report.results import collect_results

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Collects text, images and what the page asks the network for; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[bytes] = []
        self.outside: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value:
                if value.startswith("data:image/png;base64,"):
                    self.images.append(base64.b64decode(value.split(",")[1], validate=True))
                else:
                    self.outside.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            assert "url(" not in data and "@import" not in data
        self.texts.append(data)


def png_size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n") and content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])


def finish(folder: Path, scores: dict[str, Any] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores))
    (folder / ".done").write_text(json.dumps({"stage": "x", "key": "k", "seconds": 12.0, "outputs": {}}))


def write_curves(folder: Path, names: list[str]) -> None:
    writer = SummaryWriter(str(folder))
    for epoch in range(1, 9):
        for i, name in enumerate(names):
            writer.add_scalar(f"train/epoch_{name}", (i + 1) * 3 / epoch, 100 * epoch)
            writer.add_scalar(f"valid/{name}", (i + 1) * 3.5 / epoch, 100 * epoch)
        writer.add_scalar("train/learning_rate", 0.001, 100 * epoch)
    writer.close()


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path, Path]:
    """conf, data and exp of a run with made-up results."""
    conf, data, exp = tmp_path / "conf" / "mini", tmp_path / "data", tmp_path / "exp"
    conf.mkdir(parents=True)
    (conf / "asr.yaml").write_text("asr: {train: {num_epochs: 3}}  # <b>")
    for name in ("source", "manifests", "lang"):
        finish(data / name)
    supervisions, cuts = [], []
    for i in range(40):
        start = 9.0 * i
        s = lhotse.SupervisionSegment(f"lecture08-{i:05d}", "lecture08", start, 7.5, text="我 們 用 net " * (2 + i % 3))
        s.custom = {"first_token": 0, "confidence": 0.7 + 0.007 * i}
        supervisions.append(s)
        cut = lhotse.MonoCut(f"lecture08-{i:04d}", start, 8.0, 0, supervisions=[s.with_offset(-start)])
        cut.recording = lhotse.Recording("lecture08", [], 16_000, 400 * 16_000, 400.0)
        cuts.append(cut)
    (data / "aligned").mkdir()
    (data / "cuts").mkdir()
    lhotse.SupervisionSet.from_segments(supervisions).to_file(data / "aligned" / "ml2021_supervisions_test.jsonl.gz")
    lhotse.CutSet.from_cuts(cuts).to_file(data / "cuts" / "ml2021_cuts_test.jsonl.gz")
    finish(data / "aligned", {"alignment_median_ms": 38.0, "alignment_p95_ms": 300.0})
    finish(data / "cuts")
    write_curves(exp / "asr" / "tensorboard", ["pruned_loss", "simple_loss", "ctc_loss", "left_out"])
    write_curves(exp / "mt" / "tensorboard", ["nll", "accuracy"])
    finish(exp / "asr")
    finish(exp / "asr" / "greedy_search", {"mer_windows": {"mer": 3.2, "zh": 3.0, "en": 4.0}})
    finish(data / "bitext")
    finish(exp / "mt")
    finish(exp / "mt" / "decode", {"bleu_mt": 71.2, "bleu_signature": "nrefs:1|case:mixed"})
    rows = [
        {"start": 3.5 * i, "end": 3.5 * i + 3, "source": f"我們用 net <script>{i}", "target": f"We use <nets> & {i}."}
        for i in range(25)
    ]
    write_jsonl(exp / "st" / "lecture08.jsonl", rows)
    finish(exp / "st")
    finish(exp / "export")
    return conf, data, exp


def make_page(run: tuple[Path, Path, Path], has_bars: bool = True) -> str:
    conf, data, exp = run
    write_page(exp / "index.html", data, exp, conf, collect_results(data, exp), has_bars)
    return (exp / "index.html").read_text(encoding="utf-8")


def test_page_needs_nothing_else(run: tuple[Path, Path, Path]) -> None:
    page = Page(make_page(run))
    assert page.outside == [] and "script" not in page.tags
    assert len(page.images) == 4  # curves of both models, confidences, time line
    assert all(width > 400 and height > 200 for width, height in map(png_size, page.images))


def test_page_has_figures_bars_and_sentences(run: tuple[Path, Path, Path]) -> None:
    page = Page(make_page(run))
    text = "".join(page.texts)
    for wanted in (
        "71.2",
        "3.20",
        "<= 5",
        "MISSED",
        "asr-train",
        "12.0",
        "nrefs:1|case:mixed",
        "num_epochs: 3",
        "# <b>",
    ):
        assert wanted in text
    assert "我們用 net <script>0" in text and "We use <nets> & 19." in text and "& 20." not in text
    assert "The first 20 of 25 sentences" in text and "Lecture lecture08" in text
    assert "MISSED" not in make_page(run, has_bars=False)


def test_page_of_a_run_with_nothing_to_plot(run: tuple[Path, Path, Path]) -> None:
    _, data, exp = run
    for path in [*exp.glob("*/tensorboard/*"), *data.glob("aligned/*.gz"), exp / "st" / "lecture08.jsonl"]:
        path.unlink()
    page = Page(make_page(run))
    assert page.images == [] and "Nothing to show." in "".join(page.texts)


def test_same_run_gives_the_same_page(run: tuple[Path, Path, Path]) -> None:
    assert make_page(run) == make_page(run)


def test_commit_says_where_it_is_from(project: Path, tmp_path: Path) -> None:
    assert commit(tmp_path) == "unknown"
    if (project / ".git").exists():
        assert len(commit(project / "egs").removesuffix("+changes")) == 12


def test_curves_of_one_epoch_and_none() -> None:
    assert plots.training_curves({}) is None and plots.training_curves({"train/current_loss": [(1, 2.0)]}) is None
    png = plots.training_curves({"train/epoch_loss": [(10, 2.0)]})
    assert png is not None and png_size(png)[0] > 300
    assert plots.confidence_histogram([]) is None and plots.time_line([], []) is None


def run_stage(project: Path, run: tuple[Path, Path, Path]) -> subprocess.CompletedProcess[str]:
    conf, data, exp = run
    command = [sys.executable, "local/make_report.py", "--conf", str(conf), "--data", str(data), "--exp", str(exp)]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=100)


def test_stage_prints_the_table_each_time_and_makes_the_page_once(project: Path, run: tuple[Path, Path, Path]) -> None:
    (run[1] / "truth").mkdir()
    first = run_stage(project, run)
    assert first.returncode == 0, first.stderr
    results = json.loads((run[2] / "results.json").read_text())
    assert results["bleu_mt"] == 71.2 and results["wall_seconds"]["report"] > 0
    assert results["wall_seconds"]["total"] == pytest.approx(sum(results["wall_seconds"].values()) / 2, abs=0.1)
    assert "alignment error, 95% (ms)" in first.stdout and "MISSED" in first.stdout
    second = run_stage(project, run)
    assert "up to date" in second.stderr and second.stdout == first.stdout


def test_stage_names_the_stage_that_is_missing(project: Path, run: tuple[Path, Path, Path]) -> None:
    (run[2] / "st" / ".done").unlink()
    result = run_stage(project, run)
    assert result.returncode == 1 and "stage 10 makes it" in result.stderr and "Traceback" not in result.stderr
