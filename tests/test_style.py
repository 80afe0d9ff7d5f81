"""What STYLE asks of names, formatting and functions, as far as a parser can tell."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("lhotse_prep", "egs/ml2021", "local", "benchmarks", "tests")
SAY_NOTHING = {"found", "own", "made", "heard", "told"}  # a variable says what it holds
MOST_SKIPS = 20  # places where the formatter is overruled
MOST_PARAMETERS = 10  # of a function of the packages; more belong in a dataclass or a NamedTuple


@pytest.fixture(scope="module")
def trees(project: Path) -> dict[Path, ast.Module]:
    """{file: its syntax tree}."""
    files = [p for folder in FOLDERS for p in sorted((project / folder).rglob("*.py"))]
    return {p.relative_to(project): ast.parse(p.read_text(encoding="utf-8")) for p in files}


def bound_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that is given a name: variables, parameters, attributes, functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_names_say_what_they_hold(trees: dict[Path, ast.Module]) -> None:
    vague = [f"{p}:{line}: {name}" for p, t in trees.items() for line, name in bound_names(t) if name in SAY_NOTHING]
    assert vague == []


def test_the_formatter_is_hardly_ever_overruled(trees: dict[Path, ast.Module], project: Path) -> None:
    marks = ("# fmt: " + "skip", "# fmt: " + "off")
    lines = [line for p in trees for line in (project / p).read_text(encoding="utf-8").splitlines()]
    assert sum(mark in line for line in lines for mark in marks) < MOST_SKIPS


def test_functions_take_few_parameters(trees: dict[Path, ast.Module]) -> None:
    many = [
        f"{path}:{node.lineno}: {node.name}"
        for path, tree in trees.items()
        if path.parts[0] in ("lhotse_prep", "egs")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and len(node.args.args) + len(node.args.kwonlyargs) > MOST_PARAMETERS
        and node.name != "__init__"
    ]
    assert many == []


def test_scripts_with_a_shebang_can_be_executed(project: Path) -> None:
    scripts = [*(project / "local").glob("*.py"), project / "run.sh", *(project / "tests").glob("*.sh")]
    assert [p.name for p in scripts if p.read_text(encoding="utf-8")[:2] == "#!" and not os.access(p, os.X_OK)] == []
