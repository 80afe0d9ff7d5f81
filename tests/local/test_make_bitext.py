"""Stage 7 makes two results: sentence pairs, which do not depend on the windows, and windows with translations."""

from __future__ import annotations

import json
import logging
import runpy
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.workflow.files import read_jsonl

PARTS = ("train", "dev", "test")
WAITING = "translated cuts wait for stage 4"
SOURCE = "我 們 看 資 料 所 以 你 訓 練 模 型"
TARGET = "We look at the data. So you train a model."


def lecture(part: str) -> SupervisionSegment:
    """The supervision of a part's only lecture."""
    return SupervisionSegment(
        part, part, 0.0, 10.0, text=SOURCE, custom={"translated_text": {"eng": TARGET}, "first_token": 0}
    )


def finish(folder: Path, key: str = "") -> None:
    """Mark a folder as the finished output of an earlier stage; another key makes later stages run again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".done").write_text(json.dumps({"key": key, "seconds": 0, "outputs": {"content": key}}))


def make_cuts(data: Path, key: str = "") -> None:
    """Stage 4's output: one window per lecture."""
    for part in PARTS:
        recording = Recording(part, [], 16_000, 160_000, 10.0)
        cut = MonoCut(f"{part}-0000", 0.0, 10.0, 0, recording=recording, supervisions=[lecture(part)])
        write_manifest(data / "cuts" / f"ml2021_cuts_{part}.jsonl.gz", [cut])
    finish(data / "cuts", key)


def run_stage_7(project: Path, data: Path) -> None:
    runpy.run_path(str(project / "local" / "make_bitext.py"))["main"](
        ["--conf", "conf/smoke", "--data", str(data), "--exp", str(data)]
    )


def key_of(folder: Path) -> str:
    return str(json.loads((folder / ".done").read_text())["key"])


@pytest.fixture
def data(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A data folder with finished stages 1 and 3, but not 4."""
    monkeypatch.chdir(project)
    caplog.set_level(logging.INFO)
    for part in PARTS:
        write_manifest(tmp_path / "manifests" / f"ml2021_supervisions_{part}.jsonl.gz", [lecture(part)])
    finish(tmp_path / "manifests")
    finish(tmp_path / "aligned")
    return tmp_path


def test_sentence_pairs_need_no_windows_and_translated_cuts_wait_for_them(
    project: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_stage_7(project, data)
    assert all((data / "bitext" / f"{part}.jsonl").is_file() for part in PARTS)
    assert not (data / "translated_cuts").exists()
    assert caplog.text.count(WAITING) == 1
    key, written = key_of(data / "bitext"), (data / "bitext" / ".done").stat().st_mtime_ns
    caplog.clear()

    make_cuts(data)
    run_stage_7(project, data)
    assert (key_of(data / "bitext"), (data / "bitext" / ".done").stat().st_mtime_ns) == (key, written)
    assert WAITING not in caplog.text


def test_translated_cuts_have_a_folder_of_their_own(project: Path, data: Path) -> None:
    make_cuts(data)
    run_stage_7(project, data)
    assert not list((data / "bitext").glob("*cuts*"))
    for part in PARTS:
        (cut,) = CutSet.from_file(data / "translated_cuts" / f"ml2021_cuts_{part}.jsonl.gz")
        targets = [row["target"] for row in read_jsonl(data / "bitext" / f"{part}.jsonl")]
        assert targets and cut.supervisions[0].custom["translated_text"]["eng"] == " ".join(targets)


def test_other_windows_redo_the_translated_cuts_alone(
    project: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_cuts(data)
    run_stage_7(project, data)
    keys = [key_of(data / name) for name in ("bitext", "translated_cuts")]
    caplog.clear()
    run_stage_7(project, data)
    assert caplog.text.count("up to date") == 2

    make_cuts(data, key="other windows")
    run_stage_7(project, data)
    assert key_of(data / "bitext") == keys[0] and key_of(data / "translated_cuts") != keys[1]


def test_unfinished_windows_count_as_missing(project: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_cuts(data)
    (data / "cuts" / ".done").unlink()
    run_stage_7(project, data)
    assert WAITING in caplog.text and not (data / "translated_cuts").exists()
