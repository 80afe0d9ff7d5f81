"""Relative paths in manifests are found where the manifests were made, from wherever they are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import CutSet, LilcomChunkyWriter, MonoCut, Recording, RecordingSet

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.manifests import paths
from lhotse_prep.manifests.files import AUDIO, FEATS, load_safely, open_cuts, write_manifest
from lhotse_prep.manifests.paths import PathFinder, lasting_path
from lhotse_prep.workflow.errors import DataError

RATE = 16_000


def make_project(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> Path:
    """A project with a recording and a cut, named relative to the project; returns the folder of the manifests."""
    manifests = folder / "data" / "mini" / "manifests"
    manifests.mkdir(parents=True)
    monkeypatch.chdir(folder)
    audio = Path("data/mini/source/l.wav")
    audio.parent.mkdir()
    sf.write(audio, np.random.default_rng(seed).uniform(-0.2, 0.2, RATE), RATE)
    recording = Recording.from_file(audio)
    with LilcomChunkyWriter("data/mini/feats.lca") as storage:
        cut = MonoCut("c", 0.0, 1.0, 0, recording=recording).compute_and_store_features(fbank_extractor(), storage)
    write_manifest(manifests / "recordings.jsonl.gz", [recording])
    write_manifest(manifests / "cuts.jsonl.gz", [cut])
    return manifests


def audio_of(path: Path) -> np.ndarray:
    (recording,) = load_safely(path / "recordings.jsonl.gz", RecordingSet, AUDIO)
    (cut,) = open_cuts(path / "cuts.jsonl.gz", FEATS)
    assert cut.load_features().shape == (100, 80) and np.array_equal(cut.load_audio(), recording.load_audio())
    return recording.load_audio()


def test_manifests_are_read_from_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = make_project(tmp_path / "a", monkeypatch, 0)
    there = audio_of(manifests)
    (recording,) = load_safely(manifests / "recordings.jsonl.gz", RecordingSet)
    assert recording.sources[0].source == "data/mini/source/l.wav"  # the paths of Lhotse's own commands stay
    for folder in (tmp_path, tmp_path / "a/data", tmp_path / "a/data/mini/manifests", Path("/")):
        monkeypatch.chdir(folder)
        assert np.array_equal(audio_of(manifests), there)
        assert np.array_equal(audio_of(Path(os.path.relpath(manifests))), there)


def test_files_of_another_project_with_the_same_names_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make_project(tmp_path / name, monkeypatch, i) for i, name in enumerate("ab"))
    audio = {}
    for folder in "ab":
        monkeypatch.chdir(tmp_path / folder)
        audio[folder] = [audio_of(first), audio_of(second)]
    assert np.array_equal(audio["a"][0], audio["b"][0]) and np.array_equal(audio["a"][1], audio["b"][1])
    assert not np.array_equal(audio["a"][0], audio["a"][1])


def test_a_file_that_is_nowhere_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = make_project(tmp_path / "a", monkeypatch, 0)
    (tmp_path / "a/data/mini/source/l.wav").unlink()
    (tmp_path / "a/data/mini/feats.lca").unlink()
    assert [c.id for c in open_cuts(manifests / "cuts.jsonl.gz")] == ["c"]  # texts are read without the data
    places = "in .* or a folder above .*; run it in the folder where the manifest was made"
    with pytest.raises(DataError, match=f"recording l: no file data/mini/source/l.wav {places}"):
        load_safely(manifests / "recordings.jsonl.gz", RecordingSet, AUDIO)
    with pytest.raises(DataError, match=f"cut c: no file data/mini/source/l.wav {places}"):
        list(open_cuts(manifests / "cuts.jsonl.gz", AUDIO))
    with pytest.raises(DataError, match=f"cut c: no file data/mini/feats.lca {places}"):
        load_safely(manifests / "cuts.jsonl.gz", CutSet, FEATS)


def test_manifests_outside_the_current_folder_get_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert lasting_path(Path("x.wav"), Path("data/manifests")) == "x.wav"
    assert lasting_path(Path("x.wav"), tmp_path / "elsewhere") == str(tmp_path / "a/x.wav")
    assert lasting_path(Path("/x.wav"), Path("data/manifests")) == "/x.wav"


def test_few_paths_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "_MAX_PATHS", 10)
    (tmp_path / "0.wav").touch()
    finder = PathFinder(tmp_path / "m" / "x.jsonl")
    for i in range(100):
        assert finder.find(f"{i}.wav") == f"{i}.wav" and finder.find(str(tmp_path / f"{i}.wav")).startswith("/")
        finder.require("0.wav", "x")
        (tmp_path / f"{i + 1}.wav").touch()
        finder.require(f"{i + 1}.wav", "x")
    assert len(finder._places) <= 10 and len(finder._present) <= 10
