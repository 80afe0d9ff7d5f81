"""Manifests of a source folder, and what validation refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from lhotse.qa import validate_recordings_and_supervisions as lhotse_validate

from lhotse_prep.cli import main
from lhotse_prep.corpora.source.splits import write_splits
from lhotse_prep.manifests.make import prepare_ml2021
from lhotse_prep.manifests.validate import validate_recordings_and_supervisions
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000


def make_source(folder: Path, **samples: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in samples.items():
        sf.write(folder / f"{name}.wav", values, RATE, subtype="FLOAT")
        (folder / f"{name}.txt").write_text("我們 講 BERT。")
        (folder / f"{name}.en.txt").write_text("We talk  about BERT.")
    (folder / "t.txt").write_text("文字")
    (folder / "t.en.txt").write_text("Text.")
    write_splits(folder, {"train": list(samples), "text": ["t"]})
    return folder


def noise(num_samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 0.1, num_samples).astype(np.float32)


def test_a_lecture_becomes_a_recording_and_a_supervision(tmp_path: Path) -> None:
    manifests = prepare_ml2021(make_source(tmp_path / "in", a=noise()), tmp_path / "out")
    recordings = load_manifest(tmp_path / "out" / "ml2021_recordings_train.jsonl.gz")
    supervisions = load_manifest(tmp_path / "out" / "ml2021_supervisions_train.jsonl.gz")
    lhotse_validate(recordings, supervisions)
    assert recordings["a"].num_samples == RATE and np.allclose(recordings["a"].load_audio(), noise(), atol=1e-4)
    assert supervisions["a"].text == "我 們 講 bert"
    assert supervisions["a"].custom["translated_text"]["eng"] == "We talk about BERT."
    assert list(manifests) == ["train", "dev", "test"] and len(manifests["dev"]["recordings"]) == 0
    assert read_jsonl(tmp_path / "out" / "texts.jsonl") == [{"id": "t", "text": "文 字", "translation": "Text."}]
    main(["validate", str(tmp_path / "out")])


def test_damaged_audio_is_refused_with_the_lectures_id(tmp_path: Path) -> None:
    with_nan = noise()
    with_nan[8000] = np.nan
    with pytest.raises(DataError, match="recording b.*not numbers, first at 0.50 s"):
        prepare_ml2021(make_source(tmp_path / "1", a=noise(), b=with_nan), tmp_path / "out")
    with pytest.raises(DataError, match="recording c.*silent"):
        prepare_ml2021(make_source(tmp_path / "2", c=np.zeros(100, np.float32)), tmp_path / "out")
    source = make_source(tmp_path / "3", d=noise())
    prepare_ml2021(source, tmp_path / "out")
    (source / "d.wav").write_bytes((source / "d.wav").read_bytes()[:20_000])
    with pytest.raises(DataError, match="recording d.*(cut short|damaged)"):
        main(["validate", str(tmp_path / "out")])


def test_a_transcript_of_punctuation_alone_is_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "in", a=noise())
    (source / "a.txt").write_text("。，！")
    with pytest.raises(DataError, match="supervision a: its text is empty, or punctuation alone"):
        prepare_ml2021(source, tmp_path / "out")


def manifests_of(path: Path) -> tuple[list[Recording], list[SupervisionSegment]]:
    sf.write(path, noise(), RATE)
    recording = Recording("r", [AudioSource("file", [0], str(path))], RATE, RATE, 1.0)
    return [recording], [SupervisionSegment("s", "r", 0.0, 1.0, text="我")]


def test_faults_that_lhotse_accepts_are_refused(tmp_path: Path) -> None:
    recordings, supervisions = manifests_of(tmp_path / "a.wav")

    def check(r: list[Recording], s: list[SupervisionSegment]) -> None:
        validate_recordings_and_supervisions(RecordingSet(r), SupervisionSet(s))

    check(recordings, supervisions)
    marker = tmp_path / "ran"
    command = Recording("c", [AudioSource("command", [0], f"touch {marker}; cat {tmp_path}/a.wav")], RATE, RATE, 1.0)
    with pytest.raises(DataError, match="recording c.*command"):
        check([command], [])
    assert not marker.exists()
    with pytest.raises(DataError, match="recording r: its id occurs more than once in train"):
        check(recordings * 2, supervisions)
    with pytest.raises(DataError, match="supervision s: its id occurs more than once in train"):
        check(recordings, supervisions * 2)
    with pytest.raises(DataError, match="supervision e: its text is empty"):
        check(recordings, [SupervisionSegment("e", "r", 0.0, 1.0, text=" ")])
    with pytest.raises(DataError, match="supervision l: spans 0.500-1.500 s, recording r has 1.000 s"):
        check(recordings, [SupervisionSegment("l", "r", 0.5, 1.0, text="我")])
    with pytest.raises(DataError, match="no recording x"):
        check(recordings, [SupervisionSegment("s", "x", 0.0, 1.0, text="我")])
