"""Stage 0 gives what is in the corpus now, and never replaces a user's files."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.corpora.source.folder import read_source
from lhotse_prep.workflow.errors import DataError


def lectures(folder: Path, names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        sf.write(folder / f"{name}.wav", np.random.default_rng(ord(name)).uniform(-0.3, 0.3, 8000), 16_000)
        (folder / f"{name}.txt").write_text(f"我 們 {name}")
    return folder


def run(project: Path, corpus: Path, data: Path) -> None:
    main = runpy.run_path(str(project / "local" / "make_corpus.py"))["main"]
    main(["--conf", str(project / "conf" / "mini"), "--corpus", str(corpus), "--data", str(data)])


def test_another_corpus_into_the_same_folder(project: Path, tmp_path: Path) -> None:
    for names in ("abc", "cde"):
        run(project, lectures(tmp_path / names, names), tmp_path / "data")
        assert sorted(x.id for x in read_source(tmp_path / "data" / "source")) == list(names)
        assert {p.stem for p in (tmp_path / "data" / "source").glob("*.wav")} == set(names)


def test_a_corpus_called_source_in_the_data_folder_is_not_replaced(project: Path, tmp_path: Path) -> None:
    folder = lectures(tmp_path / "data" / "source", "abc")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(DataError, match="source holds files that stage 0 did not write and would remove"):
        run(project, folder, tmp_path / "data")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_table_that_changes_behind_a_link_is_read_again(project: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "corpus" / "more").symlink_to(tmp_path / "disk")
    for text in ("一", "二"):
        sf.write(tmp_path / "x.wav", np.random.default_rng(1).uniform(-0.3, 0.3, 8000), 16_000)
        audio = {"bytes": (tmp_path / "x.wav").read_bytes(), "path": "a.wav"}
        row = {"audio": audio, "file": "a.wav", "transcription": text, "translation": "x"}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "disk" / "train.parquet")
        run(project, tmp_path / "corpus", tmp_path / "data")
        assert [x.transcript for x in read_source(tmp_path / "data" / "source")] == [text]
