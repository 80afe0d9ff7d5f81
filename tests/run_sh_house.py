"""A folder in which run.sh runs with a stub of Python that does no work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

STAGES = [
    "make_corpus",
    "make_manifests",
    "make_lang",
    "align",
    "make_windows",
    "asr_train",
    "asr_decode",
    "make_bitext",
    "mt_train",
    "mt_decode",
    "st",
    "export",
    "make_report",
]
STUB = """#!/bin/bash
# Records its folder and arguments; fails at the stage FAIL, waits at the stage WAIT (beside others, until run.sh ends),
# takes 2 s for the stage SLOW.
[[ $1 == -c ]] && exec REAL_PYTHON "$@"
[[ ${3:-} == halves ]] && echo "${HALVES:-}" && exit
echo "$PWD$(printf '\\t%s' "$@")" >>"$CALLS" # in one piece: two stages may run at the same time
[[ -z ${HALVES:-} ]] || echo "${1##*/} $(taskset -pc $$ | sed 's/.*: //')" >>"$CALLS.cores"
[[ -z ${WAIT:-} || $1 != *$WAIT* ]] || {
  : >"$CALLS.waiting" >"$CALLS.waiting.$$"
  [[ -n ${ML2021_BESIDE:-} ]] || exec sleep 60
  while kill -0 "$ML2021_BESIDE" 2>/dev/null; do sleep 0.1; done
  exit 9
}
[[ -z ${SLOW:-} || $1 != *$SLOW* ]] || sleep 2
[[ -z ${FAIL:-} || $1 != *$FAIL* ]] || exit "${CODE:-1}"
"""


class House:
    """A folder with run.sh, path.sh, conf/ and a stub of Python."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.root, self.calls_file = folder / "house", folder / "calls"
        self.root.mkdir()
        for name in ("run.sh", "path.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(project / name, self.root)
        for name in ("mini", "ml2021"):
            (self.root / "conf" / name).mkdir(parents=True)
        self.python = folder / "python"
        self.python.write_text(STUB.replace("REAL_PYTHON", sys.executable))
        self.python.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "ML2021_PYTHON": str(self.python),
            "CALLS": str(self.calls_file),
            **variables,
        }

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "run.sh"), *arguments],
            cwd=cwd or self.root,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """(stage, options) of each call since the last time; all calls must be in the project's folder."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        calls = []
        for line in lines:
            folder, script, *options = line.split("\t")
            assert folder == str(self.root)
            pairs = dict(zip(options[::2], options[1::2], strict=True))
            calls.append((script.removeprefix("local/").removesuffix(".py"), pairs))
        return calls
