"""Nothing in a manifest of cuts is executed, fetched or unpickled."""

from __future__ import annotations

import gzip
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

from lhotse_prep.manifests.files import load_safely, open_cuts
from lhotse_prep.manifests.safety import check_cut, plain_audio
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
        (RecordingSet, {"sources": ["x.wav"]}, r'"sources\[0\]" must be an object, and is "x.wav"'),
        (RecordingSet, {"sources": [{"type": "file", "source": "x.wav"}]}, 'no "channels"'),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_line(
    tmp_path: Path, cls: type, change: dict[str, Any], message: str
) -> None:
    good = RECORDING if cls is RecordingSet else SUPERVISION
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(good | change)}\n")
    with pytest.raises(DataError, match=rf"x\.jsonl, line 2.*{message}"):
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


KINDS: dict[type, dict[str, Any]] = {RecordingSet: RECORDING, SupervisionSet: SUPERVISION, CutSet: cut().to_dict()}
ODD = ("\ud83d", "pipe:touch ran", "http://127.0.0.1:9/x", None, [], {}, "", -1, 10**400, float("inf"), True, [[[]]])


@pytest.mark.parametrize("cls", KINDS)
def test_no_manifest_is_a_traceback(tmp_path: Path, cls: type) -> None:
    """One value anywhere in a row is replaced: it is read, or refused in one line that names the file."""
    good = KINDS[cls] | {"custom": {"a": {"storage_type": "numpy_files", "storage_path": "x"}, "b": {"sources": [1]}}}
    path = tmp_path / "x.jsonl"
    places = [[k] for k in good] + [["custom", k] for k in good["custom"]]
    places += [["sources", 0, k] for k in good.get("sources", [{}])[0]]
    places += [["recording", k] for k in good.get("recording", {})]
    for place in places:
        for value in ODD:
            row = json.loads(json.dumps(good))
            owner = row
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = value
            path.write_text(json.dumps(row) + "\n")
            try:
                load_safely(path, cls)
            except DataError as e:
                assert "x.jsonl, line 1" in str(e) and "\n" not in str(e)
    assert not (tmp_path / "ran").exists()


def test_deep_rows_and_long_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for depth, message in ((100, "nested more than 60 deep"), (100_000, "is damaged or not JSON lines")):
        custom = '{"a":' * depth + "1" + "}" * depth
        path.write_text(json.dumps(SUPERVISION)[:-1] + f', "custom": {custom}}}\n')
        with pytest.raises(DataError, match=message):
            load_safely(path, SupervisionSet)
    path.write_text(json.dumps(SUPERVISION).replace('"start": 0.0', f'"start": {"1" * 5000}') + "\n")
    with pytest.raises(DataError, match="is damaged or not JSON lines|must be at most"):
        load_safely(path, SupervisionSet)
    (tmp_path / "x.yaml").write_text("- &a [1]\n- [*a, *a]\n")
    with pytest.raises(DataError, match="it has aliases"):
        load_safely(tmp_path / "x.yaml", SupervisionSet)


@pytest.mark.parametrize("suffix", [".json", ".yaml.gz", ".jsonl"])
def test_half_a_character_is_refused_in_every_form(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    row = json.dumps(SUPERVISION | {"text": "\ud83d"})
    content = row if suffix == ".jsonl" else f"[{row}]"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith(".gz") else content.encode())
    with pytest.raises(DataError, match=rf"x{suffix}.*(half of a character|not YAML)"):
        load_safely(path, SupervisionSet)


def test_cuts_are_read_lazily_and_checked_when_they_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    bad = cut().to_dict()
    bad["recording"]["sources"][0]["type"] = "command"
    with gzip.open(path, "wt") as f:
        f.write(json.dumps(cut().to_dict()) + "\n" + json.dumps(bad) + "\n")
    cuts = open_cuts(path)
    assert cuts.is_lazy and next(iter(cuts)).id == "c"
    with pytest.raises(DataError, match="line 2, recording r: its audio source is of type 'command'"):
        list(cuts)


def test_names_that_lhotse_does_not_open_as_files_are_refused() -> None:
    for source in ("http://x/y.wav", "s3://x/y.wav", "-", "pipe:touch ran"):
        with pytest.raises(DataError, match="only files are read here"):
            check_cut(cut("file", source))
    with pytest.raises(DataError, match="storage type 'numpy_files'"):
        check_cut(cut(features=features("numpy_files", "https://x/y")))
    speaker = {"source": "librivox", "type": "read", "sources": ["a"]}  # a user's own fields are no audio
    assert check_cut(cut(custom={"speaker": speaker})).id == "c"


def test_only_audio_of_one_plain_file_is_taken_as_a_file() -> None:
    plain = Recording("r", [AudioSource("file", [0], "x.wav")], 16000, 16000, 1.0)
    assert plain_audio(plain) == Path("x.wav")
    two = Recording("r", [AudioSource("file", [0, 1], "x.wav")], 16000, 16000, 1.0)
    for other in (plain.perturb_speed(0.9), two):
        with pytest.raises(DataError, match=r"recording r.* has (transforms|2 channels in 1 files)"):
            plain_audio(other)
