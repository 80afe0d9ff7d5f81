"""Results of recordings are made once, whole, and again only if the recording or the options have changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lhotse_prep.workflow import resumable
from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.locks import folder_lock
from lhotse_prep.workflow.resumable import ResultFolder, check_recordings, list_failures


@pytest.fixture
def results(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path / "out", ".state", (".txt", ".en.txt"), "options", may_be_edited=False)


def make(results: ResultFolder, name: str, content: str) -> None:
    with results.work(name, content) as work_dir:
        for suffix in results.suffixes:
            (work_dir / f"{name}{suffix}").write_text(content)


def test_done_until_content_options_or_files_change(results: ResultFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert not results.is_done("a", "1")
    make(results, "a", "1")
    assert results.is_done("a", "1") and not results.is_done("b", "1") and caplog.text == ""
    assert not results.is_done("a", "2") and "a: its files in" in caplog.text
    assert not replace(results, options="others").is_done("a", "1") and "options have changed" in caplog.text
    make(results, "a", "2")
    assert results.is_done("a", "2") and (results.folder / "a.txt").read_text() == "2"
    (results.folder / "a.txt").write_text("edited")
    assert replace(results, may_be_edited=True).is_done("a", "2")
    with pytest.raises(DataError, match=r"a\.txt is damaged, or was changed.*remove it"):
        results.is_done("a", "2")
    (results.folder / "a.txt").unlink()
    assert not results.is_done("a", "2")


def test_all_that_is_done_in_a_folder(results: ResultFolder, caplog: pytest.LogCaptureFixture) -> None:
    assert results.done() == []
    for name in ("b", "a b", "c"):
        make(results, name, "1")
    make(replace(results, options="others"), "d", "1")
    assert results.done() == ["a b", "b", "c"] and replace(results, options="others").done() == ["d"]
    (results.folder / "b.txt").unlink()
    assert results.done() == ["a b", "c"] and caplog.text == ""
    (results.folder / "c.txt").write_text("edited")
    assert results.done() == ["a b"] and "c is left out" in caplog.text
    (results.state_dir / "a b.done").write_text("{")
    assert results.done() == [] and replace(results, may_be_edited=True).done() == ["c"]


def test_files_that_are_known_to_be_good_are_not_read_again(
    results: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def recording_digest(path: Path) -> str:
        read.append(path.name)
        return digest_file(path)

    for name in ("a", "b", "c"):
        make(results, name, "1")
    monkeypatch.setattr(resumable, "digest_file", recording_digest)
    assert results.done({"a", "c", "never made"}) == ["a", "b", "c"]
    assert read == ["b.txt", "b.en.txt"]


def test_thousands_of_recordings_are_checked_one_by_one(
    results: ResultFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read grows with the number of recordings, not with its square."""
    recordings = [(f"r{i:05d}", tmp_path / f"r{i:05d}") for i in range(300)]
    for name, path in recordings:
        path.write_text(name)
    for name, path in recordings[:200]:
        make(results, name, digest_file(path))
    num_marks, num_digests = 0, 0
    read_mark = ResultFolder._read_mark

    def counting_mark(folder: ResultFolder, name: str) -> object:
        nonlocal num_marks
        num_marks += 1
        return read_mark(folder, name)

    def counting_digest(path: Path) -> str:
        nonlocal num_digests
        num_digests += 1
        return digest_file(path)

    monkeypatch.setattr(ResultFolder, "_read_mark", counting_mark)
    monkeypatch.setattr(resumable, "digest_file", counting_digest)
    results.check(recordings[100:])
    missing = results.missing(recordings[100:])
    assert set(missing) == {name for name, _ in recordings[200:]}
    assert results.done({name for name, _ in recordings[100:]} - missing.keys()) == [n for n, _ in recordings[:200]]
    assert num_marks == 100 + 200 + 2 * 100  # of others; of these; of others, to see whether they are done
    assert num_digests == 200 + 2 * 100 + 2 * 100  # recordings; their files; the files of others


def test_failures_of_thousands_of_recordings_are_one_message_of_some() -> None:
    assert list_failures(["a: bad", "b: worse"]) == "a: bad; b: worse"
    text = list_failures([f"r{i}: bad" for i in range(1000)])
    assert text.startswith("r0: bad; r1: bad; ") and text.endswith("r19: bad; and 980 more, each named above")


def test_failed_work_leaves_the_old_files(results: ResultFolder) -> None:
    make(results, "a", "1")
    with pytest.raises(DataError, match="bad recording"), results.work("a", "2") as work_dir:
        (work_dir / "a.txt").write_text("half")
        raise DataError("bad recording")
    assert results.is_done("a", "1") and not work_dir.exists()


def test_files_of_two_recordings_are_never_taken_for_those_of_one(
    results: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped while it replaces the files leaves some of both recordings, and no mark."""
    make(results, "a", "1")
    monkeypatch.setattr("lhotse_prep.workflow.resumable.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(results, "a", "2")
    assert not results.is_done("a", "1") and not results.is_done("a", "2")


def test_one_process_at_a_time_writes_a_recording(results: ResultFolder) -> None:
    with folder_lock(results.state_dir / "a.work"):
        with pytest.raises(DataError, match="being written by another run"):
            make(results, "a", "1")
        make(results, "b", "1")


def test_missing_recordings_and_recordings_of_one_name(results: ResultFolder, tmp_path: Path) -> None:
    recordings = [(name, tmp_path / f"{name}.wav") for name in ("a", "b", "c")]
    with pytest.raises(DataError, match=r"no such recording: .*a\.wav and 2 more"):
        check_recordings(recordings)
    for _, path in recordings:
        path.write_text(path.stem)
    check_recordings(recordings)
    make(results, "b", digest_file(tmp_path / "b.wav"))
    assert results.missing(recordings) == {name: digest_file(tmp_path / f"{name}.wav") for name in ("a", "c")}
    assert results.missing([("z", tmp_path / "z.wav")]) == {"z": ""}
    with pytest.raises(DataError, match="2 recordings are named a; .*rename one"):
        check_recordings([*recordings, ("a", tmp_path / "b.wav")])
