"""Who may import whom and how much a room holds, read from the sources themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

# A room may import from the rooms before it, never from those after it.
LHOTSE_PREP = (
    "workflow", "text", "audio", "tokens", "corpora.source", "corpora.tables", "corpora.mini", "corpora", "manifests",
    "alignment.search", "alignment", "windows", "bitext", "cli", "__main__",
)  # fmt: skip
ASR = (
    "words", "sherpa", "whisper", "qwen", "model.layers", "model.zipformer", "model", "loss", "fusion", "search",
    "augment", "train", "decode", "pseudo_labels", "tuning", "aligner", "export", "icefall.scripts", "icefall",
)  # fmt: skip
ML2021 = (
    "training", "scoring", *(f"asr.{room}" for room in ASR), "mt.terms", "mt.llm", "mt", "st.cues", "st.known_text",
    "st", "report",
)  # fmt: skip
# What is in the second group is out of bounds for the first, whatever the order.
NEVER = [
    (("lhotse_prep",), ("ml2021", "local", "tests")),
    (("ml2021",), ("local", "tests")),
    (("ml2021.asr",), ("ml2021.mt", "ml2021.st", "ml2021.report")),
    (("ml2021.mt",), ("ml2021.asr", "ml2021.st", "ml2021.report")),
    (("ml2021.report",), ("ml2021.asr", "ml2021.mt", "ml2021.st")),
]
MAY_IMPORT_K2 = {"ml2021.asr.loss.rnnt_loss", "ml2021.asr.search.fast_beam_search"}
MOST_MODULES = 15  # of a room
MOST_LINES = 400  # of a module
HEAVY = {
    "torch", "torchaudio", "lhotse", "transformers", "ctranslate2", "matplotlib", "numba", "onnx", "pandas", "pyarrow",
}  # fmt: skip


def module_name(path: Path, project: Path) -> str:
    parts = list(path.relative_to(project).with_suffix("").parts)
    if parts[0] == "egs":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path, name: str) -> set[str]:
    """Full names of all that a file imports, wherever in the file."""
    names = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


@pytest.fixture(scope="module")
def paths(project: Path) -> dict[str, Path]:
    """{module: its file} of the packages and of local/; a package is its __init__.py."""
    files = [p for folder in ("lhotse_prep", "egs/ml2021", "local") for p in (project / folder).rglob("*.py")]
    return {module_name(p, project): p for p in files}


@pytest.fixture(scope="module")
def imports(paths: dict[str, Path]) -> dict[str, set[str]]:
    """{module: what it imports}."""
    return {name: imported_by(path, name) for name, path in paths.items()}


@pytest.fixture(scope="module")
def module_graph(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    """{module: the modules of the project that it imports}."""
    return {name: (names & imports.keys()) - {name} for name, names in imports.items()}


def room_of(module: str, paths: Mapping[str, Path]) -> str:
    return module if paths[module].name == "__init__.py" else module.rpartition(".")[0]


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which reaches the others (Tarjan's algorithm by repeated removal of leaves)."""
    left = {node: {t for t in targets if t in graph and t != node} for node, targets in graph.items()}
    while leaves := {node for node, targets in left.items() if not targets}:
        left = {node: targets - leaves for node, targets in left.items() if node not in leaves}
    return [[node, *sorted(targets)] for node, targets in sorted(left.items())]


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def test_sources_were_found(imports: dict[str, set[str]]) -> None:
    expected = {
        "lhotse_prep.workflow.stage",
        "ml2021.asr.model.recogniser",
        "ml2021.mt.model",
        "local.export",
        "ml2021",
    }
    assert expected <= imports.keys()
    assert "lhotse_prep.workflow.errors.DataError" in imports["ml2021.training.trainer"]


def test_circles_are_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["a", "b"], ["b", "c"], ["c", "b"]]


@pytest.mark.parametrize(("who", "what"), NEVER, ids=lambda names: "+".join(names))
def test_who_imports_whom(imports: dict[str, set[str]], who: tuple[str, ...], what: tuple[str, ...]) -> None:
    wrong = [f"{m} imports {i}" for m, names in imports.items() if is_in(m, who) for i in names if is_in(i, what)]
    assert wrong == []


def test_no_circle_between_files(module_graph: dict[str, set[str]], paths: dict[str, Path]) -> None:
    # To import a module is to import the packages that it is in, whose __init__ import nothing.
    assert [m for m in module_graph if paths[m].name == "__init__.py" and module_graph[m]] == []
    assert circles(module_graph) == []


