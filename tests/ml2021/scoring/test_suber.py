"""SubER is run as a command; what is wrong is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.scoring.suber import suber_score
from ml2021.st.cues.cue import Cue
from ml2021.st.cues.write import write_srt


@pytest.fixture
def subtitles(tmp_path: Path) -> tuple[Path, Path]:
    """The same words; the second file has one in another cue."""
    reference = [
        Cue(0, 2000, (), ("We train the network", "every day.")),
        Cue(2080, 4000, (), ("Then the loss falls.",)),
    ]
    hypothesis = [
        Cue(0, 1500, (), ("We train the network",)),
        Cue(1580, 4000, (), ("every day. Then", "the loss falls.")),
    ]
    write_srt(reference, tmp_path / "ref.srt")
    write_srt(hypothesis, tmp_path / "hyp.srt")
    return tmp_path / "ref.srt", tmp_path / "hyp.srt"


def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    path = tmp_path / "suber"
    path.write_text(f"#!/bin/sh\n{output}\n")
    path.chmod(0o755)
    monkeypatch.setenv("SUBER", str(path))


def test_its_number_is_read(tmp_path: Path, subtitles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, monkeypatch, """[ "$5 $6 $7 $8" = "-m SubER -l zh" ] && echo '{"SubER": 12.5}'""")
    assert suber_score(subtitles[1], subtitles[0], "zh") == 12.5


def test_its_failure_is_one_line(tmp_path: Path, subtitles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, monkeypatch, "echo Traceback >&2; echo 'ValueError: bad cue' >&2; exit 1")
    with pytest.raises(DataError, match=r"hyp\.srt and .*ref\.srt \(exit code 1\): ValueError: bad cue$"):
        suber_score(subtitles[1], subtitles[0])


def test_what_is_missing_is_named(
    tmp_path: Path, subtitles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBER", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="pip install subtitle-edit-rate"):
        suber_score(*subtitles)
    with pytest.raises(DataError, match="no such file"):
        suber_score(tmp_path / "other.srt", subtitles[0])
    (tmp_path / "a.vtt").write_text("WEBVTT\n")
    with pytest.raises(DataError, match=r"a\.vtt: SubER reads \.srt files only"):
        suber_score(tmp_path / "a.vtt", subtitles[0])


@pytest.mark.slow
def test_the_real_one(tmp_path: Path, subtitles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its dependencies, whose versions it pins, beside those of this project; and jiwer."""
    folder = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    result = subprocess.run([*install, "subtitle-edit-rate==0.4.0", "jiwer==4.0.0"], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"no network: {result.stderr.strip().splitlines()[-1]}")
    monkeypatch.setenv("SUBER", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    reference, hypothesis = subtitles
    assert suber_score(reference, reference) == 0.0
    assert 0 < suber_score(hypothesis, reference) < 60
