"""Who may import whom, read from the sources themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# Whoever is in the first group must not import what is in the second: what is shared goes down, never sideways.
RULES = [
    (("lhotse_prep",), ("ml2021", "local", "tests")),
    (("ml2021",), ("local", "tests")),
    (("ml2021.asr",), ("ml2021.mt", "ml2021.st", "ml2021.report")),
    (("ml2021.mt",), ("ml2021.asr", "ml2021.st", "ml2021.report")),
    (
        ("ml2021.config", "ml2021.checkpoint", "ml2021.trainer", "ml2021.scoring"),
        ("ml2021.asr", "ml2021.mt", "ml2021.st", "ml2021.report"),
    ),
    (("ml2021.report",), ("ml2021.asr", "ml2021.mt", "ml2021.st")),
]
MAY_IMPORT_K2 = {"ml2021.asr.rnnt_loss", "ml2021.asr.search.fast_beam_search"}
HEAVY = {
    "torch",
    "torchaudio",
    "lhotse",
    "transformers",
    "ctranslate2",
    "matplotlib",
    "numba",
    "onnx",
    "pandas",
    "pyarrow",
}


def module_name(path: Path, project: Path) -> str:
    parts = list(path.relative_to(project).with_suffix("").parts)
    if parts[0] == "egs":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path, name: str) -> set[str]:
    """Full names of all that a file imports, wherever in the file."""
    found = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.fixture(scope="module")
def imports(project: Path) -> dict[str, set[str]]:
    """{module: what it imports} of the packages and of local/."""
    paths = [p for folder in ("lhotse_prep", "egs/ml2021", "local") for p in (project / folder).rglob("*.py")]
    return {module_name(p, project): imported_by(p, module_name(p, project)) for p in paths}


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def test_sources_were_found(imports: dict[str, set[str]]) -> None:
    assert {"lhotse_prep.stages", "ml2021.asr.model", "ml2021.mt.model", "local.export", "ml2021"} <= imports.keys()
    assert "lhotse_prep.errors.DataError" in imports["ml2021.trainer"]


@pytest.mark.parametrize(("who", "what"), RULES, ids=lambda names: "+".join(names))
def test_who_imports_whom(imports: dict[str, set[str]], who: tuple[str, ...], what: tuple[str, ...]) -> None:
    wrong = [f"{m} imports {i}" for m, found in imports.items() if is_in(m, who) for i in found if is_in(i, what)]
    assert wrong == []


def test_k2_is_imported_in_two_places_only(imports: dict[str, set[str]]) -> None:
    assert {m for m, found in imports.items() if any(is_in(i, ("k2",)) for i in found)} <= MAY_IMPORT_K2


def test_stages_that_have_nothing_to_do_import_nothing_heavy(project: Path) -> None:
    code = (
        "import importlib.util, pathlib, sys\n"
        "for path in sorted(pathlib.Path('local').glob('*.py')):\n"
        "    spec = importlib.util.spec_from_file_location('stage_' + path.stem, path)\n"
        "    before = set(sys.modules)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        f"    heavy = sorted((set(sys.modules) - before) & {HEAVY})\n"
        "    if heavy: print(path.name, *heavy)\n"
    )
    environment = {"PYTHONPATH": f"{project}:{project}/egs", "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
