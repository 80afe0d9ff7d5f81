#!/usr/bin/env python3
"""Write docs/configuration.md from the configuration dataclasses: key, type, default and the comment beside the field.

--check writes nothing and exits with 1 if the page is not what would be written.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import io
import json
import re
import tokenize
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.text.config import TextConfig
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_text
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.icefall.config import IcefallConfig
from ml2021.asr.train.config import AsrConfig
from ml2021.mt.config import MtConfig, TranslateConfig
from ml2021.st.config import SentenceConfig, SubtitleConfig

PAGE = Path(__file__).resolve().with_name("configuration.md")
SECTIONS: dict[str, dict[str, tuple[type, str]]] = {  # {file: {section: (its dataclass, who reads it)}}
    "prep.yaml": {
        "mini": (MiniConfig, "stage 0, for `--corpus mini`"),
        "corpus": (CorpusConfig, "stage 0"),
        "text": (TextConfig, "stage 1"),
        "checks": (CheckConfig, "stages 0 and 1"),
        "lang": (LangConfig, "stage 2"),
        "stretches": (StretchConfig, "stage 3"),
        "windows": (WindowConfig, "stage 4"),
        "bitext": (BitextConfig, "stage 7"),
    },
    "asr.yaml": {
        "aligner": (AlignerConfig, "stage 3"),
        "asr": (AsrConfig, "stage 5"),
        "icefall": (IcefallConfig, "stages 5 and 6, with `--trainer icefall`"),
    },
    "decode.yaml": {
        "decode": (DecodeConfig, "stages 6 and 10"),
        "lm": (LmConfig, "stage 6"),
        "sentences": (SentenceConfig, "stage 10"),
        "subtitles": (SubtitleConfig, "stage 10"),
    },
    "mt.yaml": {"mt": (MtConfig, "stage 8"), "translate": (TranslateConfig, "stages 9 and 10")},
}
HEAD = """\
# Configuration

The values of a run are in a folder of four YAML files, which `--conf` names. The repository has three:
[conf/smoke](../conf/smoke) (a minute, teaches nothing), [conf/mini](../conf/mini) (two CPU cores) and
[conf/ml2021](../conf/ml2021) (the real lectures, one GPU). To change a value, copy a folder and edit the copy.

- A key that is left out has the default below. A folder of `conf/` may set another value: look there too.
- An unknown section, an unknown key, a key that appears twice or a value of the wrong type is an error before any work.
- A list is written `[a, b]`, a nested group as an indented mapping: the key `data.max_duration` of section `asr` is
  `asr: {data: {max_duration: 80.0}}`.
- A stage runs again when a value changes that its results depend on. A training goes on with more epochs; what it would
  have to begin anew for another change stays as it is without `--redo` (see [training.md](training.md)).

