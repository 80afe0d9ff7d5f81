"""local/inspect_cuts.py: the numbers it prints, the picture it draws, its error messages."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import lhotse
import numpy as np
import pytest
import soundfile
from lhotse.supervision import AlignmentItem
from matplotlib import image

from lhotse_prep.workflow.errors import Ml2021Error
from ml2021.report.cut_plot import draw_cut
from ml2021.report.cut_summary import summarise


def make_cut(folder: Path, cut_id: str, text: str, start: float, scores: list[float]) -> lhotse.MonoCut:
    """A cut of two seconds of a recording, with a word every quarter of a second from `start` on."""
    path = folder / "lecture.wav"
    if not path.exists():
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16_000 * 10), 16_000)
    s = lhotse.SupervisionSegment(cut_id, "lecture", 0.0, 2.0, text=text)
    words = text.split()[: len(scores)]
    s.alignment = {"word": [AlignmentItem(w, start + 0.25 * i, 0.25, x) for i, (w, x) in enumerate(zip(words, scores))]}
    cut = lhotse.MonoCut(cut_id, start, 2.0, 0, supervisions=[s])
    cut.recording = lhotse.Recording.from_file(path, recording_id="lecture")
    return cut


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    cuts = [
        make_cut(tmp_path, "a", "我 用 net $x$", 1.0, [0.9, 0.2, 0.8, 0.7]),
        make_cut(tmp_path, "b", "好 的", 4.0, [0.9]),
        make_cut(tmp_path, "c", "", 6.0, []),
    ]
    path = tmp_path / "cuts.jsonl.gz"
    lhotse.CutSet.from_cuts(cuts).to_file(path)
    return path


@pytest.fixture(scope="module")
def program(project: Path) -> ModuleType:
    """local/inspect_cuts.py, imported."""
    spec = importlib.util.spec_from_file_location("inspect_cuts", project / "local" / "inspect_cuts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_match_the_cuts(manifest: Path) -> None:
    summary = summarise(lhotse.load_manifest(manifest))
    assert summary.rates == [2.0, 1.0, 0.0] and sum(summary.durations) == 6.0
    assert summary.languages == {"zh": 1, "en": 0, "mixed": 1, "no text": 1}
    assert (summary.num_zh, summary.num_en, summary.num_switches) == (4, 2, 1)
    assert (summary.num_timed, summary.num_words) == (5, 6) and min(summary.confidences) == 0.2


def test_prints_a_summary_of_each_manifest_and_of_a_cut(
    program: ModuleType, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.main([str(manifest), str(manifest)])
    both = capsys.readouterr().out
    assert both.count("1 zh, 1 mixed, 1 no text") == 2
    assert "66.7% Chinese characters, 33.3% English words" in both and "20.0% below 0.5" in both
    program.main([str(manifest), "--cut", "b"])
    one = capsys.readouterr().out
    assert "好 的" in one and "net" not in one and "1 of 2 (50.0%)" in one


def test_error_is_one_line(project: Path) -> None:
    command = [sys.executable, "local/inspect_cuts.py", "nowhere.jsonl.gz"]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 1 and "error: no file nowhere.jsonl.gz" in result.stderr
    assert "Traceback" not in result.stderr


def test_picture_has_the_sound_and_the_words(tmp_path: Path) -> None:
    with_words = make_cut(tmp_path, "a", "我 用 net $x$", 1.0, [0.9, 0.2, 0.8, 0.7])
    without = make_cut(tmp_path, "a", "", 1.0, [])
    draw_cut(with_words, tmp_path / "with.png")
    draw_cut(without, tmp_path / "without.png")
    pictures = [image.imread(tmp_path / name) for name in ("with.png", "without.png")]
    height, width, _ = pictures[0].shape
    assert width > height > 300
    differ = [float(np.abs(a - b).mean()) for a, b in zip(*(np.array_split(p, 3) for p in pictures))]
    assert differ[2] > 0.001 > differ[0]  # only the bottom third, with the words, differs; the waveform does not


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{cuts}", "--cut", "z"], "has no cut 'z'; the first cuts are a, b, c"),
        (["{recordings}"], "line 1: it is a recording, not a cut"),
        (["{damaged}"], "is damaged or not JSON lines"),
        (["{cuts}", "--png", "x.png"], "name it with --cut"),
        (["{cuts}", "{cuts}", "--cut", "a"], "got 2"),
        (["{silent}", "--cut", "a", "--png", "{folder}/x.png"], "of cut a cannot be read"),
    ],
)
def test_errors_say_what_is_wrong(program: ModuleType, manifest: Path, arguments: list[str], message: str) -> None:
    folder = manifest.parent
    names = {name: folder / f"{name}.jsonl" for name in ("recordings", "damaged", "silent")}
    cut = lhotse.load_manifest(manifest)["a"]
    lhotse.RecordingSet.from_recordings([cut.recording]).to_file(names["recordings"])
    names["damaged"].write_text("{not json\n")
    cut.recording.sources[0].source = str(folder / "gone.wav")
    lhotse.CutSet.from_cuts([cut]).to_file(names["silent"])
    with pytest.raises(Ml2021Error, match=re.escape(message)):
        program.main([a.format(cuts=manifest, folder=folder, **names) for a in arguments])
    assert not (folder / "x.png").exists()
