"""The pages say what is so: commands parse, links resolve, messages and configuration keys are those of the code."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lhotse_prep.workflow.strict_config import SECTIONS, load_config

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / name for name in ("README.md", "RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES += sorted((PROJECT / "docs").glob("*.md"))
CHECKED = [p for p in PAGES if p.name != "CHANGELOG.md"]  # the commands of earlier versions are there too
SUFFIXES = (".py", ".sh", ".md", ".yaml")
PLACEHOLDERS = {"N": "1", "COMMAND": "corpus"}
IS_COMMAND = re.compile(r"(\w+=\S+ )*(python[\d.]* |torchrun |\./run\.sh|\./tests/|lhotse )")
IS_NAME = re.compile(r"python (-m (ml2021|lhotse_prep)|local/)((?! --).)*$")

# Runs in a process of its own: parses each command with the parser of its module and stops before any work.
PARSE = """
import argparse, contextlib, io, json, logging, runpy, sys

class Parsed(BaseException):
    pass

parse = argparse.ArgumentParser.parse_args

def parse_and_stop(self, args=None, namespace=None):
    parse(self, args, namespace)
    raise Parsed

def lhotse_error(words):
    from lhotse.bin.modes import cli
    group, name = cli, "lhotse"
    for word in words:
        if not hasattr(group, "commands"):
            break
        if word not in group.commands:
            return f"{name} has no command {word}"
        group, name = group.commands[word], f"{name} {word}"
    options = {o for p in group.params for o in p.opts}
    unknown = [w for w in words if w.startswith("-") and w.split("=")[0] not in options]
    return f"{name} has no option {unknown[0]}" if unknown else None

def error(words):
    if words[0] == "lhotse":
        return lhotse_error(words[1:])
    is_module = words[0] == "-m"
    sys.argv = words[1:] if is_module else words
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            if is_module:
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(words[0], run_name="__main__")
    except Parsed:
        return None
    except SystemExit as e:
        return None if e.code in (0, None) and "--help" in words else f"{output.getvalue()[-300:]} {e}"
    except BaseException as e:
        return repr(e)
    return "it does not parse its options with argparse"

commands = json.load(sys.stdin)
argparse.ArgumentParser.parse_args = parse_and_stop
json.dump([error(words) for words in commands], sys.stdout)
"""


@dataclass(frozen=True)
class Command:
    """A command of a page, as the words of a shell."""

    where: str  # page:line
    words: tuple[str, ...]


def code_lines(text: str) -> list[tuple[int, str]]:
    """Line numbers and lines of fenced blocks (continued lines as one) and of inline code.

    Inline code that names a program and none of its options, such as `python -m lhotse_prep manifests`, gets --help.
    """
    lines: list[tuple[int, str]] = []
    is_fenced, continued = False, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced:
            continued += line.removesuffix("\\")
            if not line.endswith("\\"):
                lines.append((number, continued))
                continued = ""
        else:
            inline = [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", line)]
            lines += [(number, f"{code} --help" if IS_NAME.match(code) else code) for code in inline]
    return lines


def commands_of(page: Path) -> list[Command]:
    """Commands of this project's programs and of lhotse."""
    commands = []
    for number, line in code_lines(page.read_text(encoding="utf-8")):
        for part in re.split(r" && ", line):
            text = re.sub(r"\s#.*|[][]| \.\.\.$", "", part.strip())  # comments, optional parts, "and so on"
            if IS_COMMAND.match(text):
                words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text)]
                while "=" in words[0]:
                    words = words[1:]
                commands.append(Command(f"{page.name}:{number}", tuple(words)))
    return commands


def python_arguments(words: tuple[str, ...]) -> list[str] | None:
    """What follows `python`, for python and torchrun; None for a module that is not ours, such as venv."""
    if words[0] == "torchrun":
        programs = [i for i, word in enumerate(words) if word == "-m" or word.endswith(".py")]
        words = words[programs[0] if programs else -1 :]
    elif words[0].startswith("python"):
        words = words[1:]
    else:
        return list(words) if words[0] == "lhotse" else None
    is_ours = words[0] != "-m" or words[1].split(".")[0] in ("ml2021", "lhotse_prep")
    return [w.replace("{train,dev,test}", "train") for w in words] if is_ours and words[0] != "-c" else None


COMMANDS = [command for page in CHECKED for command in commands_of(page)]


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 80
    programs = {w for c in COMMANDS for w in c.words}
    assert {"./run.sh", "ml2021.asr.train", "ml2021.st.transcribe", "lhotse", "local/inspect_cuts.py"} <= programs


