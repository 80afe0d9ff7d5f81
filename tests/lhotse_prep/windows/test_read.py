"""Windows are read for training and decoding: a part without windows is empty, and nothing unsafe is passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

from lhotse_prep.manifests.files import AUDIO, write_manifest
from lhotse_prep.windows.read import read_windows
from lhotse_prep.workflow.errors import DataError


def window(name: str, texts: list[str | None], source: str = "x.wav") -> MonoCut:
    recording = Recording("r", [AudioSource("file", [0], source)], 16_000, 160_000, 10.0)
    supervisions = [SupervisionSegment(f"{name}-{i}", "r", i, 1.0, text=text) for i, text in enumerate(texts)]
    return MonoCut(name, 0.0, 10.0, 0, recording=recording, supervisions=supervisions)


def test_a_part_without_a_file_is_empty_if_another_part_has_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no cuts .*ml2021_cuts_dev.jsonl.gz; run stage 4"):
        read_windows(tmp_path, "dev")
    write_manifest(tmp_path / "ml2021_cuts_train.jsonl.gz", [window("a", ["我 們", None, "bert"]), window("b", [])])
    assert list(read_windows(tmp_path, "dev")) == []
    (cut,) = read_windows(tmp_path, "train")
    assert [(s.text, s.start, s.duration) for s in cut.supervisions] == [("我 們  bert", 0.0, 10.0)]
    write_manifest(tmp_path / "ml2021_cuts_train.jsonl.gz", [])
    assert not (tmp_path / "ml2021_cuts_train.jsonl.gz").exists()


def test_files_that_are_needed_must_be_there(tmp_path: Path) -> None:
    write_manifest(tmp_path / "ml2021_cuts_test.jsonl.gz", [window("a", ["我"], "gone/x.wav")])
    assert [c.id for c in read_windows(tmp_path, "test")] == ["a"]
    with pytest.raises(DataError, match="cut a: no file gone/x.wav in"):
        list(read_windows(tmp_path, "test", AUDIO))