`docs/make_configuration.py` makes this page from the dataclasses that read the files. Do not edit it by hand.
"""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    args = parser.parse_args(argv)
    if not args.check:
        write_text(PAGE, page())
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        raise DataError(f"{PAGE} is out of date; run python docs/make_configuration.py")


def page() -> str:
    """The text of docs/configuration.md."""
    shared = _shared_groups()
    contents = ["| file | section | read by |", "|---|---|---|"]
    body = []
    for file, sections in SECTIONS.items():
        body.append(f"## {file}\n")
        for section, (cls, reader) in sections.items():
            title = f"{file}: {section}"
            contents.append(f"| {file} | [{section}](#{slug(title)}) | {reader} |")
            body += [f"### {title}\n", f"{_summary(cls)} Read by {reader}.\n", *_tables(cls, section, shared)]
    body.append("## Groups that several sections have\n")
    for cls, places in shared.items():
        body += [
            f"### {_group_title(cls)}\n",
            f"{_summary(cls)} Found at {', '.join(f'`{p}`' for p in places)}.\n",
            _table(cls, shared),
        ]
    return "\n".join([HEAD, "\n".join(contents) + "\n", *body])


def undocumented() -> list[str]:
    """Class.field of each field of a section or group that has no comment."""
    return sorted(
        {
            f"{cls.__name__}.{f.name}"
            for _, cls in _all_groups()
            for f in dataclasses.fields(cls)
            if group_of(cls, f.name) is None and not _comment(cls, f.name)
        }
    )


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def group_of(cls: type, name: str) -> type | None:
    """The dataclass of a field that is a nested group, else None."""
    hint = typing.get_type_hints(cls)[name]
    return hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None


def _groups(cls: type, place: str) -> Iterator[tuple[str, type]]:
    """A dataclass and the groups inside it: (section.key, dataclass)."""
    yield place, cls
    for f in dataclasses.fields(cls):
        group = group_of(cls, f.name)
        if group is not None:
            yield from _groups(group, f"{place}.{f.name}")


def _all_groups() -> list[tuple[str, type]]:
    sections = [(section, cls) for file in SECTIONS.values() for section, (cls, _) in file.items()]
    return [group for section, cls in sections for group in _groups(cls, section)]


def _shared_groups() -> dict[type, list[str]]:
    """{dataclass: where it is found} of those that are found at more than one place."""
    places: dict[type, list[str]] = {}
    for place, cls in _all_groups():
        places.setdefault(cls, []).append(place)
    return {cls: keys for cls, keys in places.items() if len(keys) > 1}


def _tables(cls: type, place: str, shared: dict[type, list[str]]) -> list[str]:
    """The table of a section, then those of its groups, but for shared groups."""
    texts = [_table(cls, shared)]
    for f in dataclasses.fields(cls):
        group = group_of(cls, f.name)
        if group is not None and group not in shared:
            texts += [f"#### {place}.{f.name}\n", f"{_summary(group)}\n", *_tables(group, f"{place}.{f.name}", shared)]
    return texts


def _table(cls: type, shared: dict[type, list[str]]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for f in dataclasses.fields(cls):
        group = group_of(cls, f.name)
        if group is not None:
            where = f"[{_group_title(group)}](#{slug(_group_title(group))})" if group in shared else "the table below"
            comment = _comment(cls, f.name)
            rows.append(f"| `{f.name}` | group | | {where}{f' ({comment})' if comment else ''} |")
        else:
            kind, default = _type(typing.get_type_hints(cls)[f.name]), json.dumps(f.default, ensure_ascii=False)
            rows.append(f"| `{f.name}` | {kind} | `{default}` | {_comment(cls, f.name)} |")
    return "\n".join(rows) + "\n"


def _group_title(cls: type) -> str:
    """`TrainConfig` -> `Group train`."""
    words = re.findall(r"[A-Z][a-z]+", cls.__name__.removesuffix("Config"))
    return f"Group {' '.join(words).lower()}"


def _type(hint: Any) -> str:
    """A type in the words of a YAML file."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else _type(a) for a in args)
    if origin is tuple:
        return f"list of {_type(args[0])}"
    return {bool: "true/false", int: "integer", float: "number", str: "text"}[hint]


def _summary(cls: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _comment(cls: type, name: str) -> str:
    """The comment at the end of a field's line, or on the lines above it; that of the class that declares the field."""
    owner = next(c for c in cls.__mro__ if name in vars(c).get("__annotations__", {}))
    trailing, whole_lines = _comments(inspect.getsourcefile(owner) or "")
    last, first = _lines(owner)[name]
    if last in trailing:
        return _escaped(trailing[last])
    above = []
    while (first := first - 1) in whole_lines:
        above.append(whole_lines[first])
    return _escaped(" ".join(reversed(above)))


def _escaped(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"<(?=\w)", "&lt;", text.replace("|", "\\|"))


@cache
def _comments(path: str) -> tuple[dict[int, str], dict[int, str]]:
    """Comments of a source file by line: those after code, and those that have a line of their own."""
    trailing: dict[int, str] = {}
    whole_lines: dict[int, str] = {}
    source = Path(path).read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            is_whole = not token.line[: token.start[1]].strip()
            (whole_lines if is_whole else trailing)[token.start[0]] = token.string.lstrip("#").strip()
    return trailing, whole_lines


@cache
def _lines(cls: type) -> dict[str, tuple[int, int]]:
    """{field: (last line, first line)} of the fields that a class declares, in its source file."""
    tree = ast.parse(Path(inspect.getsourcefile(cls) or "").read_text(encoding="utf-8"))
    body = next(n.body for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
    return {
        node.target.id: (node.end_lineno or node.lineno, node.lineno)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


if __name__ == "__main__":
    run_main(main)