def test_python_commands_are_accepted_by_their_parsers() -> None:
    commands = [(c, a) for c in COMMANDS if (a := python_arguments(c.words)) is not None]
    commands = [(c, a) for c, a in commands if not a[0].startswith(("benchmarks/", "tests/"))]
    unique = sorted({tuple(a) for _, a in commands})
    environment = {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'egs'}", "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    result = subprocess.run(
        [sys.executable, "-c", PARSE],
        cwd=PROJECT,
        env=environment,
        input=json.dumps(unique),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    errors = dict(zip(unique, json.loads(result.stdout), strict=True))
    wrong = [f"{c.where}: {' '.join(c.words)}: {errors[tuple(a)]}" for c, a in commands if errors[tuple(a)]]
    assert not wrong, "\n".join(wrong)


def test_options_of_run_sh_are_in_its_usage() -> None:
    usage = subprocess.run(["bash", "run.sh", "--help"], cwd=PROJECT, capture_output=True, text=True, timeout=20).stdout
    options = set(re.findall(r"--[a-z-]+", usage))
    assert "--stop-stage" in options
    for command in COMMANDS:
        if command.words[0] == "./run.sh":
            for i, word in enumerate(command.words):
                if word.startswith("--"):
                    assert word.split("=")[0] in options, f"{command.where}: {word}"
                if word.endswith("stage") and command.words[i + 1 :]:
                    assert command.words[i + 1] in ("M", *map(str, range(13))), f"{command.where}: {word}"


def test_scripts_and_benchmarks_exist_with_the_options_that_are_named() -> None:
    for command in COMMANDS:
        for i, word in enumerate(command.words):
            if word.startswith(("./tests/", "benchmarks/", "local/", "docs/")):
                path = PROJECT / word
                assert path.is_file(), f"{command.where}: no file {word}"
                if word.startswith("benchmarks/"):
                    source = path.read_text(encoding="utf-8")
                    options = [w for w in command.words[i:] if w.startswith("--")]
                    assert [o for o in options if f'"{o}"' not in source] == [], command.where


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def test_readme_leads_to_every_page_and_is_short() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 120
    assert not [line for line in lines if len(line) > 110]
    assert [p.name for p in (PROJECT / "docs").glob("*.md") if f"](docs/{p.name}" not in text] == []


def test_stages_of_the_readme_are_those_of_run_sh() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \| ([a-z-]+) \|", (PROJECT / "README.md").read_text(encoding="utf-8"))
    run_sh = re.findall(r"(?m)^ *run_stage (\d+) ([a-z-]+) ", (PROJECT / "run.sh").read_text(encoding="utf-8"))
    assert rows == sorted(run_sh, key=lambda stage: int(stage[0])) and len(rows) == 13


def test_results_are_short() -> None:
    assert len((PROJECT / "RESULTS.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.fixture(scope="module")
def messages() -> str:
    """All string literals of the code; the values in an f-string are a zero character."""
    texts = [(PROJECT / name).read_text(encoding="utf-8") for name in ("run.sh", "path.sh")]
    for folder in ("lhotse_prep", "egs/ml2021", "local"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return "\n".join(texts)


def test_messages_of_the_troubleshooting_page_are_those_of_the_code(messages: str) -> None:
    page = (PROJECT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [line.split(" | ")[0] for line in page.split("\n") if line.startswith("| `")]
    quoted = [part for cell in cells if "Python's own" not in cell for part in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 70
    unknown = [part for part in quoted if part not in messages]
    assert not unknown, "no message of the code has: " + "; ".join(unknown)


def test_files_and_names_of_contributing_exist() -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    codes = [code for code in re.findall(r"`([^`]+)`", text) if "NAME" not in code]
    folders = ("lhotse_prep", "egs", "local", "docs", "tests", "conf")
    files = [p for folder in folders for p in (PROJECT / folder).rglob("*") if p.suffix in SUFFIXES]
    files += [p for p in PROJECT.iterdir() if p.suffix in SUFFIXES]
    named = [code for code in codes if re.fullmatch(r"[\w./-]*\w\.(py|md|yaml|sh)", code)]
    assert [name for name in named if not any(str(p).endswith(f"/{name.removeprefix('./')}") for p in files)] == []
    sources = "\n".join(
        p.read_text(encoding="utf-8") for p in files if p.suffix in (".py", ".sh") and p != Path(__file__)
    )
    words = [word for code in codes if code not in named for word in re.findall(r"[A-Za-z_]\w*", code)]
    names = [word for word in words if re.search(r"_[a-z]|_[A-Z]|[a-z][A-Z]", word)]
    assert len(named) > 15 and len(names) > 15
    unknown = [name for name in names if not re.search(rf"\b{name}\b", sources)]
    assert not unknown, ", ".join(unknown)


@pytest.fixture(scope="module")
def generator():  # type: ignore[no-untyped-def]
    """docs/make_configuration.py as a module."""
    import importlib.util

    path = PROJECT / "docs" / "make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_configuration_page_is_current(generator) -> None:  # type: ignore[no-untyped-def]
    page = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == generator.page(), "run python docs/make_configuration.py"


def test_configuration_page_has_every_section(generator) -> None:  # type: ignore[no-untyped-def]
    assert {file: tuple(sections) for file, sections in generator.SECTIONS.items()} == SECTIONS


def test_every_configuration_key_has_a_comment(generator) -> None:  # type: ignore[no-untyped-def]
    assert generator.undocumented() == []


def test_yaml_of_the_pages_is_accepted(generator, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Each ```yaml block begins with the name of its file."""
    number_of_blocks = 0
    for page in CHECKED:
        for block in re.findall(r"(?ms)^```yaml\n# (\w+\.yaml)\n(.*?)^```", page.read_text(encoding="utf-8")):
            name, text = block
            number_of_blocks += 1
            (tmp_path / name).write_text(text, encoding="utf-8")
            for section in yaml.safe_load(text) if name in SECTIONS else ():
                load_config(tmp_path / name, section, generator.SECTIONS[name][section][0])
    assert number_of_blocks >= 5


def test_citation_and_changelog_have_the_version_of_the_package() -> None:
    version = re.findall(r'(?m)^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"))[0]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", version, "Apache-2.0")
    assert f"\n## {version}" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
