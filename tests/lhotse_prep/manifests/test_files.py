"""Nothing in a manifest of cuts is executed, fetched or unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import (
    AudioSource,
    CutSet,
    Features,
    MonoCut,
    NumpyFilesWriter,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
)
from lhotse.array import Array, TemporalArray
from lhotse.cut import Cut

from lhotse_prep.manifests.files import check_cut, load_safely
from lhotse_prep.workflow.errors import DataError


def cut(kind: str = "file", source: str = "x.wav", **more: Any) -> MonoCut:
    recording = Recording("r", [AudioSource(kind, [0], source)], 16000, 16000, 1.0)
    return MonoCut("c", 0.0, 1.0, 0, recording=recording, **more)


def features(storage: str, path: str = "f") -> Features:
    return Features("fbank", 100, 80, 0.01, 16000, 0.0, 1.0, storage, path, "k", recording_id="r", channels=0)


def array(storage: str) -> TemporalArray:
    return TemporalArray(Array(storage, "f", "k", [100]), 0, 0.01, 0.0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (cut("command", "touch ran"), "cut c: its audio source is of type 'command'"),
        (cut("url", "http://x/y.wav"), "type 'url'"),
        (cut("file", "pipe:touch ran |"), "type 'pipe'"),
        (cut(features=features("memory_raw")), "cut c: features of storage type 'memory_raw'"),
        (cut(features=features("lilcom_chunky", "pipe:touch ran |")), "or be a command"),
        (cut(custom={"extra": array("memory_raw")}), "storage type 'memory_raw'"),
        (cut(custom={"other": cut("command", "touch ran").recording}), "type 'command'"),
        (cut().pad(2.0).mix(cut("command", "touch ran")), "type 'command'"),
    ],
)
def test_a_cut_that_could_run_something_is_refused(bad: Cut, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_cut(bad)


def test_a_cut_of_plain_files_is_returned_unchanged(tmp_path: Path) -> None:
    with NumpyFilesWriter(tmp_path) as storage:
        stored = storage.store_array("a", np.zeros(3))
    good = cut(features=features("lilcom_chunky"), custom={"vector": stored, "score": 0.5})
    assert check_cut(good) is good and check_cut(good.pad(2.0)).duration == 2.0
    assert list(CutSet.from_cuts([good]).map(check_cut).ids) == ["c"]


RECORDING = Recording("r", [AudioSource("file", [0], "x.wav")], 16000, 16000, 1.0).to_dict()
SUPERVISION = SupervisionSegment("s", "r", 0.0, 1.0, text="我").to_dict()


@pytest.mark.parametrize(
    ("cls", "change", "message"),
    [
        (SupervisionSet, {"start": "0"}, '"start" must be a number, and is "0"'),
        (SupervisionSet, {"duration": None}, '"duration" must be a number, and is null'),
        (SupervisionSet, {"start": float("nan")}, '"start" must be finite'),
        (SupervisionSet, {"start": True}, '"start" must be a number, and is true'),
        (SupervisionSet, {"id": 7}, '"id" must be a text, and is 7'),
        (SupervisionSet, {"text": ["我"]}, '"text" must be a text'),
        (SupervisionSet, {"custom": "x"}, '"custom" must be an object, and is "x"'),
        (SupervisionSet, {"text": "\ud83d"}, r"\\ud83d is half of a character"),
        (RecordingSet, {"sampling_rate": "16000"}, '"sampling_rate" must be a whole number'),
        (RecordingSet, {"sources": "x.wav"}, '"sources" must be a list'),
        (RecordingSet, {"sources": ["x.wav"]}, 'each of "sources" must be an object'),
        (RecordingSet, {"sources": [{"type": "file", "source": "x.wav"}]}, 'no "channels"'),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_line(
    tmp_path: Path, cls: type, change: dict[str, Any], message: str
) -> None:
    good = RECORDING if cls is RecordingSet else SUPERVISION
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n")
    with pytest.raises(DataError, match=rf"x\.jsonl, line 2: .*{message}"):
        load_safely(path, cls)


@pytest.mark.parametrize("cls", [RecordingSet, SupervisionSet])
def test_a_missing_or_unknown_field_and_a_line_that_is_no_object(tmp_path: Path, cls: type) -> None:
    good = RECORDING if cls is RecordingSet else SUPERVISION
    path = tmp_path / "x.jsonl"
    for line, message in (
        (json.dumps({k: v for k, v in good.items() if k != "duration"}), 'line 1: no "duration"'),
        ("[1]", "line 1: expected a JSON object"),
        (json.dumps(good | {"unknown": 1}), "Lhotse cannot read it"),
    ):
        path.write_text(line + "\n")
        with pytest.raises(DataError, match=message):
            load_safely(path, cls)
    path.write_text(json.dumps(good) + "\n")
    assert len(load_safely(path, cls)) == 1
