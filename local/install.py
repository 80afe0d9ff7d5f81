#!/usr/bin/env python3
"""Install the requirements of pyproject.toml into .venv; path.sh runs this with .venv's Python.

    .venv/bin/python local/install.py STAMP [EXTRA]

EXTRA is an extra of pyproject.toml to install too. While pip runs, .venv/.changing is there; afterwards STAMP is in
.venv/.complete and in .venv/.complete-EXTRA.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = ROOT / ".venv.log"
NETWORK_ERRORS = ("connection", "timed out", "name resolution", "network is unreachable", "proxy")


def requirements(extras: list[str]) -> list[str]:
    """Those of the project and of some of its extras."""
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    all_extras = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in all_extras]
    if unknown:
        sys.exit(f"path.sh: error: no extra {unknown[0]!r} (ML2021_EXTRAS); pyproject.toml has {', '.join(all_extras)}")
    return [*project["dependencies"], *(line for extra in extras for line in all_extras[extra])]


def pip_install(lines: list[str]) -> int:
    """Run pip, show its output on standard error and copy it to the log; returns its exit code."""
    path = VENV / ".requirements.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["-c", str(ROOT / "constraints.txt"), "-r", str(path)]
    # pip inherits the lock that path.sh holds, so that no second start runs beside it
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=False)
    with pip, open(LOG, "wb") as log:
        for line in pip.stdout or ():
            for file in (log, sys.stderr.buffer):
                file.write(line)
                file.flush()
    return pip.returncode


def remedy(output: str) -> str:
    """What to do about a failure of pip, from its output in lower case."""
    if "no space left" in output:
        return f"the disk of {ROOT} or of {tempfile.gettempdir()} is full: free 8 GB, or set TMPDIR to a larger disk"
    if any(error in output for error in NETWORK_ERRORS):
        return "check the network (or PIP_INDEX_URL, HTTPS_PROXY), then run the same command again"
    return f"read {LOG}, then run the same command again"


def main(stamp: str, extras: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    lines = requirements(extras)
    changing = VENV / ".changing"
    changing.touch()
    if pip_install(lines) != 0:
        output = LOG.read_text(encoding="utf-8", errors="replace").lower()
        if "installing collected packages" not in output:  # pip has changed nothing
            changing.unlink()
        sys.exit(f"path.sh: error: pip could not install the requirements: {remedy(output)}")
    for extra in extras:
        (VENV / f".complete-{extra}").write_text(stamp, encoding="utf-8")
    changing.unlink()
    (VENV / ".complete").write_text(stamp, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
