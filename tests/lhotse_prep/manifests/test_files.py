"""Nothing in a manifest of cuts is executed, fetched or unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import AudioSource, CutSet, Features, MonoCut, NumpyFilesWriter, Recording
from lhotse.array import Array, TemporalArray
from lhotse.cut import Cut

from lhotse_prep.manifests.files import check_cut
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
