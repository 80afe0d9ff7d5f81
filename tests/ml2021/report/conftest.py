"""A run with invented results, whose texts contain HTML to inject."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lhotse
import numpy as np
import pytest
import soundfile
from lhotse.supervision import AlignmentItem
from torch.utils.tensorboard import SummaryWriter

from lhotse_prep.workflow.files import write_jsonl
from ml2021.report.config import PageConfig
from ml2021.report.page import write_page
from ml2021.report.results import collect_results
from ml2021.scoring.icefall_files import write_icefall_files

NASTY = "</script><img/src=x/onerror=boom()>"  # a token of the transcript
WINDOW, NUM_WINDOWS = 4.0, 12  # seconds per window, windows per lecture
TOKENS = ["我", "們", "用", NASTY, "來", "做"]


@dataclass(frozen=True)
class Run:
    """The folders of a run."""

    conf: Path
    data: Path
    exp: Path

    def page(self, has_bars: bool = True, audio_megabytes: float = 1.0, lecture_hours: float = 30.0) -> str:
        """Write the page and return its text."""
        results = collect_results(self.data, self.exp)
        path = self.exp / "index.html"
        write_page(path, self.data, self.exp, self.conf, results, has_bars, PageConfig(audio_megabytes, lecture_hours))
        return path.read_text(encoding="utf-8")


def finish(folder: Path, scores: dict[str, Any] | None = None) -> None:
    """Make the folder of a finished stage."""
    folder.mkdir(parents=True, exist_ok=True)
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores))
    outputs = {p.name: "digest" for p in folder.iterdir() if p.is_file() and p.name != ".done"}
    (folder / ".done").write_text(json.dumps({"stage": "x", "key": "k", "seconds": 12.0, "outputs": outputs}))


def write_curves(folder: Path, names: list[str]) -> None:
    writer = SummaryWriter(str(folder))
    for epoch in range(1, 9):
        for i, name in enumerate(names):
            writer.add_scalar(f"train/epoch_{name}", (i + 1) * 3 / epoch, 100 * epoch)
            writer.add_scalar(f"valid/{name}", (i + 1) * 3.5 / epoch, 100 * epoch)
        writer.add_scalar("train/learning_rate", 0.001, 100 * epoch)
    writer.close()


def write_audio(path: Path) -> lhotse.Recording:
    """A tone that gets louder from window to window."""
    t = np.arange(int(WINDOW * NUM_WINDOWS * 16_000)) / 16_000
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * (t / t[-1]) * np.sin(2 * np.pi * 220 * t), 16_000)
    return lhotse.Recording.from_file(path, recording_id=path.stem)


def write_lecture(data: Path, lecture: str, part: str) -> None:
    """Write cuts and supervisions of one lecture: each window is one supervision of six words."""
    recording = write_audio(data / "source" / f"{lecture}.wav")
    supervisions, cuts = [], []
    for i in range(NUM_WINDOWS):
        start = WINDOW * i
        words = [AlignmentItem(t, start + 0.5 * k + 0.25, 0.5, 0.5 + 0.09 * k) for k, t in enumerate(TOKENS)]
        s = lhotse.SupervisionSegment(f"{lecture}-{i:05d}", lecture, start + 0.25, 3.0, text=" ".join(TOKENS))
        s.custom = {"first_token": 6 * i, "confidence": 0.9 + 0.005 * i}
        s.alignment = {"word": words}
        supervisions.append(s)
        cut = lhotse.MonoCut(f"{lecture}-{i:04d}", start, WINDOW, 0, supervisions=[s.with_offset(-start)])
        cut.recording = recording
        cuts.append(cut)
    (data / "aligned").mkdir(exist_ok=True)
    (data / "cuts").mkdir(exist_ok=True)
    supervision_set = lhotse.SupervisionSet.from_segments(supervisions)
    supervision_set.to_file(data / "aligned" / f"ml2021_supervisions_{part}.jsonl.gz")
    lhotse.CutSet.from_cuts(cuts).to_file(data / "cuts" / f"ml2021_cuts_{part}.jsonl.gz")


def write_translations(data: Path, exp: Path) -> None:
    """Write a bitext, the translator's output, and the cascade's output for a lecture."""
    pairs = [
        {
            "id": f"lecture08-{i:04d}",
            "lecture": "lecture08",
            "source": " ".join(TOKENS),
            "target": f"We use <nets> & {i}.",
            "score": 1.0,
            "first_token": 6 * i,
            "num_tokens": 6,
        }
        for i in range(NUM_WINDOWS)
    ]
    write_jsonl(data / "bitext" / "test.jsonl", pairs)
    rejected = pairs[0] | {"id": "lecture01-0000", "lecture": "lecture01", "reason": "score below 0"}
    write_jsonl(data / "bitext" / "rejected.jsonl", [rejected])
    write_jsonl(
        exp / "mt" / "decode" / "hyps.jsonl", [p | {"hypothesis": f"We took <nets> & {p['id']}."} for p in pairs]
    )
    rows = [
        {
            "start": WINDOW * i + 0.3,
            "end": WINDOW * i + 3,
            "source": f"我們用 net <script>{i}",
            "target": f"Nets <b>{i}.",
        }
        for i in range(NUM_WINDOWS)
    ]
    write_jsonl(exp / "st" / "lecture08.jsonl", rows)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that tests must not change."""
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that a test may change."""
    return make_run(tmp_path)


def make_run(root: Path) -> Run:
    conf, data, exp = root / "conf" / "mini", root / "data", root / "exp"
    conf.mkdir(parents=True)
    (conf / "asr.yaml").write_text("asr: {train: {num_epochs: 3}}  # <b>")
    for name in ("source", "manifests", "lang"):
        finish(data / name)
    write_lecture(data, "lecture08", "test")
    write_lecture(data, "lecture01", "train")
    finish(data / "aligned", {"alignment_median_ms": 38.0, "alignment_p95_ms": 300.0})
    finish(data / "cuts")
    write_curves(exp / "asr" / "tensorboard", ["pruned_loss", "left_out"])
    write_curves(exp / "mt" / "tensorboard", ["nll"])
    finish(exp / "asr")
    ref = " ".join(TOKENS)
    hyps = [ref.replace("用", "有") if i == 3 else f"{ref} net" if i == 5 else ref for i in range(NUM_WINDOWS)]
    pairs = [(f"lecture08-{i:04d}", ref, hyp) for i, hyp in enumerate(hyps)]
    write_icefall_files(exp / "asr" / "greedy_search", "test", "greedy_search", "greedy_search", pairs)
    finish(exp / "asr" / "greedy_search", {"mer_windows": {"mer": 3.2, "zh": 3.0, "en": 4.0}})
    write_translations(data, exp)
    finish(data / "bitext")
    finish(exp / "mt")
    finish(exp / "mt" / "decode", {"bleu_mt": 71.2, "bleu_signature": "nrefs:1|case:mixed"})
    finish(exp / "st")
    finish(exp / "export")
    return Run(conf, data, exp)
