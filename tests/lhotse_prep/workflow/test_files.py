"""Folders are written whole or not at all; texts and lines that cannot be read give one line that names them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lhotse_prep.workflow import files
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import put_in_place, read_jsonl, read_text, whole_folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "\\ud83d"}', r"\\ud83d is half of a character"),
        (b'{"\\udc00": 1}', r"\\udc00 is half of a character"),
        ('{"text": "中文"}'.encode("big5"), "not JSON"),
        (b'{"text": ', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "expected a JSON object"),
        (b'"text"', "expected a JSON object"),
    ],
    ids=range(7),
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 2 + line + b'\n{"text": "b"}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 3: .*{message}"):
        read_jsonl(path)


def test_pairs_of_surrogates_line_separators_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}\r\n' + '{"a": "x\u2028y"}'.encode())
    assert read_jsonl(path) == [{"a": "😀"}, {"a": "x\u2028y"}]


def test_big5_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ok\n" + "中文".encode("big5"))
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 \(byte 3, in line 2\)"):
        read_text(path)


def content(folder: Path) -> dict[str, str]:
    """{path: text} of all files in a folder that users see."""
    paths = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): p.read_text() for p in paths}


def write_folder(folder: Path, texts: dict[str, str]) -> None:
    with whole_folder(folder) as work:
        for name, text in texts.items():
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_text(text)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_holds_what_its_last_writer_wrote_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    out = tmp_path / "new" / "out"
    for texts in ({"a.txt": "1", "sub/b.txt": "2"}, {"a.txt": "3"}, {"sub": "a file"}, {}):
        write_folder(out, texts)
        assert content(out) == texts
        assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_folder_stays_as_it_was_when_its_writer_fails(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", {"a.txt": "1"})
    with pytest.raises(KeyError), whole_folder(tmp_path / "out") as work:
        (work / "a.txt").write_text("half")
        raise KeyError
    assert content(tmp_path / "out") == {"a.txt": "1"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.tmp" / "b.txt").write_text("what a killed run left")
    write_folder(tmp_path / "out", {"c.txt": "3"})
    assert content(tmp_path / "out") == {"c.txt": "3"}


def test_a_folder_is_there_again_after_a_kill_between_two_renames(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", {"a.txt": "1"})
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(KeyError), whole_folder(tmp_path / "out"):
        raise KeyError
    assert content(tmp_path / "out") == {"a.txt": "1"}


@pytest.mark.parametrize("name", ["mine.txt", "sub/mine.txt", ".git/config", "link"])
def test_files_of_the_user_are_never_removed(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    write_folder(out, {"a.txt": "1", "sub/b.txt": "2"})
    (out / ".DS_Store").write_text("a file manager's")
    write_folder(out, {"a.txt": "1", "sub/b.txt": "2"})
    if name == "link":
        (out / name).symlink_to(tmp_path)
    else:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    with pytest.raises(DataError, match=rf"out holds 1 files that would be lost.*\({name}\)"):
        write_folder(out, {"c.txt": "3"})
    assert (out / name).exists() and (out / "a.txt").exists()


def test_files_that_come_while_a_folder_is_written_are_not_removed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would be lost"), whole_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
    assert content(tmp_path / "out") == {"mine.txt": "mine"}


def test_a_linked_folder_stays_a_link_and_what_cannot_be_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    write_folder(tmp_path / "out", {"a.txt": "1"})
    assert (tmp_path / "out").is_symlink() and content(tmp_path / "disk") == {"a.txt": "1"}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="file is a file; name a folder"):
        write_folder(tmp_path / "file", {})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="^. is the current folder, which would be replaced"):
        write_folder(Path("."), {})


def test_readers_see_the_old_or_the_new_folder_at_any_time(tmp_path: Path) -> None:
    """A thread looks while the folder is exchanged many times."""
    folder, new = tmp_path / "out", tmp_path / "new"
    folder.mkdir()
    new.mkdir()
    if not files._exchange(folder, new):
        pytest.skip("this file system cannot exchange two folders")
    missing, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                folder.stat()
            except FileNotFoundError as e:
                missing.append(e)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        new.mkdir(exist_ok=True)
        put_in_place(new, folder)
    stop.set()
    reader.join()
    assert missing == []
