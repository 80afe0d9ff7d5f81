"""What --corpus names must be a folder or a table; a source folder holds what the corpus holds now, and no more."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.cli import main
from lhotse_prep.corpora.detect import import_corpus, open_source
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import read_segments, read_source
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import SerialExecutor

RATE = 16_000


def noise(seed: int, seconds: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(seconds * RATE))


def lectures(folder: Path, names: str = "abc", rate: int = RATE) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        sf.write(folder / f"{name}.wav", noise(ord(name)), rate)
        (folder / f"{name}.txt").write_text(f"我 們 {name}")
        (folder / f"{name}.en.txt").write_text(f"We {name}.")
    return folder


def table(path: Path, names: list[str], seconds: float = 0.5, **changes: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = []
    for name in names:
        sf.write(path.with_suffix(".flac"), noise(zlib.crc32(name.encode()), seconds), RATE)
        audio.append({"bytes": path.with_suffix(".flac").read_bytes(), "path": f"{name}.flac"})
    path.with_suffix(".flac").unlink(missing_ok=True)
    columns = {
        "audio": pa.array(audio, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "transcription": pa.array([f"我 們 {n}" for n in names], pa.string()),
        "translation": pa.array([f"We {n}." for n in names], pa.string()),
        "file": pa.array([f"{n}.flac" for n in names], pa.string()),
    }
    pq.write_table(pa.table(columns | changes), path)
    return path


def run(path: Path, out: Path, **options: Any) -> None:
    import_corpus(path, out, CorpusConfig(**options), CheckConfig(), SerialExecutor())


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_single_recording_is_not_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.wav is neither a folder of lectures nor a \.parquet table"):
        run(tmp_path / "a.wav", tmp_path / "out")


def remove_translation(folder: Path) -> None:
    (folder / "a.en.txt").unlink()


def remove_lecture(folder: Path) -> None:
    for path in folder.glob("b.*"):
        path.unlink()


def put_flac_for_wav(folder: Path) -> None:
    (folder / "b.wav").unlink()
    sf.write(folder / "b.flac", noise(99), RATE)


def make_text_only(folder: Path) -> None:
    (folder / "b.wav").unlink()


def make_a_table(folder: Path) -> None:
    shutil.rmtree(folder)
    for part, names in (("train", ["x_001", "x_002"]), ("dev", ["y_001"]), ("test", ["z_001"])):
        table(folder / f"{part}-00000-of-00001.parquet", names)


CHANGES = [remove_translation, remove_lecture, put_flac_for_wav, make_text_only, make_a_table]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", ["corpus", "manifests"])
def test_a_second_run_gives_what_is_in_the_corpus_now(
    tmp_path: Path, command: str, change: Callable[[Path], None]
) -> None:
    folder = lectures(tmp_path / "in")
    (folder / "splits.yaml").write_text("train: [a]\ndev: [b]\ntest: [c]\n")
    sf.write(folder / "c.wav", noise(3), 8000)  # so that `manifests` has to write a source folder
    out = tmp_path / "out"
    main([command, str(folder), str(out)])
    (folder / "splits.yaml").unlink()
    change(folder)
    main([command, str(folder), str(out)])
    shutil.copytree(out, tmp_path / "second")
    shutil.rmtree(out)
    main([command, str(folder), str(out)])  # as if there had been no first run
    assert content(tmp_path / "second").keys() == content(out).keys()
    for name, first in content(tmp_path / "second").items():
        assert first == content(out)[name], name
    assert not list(tmp_path.glob(".*"))  # nothing temporary stays


def test_a_failed_run_leaves_everything_as_it_was(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "in", rate=8000)
    for command in ("corpus", "manifests"):
        main([command, str(folder), str(tmp_path / command)])
    before = {command: content(tmp_path / command) for command in ("corpus", "manifests")}
    (folder / "b.wav").write_bytes(b"RIFF and nothing else")
    (folder / "a.txt").write_text("新 的")
    for command in ("corpus", "manifests"):
        with pytest.raises(DataError, match="lecture b"):
            main([command, str(folder), str(tmp_path / command)])
        assert content(tmp_path / command) == before[command]


def test_the_audio_that_manifests_name_is_there(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "in", rate=8000)
    main(["manifests", str(folder), str(tmp_path / "out")])
    with gzip.open(tmp_path / "out" / "ml2021_recordings_train.jsonl.gz", "rt") as f:
        sources = [json.loads(line)["sources"][0]["source"] for line in f]
    assert sources and all(Path(s).is_file() and ".tmp" not in s for s in sources)


@pytest.mark.parametrize("place", [".", "out", "in/..", "in/c.wav"])
def test_a_users_files_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    folder = lectures(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.md").write_text("years of work")
    monkeypatch.chdir(folder if place == "." else tmp_path)
    before = content(tmp_path)
    with pytest.raises(DataError):
        main(["corpus", str(folder), place])
    assert content(tmp_path) == before


def test_an_output_folder_inside_the_corpus(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "in", rate=8000)
    before = content(folder)
    for _ in range(2):
        main(["corpus", str(folder), str(folder / "out")])
        assert len(read_source(folder / "out")) == 3
    assert {k: v for k, v in content(folder).items() if not k.startswith("out")} == before


def test_a_corpus_that_would_be_its_own_source_folder(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "out" / "source", rate=8000)
    before = content(folder)
    with pytest.raises(DataError, match="would be made anew, and .*out/source is in it; name another"):
        main(["manifests", str(folder), str(tmp_path / "out")])
    assert content(folder) == before


def test_a_source_folder_is_used_where_it_is_if_its_files_have_its_names(tmp_path: Path) -> None:
    def open_it(folder: Path) -> Path:
        with open_source(folder, tmp_path / "out", CorpusConfig(), CheckConfig(), SerialExecutor()) as source:
            return source.place

    folder = lectures(tmp_path / "in")
    (folder / "splits.yaml").write_text("train: [a]\ntest: [b, c]\n")
    assert open_it(folder) == folder
    (folder / "a.txt").rename(folder / "a.TXT")
    assert open_it(folder) == tmp_path / "out" / "source"
    assert [x.transcript.strip() for x in read_source(tmp_path / "out" / "source")] == ["我 們 a", "我 們 b", "我 們 c"]


def test_a_file_that_is_added_to_a_source_folder_is_not_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    main(["corpus", str(lectures(tmp_path / "in")), str(source)])
    with open_source(source, tmp_path / "out", CorpusConfig(), CheckConfig(), SerialExecutor()) as opened:
        assert opened.folder == source and "left out" not in caplog.text
    sf.write(source / "d.wav", noise(7), RATE)
    (source / "d.txt").write_text("新 的")
    with open_source(source, tmp_path / "out", CorpusConfig(), CheckConfig(), SerialExecutor()):
        assert "1 lectures are not in splits.yaml and are left out: d" in caplog.text


def test_a_source_folder_of_utterances_is_copied_whole(tmp_path: Path) -> None:
    make_a_table(lectures(tmp_path / "in"))
    main(["corpus", str(tmp_path / "in"), str(tmp_path / "source")])
    main(["corpus", str(tmp_path / "source"), str(tmp_path / "again")])
    assert content(tmp_path / "again") == content(tmp_path / "source")
    assert len(read_source(tmp_path / "again")) == 4


def test_the_segments_of_a_source_folder_are_not_lost(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "in")
    (folder / "splits.yaml").write_text("test: [a, b, c]\n")
    (folder / "segments.jsonl").write_text('{"lecture": "a", "id": "a_1", "begin": 0, "end": 100}\n')
    main(["corpus", str(folder), str(tmp_path / "out")])
    assert read_segments(tmp_path / "out") == read_segments(folder) != {}


def test_tables_and_lectures_in_one_folder_need_a_choice(tmp_path: Path) -> None:
    folder = lectures(tmp_path / "in")
    table(folder / "train.parquet", ["x"])
    with pytest.raises(DataError, match=r"holds tables and lectures \(a\.wav\); choose by corpus\.kind"):
        run(folder, tmp_path / "out")
    run(folder, tmp_path / "1", kind="folder")
    run(folder, tmp_path / "2", kind="utterances")
    assert [len(read_source(tmp_path / name)) for name in "12"] == [3, 1]


def test_utterances_of_the_configuration_must_be_there_and_have_lectures(tmp_path: Path) -> None:
    path = table(tmp_path / "in" / "train.parquet", ["x"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="none has no .parquet table"):
        run(path, tmp_path / "out", kind="long", utterances=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="needs tables of lectures, but those of .* hold utterances"):
        run(path, tmp_path / "out", utterances=str(path))


def test_tables_without_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path / "in" / "train.parquet", [])
    with pytest.raises(DataError, match="in have no rows"):
        run(tmp_path / "in", tmp_path / "out")
    table(tmp_path / "in" / "dev.parquet", ["x"], seconds=1.0)
    run(tmp_path / "in", tmp_path / "out", long_seconds=0.9)
    assert "1 tables have no rows: train.parquet" in caplog.text
    assert [x.id for x in read_source(tmp_path / "out")] == ["x"]


def test_hub_layouts_end_in_their_parts(tmp_path: Path) -> None:
    for part, names in (("train", ["a"]), ("validation", ["b"]), ("test", ["c"])):
        table(tmp_path / "in" / "default" / part / "0000.parquet", names)
    run(tmp_path / "in", tmp_path / "out")
    assert {x.id: x.part for x in read_source(tmp_path / "out")} == {"a": "train", "b": "dev", "c": "test"}
    table(tmp_path / "in" / "default" / "held_out" / "0000.parquet", ["d"])
    with pytest.raises(DataError, match="default/held_out/0000.parquet: neither its name nor a folder's says its part"):
        run(tmp_path / "in", tmp_path / "out2")


def test_a_pointer_of_git_lfs_and_other_forms_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match="is only the pointer to a file .*git lfs pull"):
        run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "arrow").mkdir()
    (tmp_path / "arrow" / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    with pytest.raises(DataError, match=r"holds no lectures: .*it holds data-00000-of-00001\.arrow"):
        run(tmp_path / "arrow", tmp_path / "out")
