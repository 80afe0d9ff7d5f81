"""What every executable starts with: its options, logging, and errors of users as one line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.workflow.errors import Ml2021Error


def stage_parser(description: str) -> argparse.ArgumentParser:
    """The options that every stage has; `--a_b` is the same as `--a-b`, abbreviations are refused."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAML files [%(default)s]")
    parser.add_argument("--data", type=Path, default=Path("data/mini"), help="data folder [%(default)s]")
    parser.add_argument("--exp", type=Path, default=Path("exp/mini"), help="experiment folder [%(default)s]")
    return parser


def hyphenated(argv: Sequence[str]) -> list[str]:
    """Let `--a_b` stand for `--a-b` in an argument list."""
    return [
        "--" + a[2:].split("=", 1)[0].replace("_", "-") + ("=" + a.split("=", 1)[1] if "=" in a else "")
        if a.startswith("--")
        else a
        for a in argv
    ]


def run_main(main: Callable[[list[str]], None]) -> None:
    """Entry point of an executable: logging on, users' errors as one line, exit code 1; Ctrl-C is 130."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s (%(filename)s:%(lineno)d:%(funcName)s) %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
    )
    try:
        main(hyphenated(sys.argv[1:]))
    except Ml2021Error as e:
        sys.exit(f"{_program()}: error: {e}")
    except OSError as e:
        if e.errno is None or e.filename is None and "space" not in str(e):
            raise
        sys.exit(f"{_program()}: error: {e.strerror}: {e.filename or ''}")
    except KeyboardInterrupt:
        sys.exit(130)


def _program() -> str:
    """What the user called: the name of a script, or of a module after python -m."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).name
