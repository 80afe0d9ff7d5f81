"""The order of the tests where they run side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tests.conftest import LONGEST, pytest_collection_modifyitems


@dataclass(frozen=True)
class Item:
    """What the hook reads of a test."""

    path: Path

    def iter_markers(self) -> tuple[()]:
        return ()


def test_longest_files_are_first_in_processes_of_xdist_alone(project: Path) -> None:
    names = ["test_conf.py", "test_docs.py", *reversed(LONGEST)]
    assert [name for name in names if not (project / "tests" / name).is_file()] == []
    files = [project / "tests" / name for name in names]
    items = [Item(path) for path in files]
    pytest_collection_modifyitems(SimpleNamespace(), items)  # type: ignore[arg-type]
    assert [i.path for i in items] == files
    pytest_collection_modifyitems(SimpleNamespace(workerinput={}), items)  # type: ignore[arg-type]
    assert [i.path for i in items] == [*reversed(files[2:]), *files[:2]]


def test_the_test_command_keeps_this_order(project: Path) -> None:
    assert "--no-loadscope-reorder" in (project / "tests" / "run.sh").read_text(encoding="utf-8")