def test_no_circle_between_folders(module_graph: dict[str, set[str]], paths: dict[str, Path]) -> None:
    rooms: dict[str, set[str]] = {}
    for module, targets in module_graph.items():
        rooms.setdefault(room_of(module, paths), set()).update(room_of(t, paths) for t in targets)
    assert circles(rooms) == []


@pytest.mark.parametrize(("package", "order"), [("lhotse_prep", LHOTSE_PREP), ("ml2021", ML2021)])
def test_data_flows_one_way(
    package: str, order: tuple[str, ...], module_graph: dict[str, set[str]], paths: dict[str, Path]
) -> None:
    place = {f"{package}.{room}": i for i, room in enumerate(order)}

    def place_of(module: str) -> int | None:
        return next((place[n] for n in (module, room_of(module, paths)) if n in place), None)

    code = [m for m in module_graph if is_in(m, (package,)) and paths[m].name != "__init__.py"]
    assert [m for m in code if place_of(m) is None] == [], "a new room needs its place in the order"
    wrong = []
    for module in code:
        for target in module_graph[module] & set(code):
            here, there = place_of(module), place_of(target)
            if here is not None and there is not None and there > here:
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_rooms_and_modules_are_small(paths: dict[str, Path]) -> None:
    modules: dict[Path, int] = {}
    for path in paths.values():
        modules[path.parent] = modules.get(path.parent, 0) + (path.name != "__init__.py")
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path
    assert {str(folder): n for folder, n in modules.items() if n > MOST_MODULES} == {}


def test_every_room_says_what_is_in_it(paths: dict[str, Path], project: Path) -> None:
    """In one sentence, and in another one who may import it; the map of README.md names it."""
    readme = (project / "README.md").read_text(encoding="utf-8")
    folders = {p.parent for p in paths.values() if p.parent.name not in ("local", "scripts")}
    for folder in sorted(folders):
        doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        contents, _, imports = doc.partition("\n\n")
        assert contents.endswith(".") and contents.count(". ") == 0, f"{folder}: one sentence on what is in it"
        assert "import" in imports and imports.endswith("."), f"{folder}: one sentence on who may import it"
        assert f"{folder.name}/" in readme, f"README.md has no line for {folder.name}/"


def test_k2_is_imported_in_two_places_only(imports: dict[str, set[str]]) -> None:
    assert {m for m, names in imports.items() if any(is_in(i, ("k2",)) for i in names)} <= MAY_IMPORT_K2


def said_by(code: str, project: Path) -> str:
    """What a program writes to stdout in a process of its own."""
    environment = {"PYTHONPATH": f"{project}:{project}/egs", "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def commands(paths: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Modules that users run, whose last statement is `if __name__ == "__main__": run_main(main)`, and all others with
    such a statement: stages run them in processes of their own, and they have no options."""
    groups: tuple[list[str], list[str]] = ([], [])
    for name, path in sorted(paths.items()):
        last = ast.parse(path.read_text(encoding="utf-8")).body[-1:]
        if last and isinstance(last[0], ast.If) and ast.unparse(last[0].test) == "__name__ == '__main__'":
            groups[ast.unparse(last[0].body) != "run_main(main)"].append(name)
    return groups


def test_commands_are_those_with_a_main_block(paths: dict[str, Path]) -> None:
    users, processes = commands(paths)
    assert len(users) >= 29 and {"lhotse_prep.__main__", "ml2021.st.transcribe", "local.align"} <= set(users)
    assert {"ml2021.mt.train", "ml2021.asr.sherpa.worker", "local.install"} <= set(processes)
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    assert {name for name, text in texts.items() if '__main__":' in text} == {*users, *processes}
    assert {name for name, path in paths.items() if path.name == "__main__.py"} <= set(users)


def test_help_and_wrong_options_of_commands_import_nothing_heavy(paths: dict[str, Path], project: Path) -> None:
    files = {name: str(paths[name]) for name in commands(paths)[0]}
    code = (
        "import contextlib, io, runpy, sys\n"
        f"for module, path in {files}.items():\n"
        "    for option in ('--help', '--no-such-option'):\n"
        "        before = set(sys.modules)\n"
        "        sys.argv = [module, option]\n"
        "        said = io.StringIO()\n"
        "        try:\n"
        "            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        "                if module.startswith('local.'): runpy.run_path(path, run_name='__main__')\n"
        "                else: runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "        except SystemExit as e:\n"
        "            if (e.code or 0) != (0 if option == '--help' else 2): print(module, option, e.code)\n"
        "        if 'usage' not in said.getvalue(): print(module, option, said.getvalue())\n"
        f"        heavy = sorted((set(sys.modules) - before) & {HEAVY})\n"
        "        if heavy: print(module, *heavy)\n"
    )
    assert said_by(code, project) == ""
