"""path.sh: what it sets up, what it accepts as complete, and its messages. A stub of Python avoids downloads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

STUB = """#!/bin/bash
# Behaves like Python, but makes empty environments and records its calls.
case "$1 $2" in
  "-m venv") sleep ${VENV_SLEEP:-0}; mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv" >>"$CALLS" ;;
  "-m pip") echo "pip $(tr '\\n' ' ' <"$8")" >>"$CALLS"; [[ -z ${PIP_SAYS:-} ]] || { echo "$PIP_SAYS"; exit 1; } ;;
  *) exec REAL_PYTHON "$@" ;;
esac
"""


class House:
    """A folder with path.sh, and a PATH with only the stub and the system's tools."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.root, self.bin, self.calls_file = folder / "house", folder / "bin", folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        (self.root / "local").mkdir()
        for name in ("path.sh", "pyproject.toml", "constraints.txt", "local/install.py"):
            shutil.copy(project / name, self.root / name)
        self.tool("python3", STUB.replace("REAL_PYTHON", sys.executable))
        self.free_gb(100)

    def tool(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def free_gb(self, gb: int) -> None:
        line = f"/dev/x 1000000000 1 {gb * 1024 * 1024} 1% /"
        self.tool("df", f"#!/bin/bash\nprintf 'Filesystem blocks\\n{line}\\n'\n")

    def environment(self, **variables: str) -> dict[str, str]:
        return {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": "/nonexistent", "CALLS": str(self.calls_file), **variables}

    def source(self, then: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Source path.sh in a new bash, print its status, then run further commands."""
        command = ["bash", "-c", f". ./path.sh; echo status $?; {then}"]
        return subprocess.run(
            command, cwd=self.root, env=self.environment(**variables), capture_output=True, text=True, timeout=60
        )

    def calls(self) -> list[str]:
        """The calls of the stub since the last time."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]


@pytest.fixture
def house(tmp_path: Path, project: Path) -> House:
    return House(tmp_path, project)


def test_first_start_makes_venv_and_second_is_fast(house: House) -> None:
    first = house.source()
    assert "status 0" in first.stdout and "Setting up .venv" in first.stderr and "minutes" in first.stderr
    assert house.calls() == ["venv", "pip"]
    started = time.time()
    second = house.source()
    assert time.time() - started < 3
    assert "status 0" in second.stdout and "Setting up" not in second.stderr
    assert house.calls() == []


def test_sourcing_leaves_the_shell_as_it_was(house: House) -> None:
    result = house.source('false; echo alive; case $- in *e*) echo "errexit";; esac; declare -F | grep -c ml2021')
    assert "alive" in result.stdout and "errexit" not in result.stdout and result.stdout.endswith("\n0\n")
    again = house.source('. ./path.sh; echo "$PYTHONPATH"; cd /; command -v python')
    assert again.stdout.splitlines()[1:] == [f"{house.root}:{house.root}/egs", f"{house.root}/.venv/bin/python"]


def test_works_from_any_folder_and_under_strict_options(house: House) -> None:
    command = ["bash", "-c", f"set -euo pipefail; cd /; . {house.root}/path.sh; echo $ml2021_python"]
    result = subprocess.run(command, env=house.environment(), capture_output=True, text=True, timeout=60)
    assert result.stdout == f"{house.root}/.venv/bin/python\n"


@pytest.mark.parametrize("mark", ["no stamp", "killed while pip changed it", "moved from elsewhere"])
def test_half_made_venv_is_made_again(house: House, mark: str) -> None:
    house.source()
    house.calls()
    venv = house.root / ".venv"
    (venv / "leftover").touch()
    if mark == "no stamp":
        (venv / ".complete").unlink()
    elif mark == "killed while pip changed it":
        (venv / ".changing").touch()
    else:
        (venv / ".complete").write_text("/elsewhere 1 2")
    assert "status 0" in house.source().stdout
    assert house.calls() == ["venv", "pip"]
    assert not (venv / "leftover").exists()


def test_changed_requirements_are_installed_into_the_same_venv(house: House) -> None:
    house.source()
    house.calls()
    with open(house.root / "constraints.txt", "a") as f:
        f.write("# changed\n")
    assert "status 0" in house.source().stdout
    assert house.calls() == ["pip"]
    house.source()
    assert house.calls() == []


def test_update_without_network_keeps_the_complete_venv(house: House) -> None:
    house.source()
    constraints = (house.root / "constraints.txt").read_text()
    (house.root / "constraints.txt").write_text(constraints + "# changed\n")
    failed = house.source(PIP_SAYS="ERROR: Connection timed out")
    assert "status 1" in failed.stdout
    (house.root / "constraints.txt").write_text(constraints)
    house.calls()
    assert "status 0" in house.source().stdout
    assert house.calls() == []


def test_update_that_failed_midway_makes_the_venv_again(house: House) -> None:
    house.source()
    with open(house.root / "constraints.txt", "a") as f:
        f.write("# changed\n")
    house.source(PIP_SAYS="Installing collected packages: torch")
    house.calls()
    assert "status 0" in house.source().stdout
    assert house.calls() == ["venv", "pip"]


def test_extras_are_installed_once_and_only_when_asked_for(house: House) -> None:
    house.source()
    assert "pytest" not in house.calls_file.read_text() and "urllib3" in house.calls_file.read_text()
    house.calls()
    house.source(ML2021_EXTRAS="test")
    assert "pytest" in house.calls_file.read_text()
    assert house.calls() == ["pip"]
    house.source(ML2021_EXTRAS="test")
    house.source()
    assert house.calls() == []


@pytest.mark.parametrize(
    ("pip_says", "remedy"),
    [
        ("WARNING: Retrying: Temporary failure in name resolution", "check the network"),
        ("ERROR: [Errno 28] No space left on device", "is full: free"),
        ("ERROR: ResolutionImpossible", "read"),
    ],
)
def test_failing_pip_names_the_remedy_and_leaves_no_complete_venv(house: House, pip_says: str, remedy: str) -> None:
    result = house.source(PIP_SAYS=pip_says)
    assert "status 1" in result.stdout
    assert pip_says in result.stderr and remedy in result.stderr
    house.calls()
    assert "status 0" in house.source().stdout
    assert house.calls() == ["venv", "pip"]


def test_full_disk_is_reported_with_the_number(house: House) -> None:
    house.free_gb(3)
    result = house.source()
    assert "status 1" in result.stdout
    assert "3 GB free" in result.stderr and "8 GB" in result.stderr
    assert house.calls() == []


def test_wrong_python_is_reported(house: House) -> None:
    for name in ("python3", "python3.10", "python3.11", "python3.12", "python3.13"):
        house.tool(name, "#!/bin/bash\n[[ $1 == --version ]] && echo Python 3.9.2\nexit 1\n")
    result = house.source()
    assert "status 1" in result.stdout
    assert "3.10-3.13" in result.stderr and "Python 3.9.2" in result.stderr and "ML2021_PYTHON" in result.stderr


def test_broken_shim_is_skipped(house: House) -> None:
    for name in ("python3.12", "python3.13"):
        shutil.copy(house.bin / "python3", house.bin / name)
    for name in ("python3", "python3.13"):
        house.tool(name, "#!/bin/bash\necho 'shim: command not found' >&2; exit 127\n")
    result = house.source()
    assert "status 0" in result.stdout
    assert f"{house.bin}/python3.12" in result.stderr


def test_ml2021_python_is_used_as_it_is(house: House) -> None:
    result = house.source("echo $ml2021_python", ML2021_PYTHON=sys.executable)
    assert result.stdout.splitlines() == ["status 0", sys.executable]
    assert not (house.root / ".venv").exists()
    wrong = house.source(ML2021_PYTHON="/no/such/python")
    assert "status 1" in wrong.stdout and "/no/such/python" in wrong.stderr


def test_two_starts_at_once_make_one_venv(house: House) -> None:
    if shutil.which("flock") is None:
        pytest.skip("no flock on this machine")
    command = ["bash", "-c", ". ./path.sh"]
    environment = house.environment(VENV_SLEEP="0.5")
    starts = [subprocess.Popen(command, cwd=house.root, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [s.wait(timeout=60) for s in starts] == [0, 0]
    assert house.calls() == ["venv", "pip"]


def test_k2_and_icefall_are_reported_once(house: House, tmp_path: Path) -> None:
    plain = house.source()
    assert plain.stderr.count("k2: not found") == 1 and plain.stderr.count("icefall: not found") == 1
    checkout, packages = tmp_path / "icefall", tmp_path / "packages"
    (checkout / "egs" / "librispeech").mkdir(parents=True)
    (packages / "k2").mkdir(parents=True)
    (packages / "k2" / "__init__.py").write_text("raise ImportError('must not be imported')")
    both = house.source(". ./path.sh; echo $PYTHONPATH", ICEFALL_ROOT=str(checkout), PYTHONPATH=str(packages))
    assert "status 0" in both.stdout
    assert both.stderr.count("k2: ") == 1 and f"k2: {packages}/k2" in both.stderr
    assert both.stderr.count("icefall: ") == 1 and f"icefall: {checkout}" in both.stderr
    assert both.stdout.splitlines()[-1] == os.pathsep.join(
        map(str, [house.root, house.root / "egs", packages, checkout])
    )
    of_conf = {"ML2021_CONF": str(tmp_path), "PYTHONPATH": ""}
    (tmp_path / "asr.yaml").write_text("asr: {}\n")
    assert "icefall: not found" in house.source(**of_conf).stderr
    (tmp_path / "asr.yaml").write_text(f"icefall: {{root: {checkout}}}\n")
    named = house.source("echo $PYTHONPATH", **of_conf)
    assert f"icefall: {checkout}" in named.stderr and named.stdout.strip().endswith(f":{checkout}")
    assert "/nowhere has no egs" in house.source(ICEFALL_ROOT="/nowhere", **of_conf).stderr
    wrong = house.source(ICEFALL_ROOT="/nowhere")
    assert "status 0" in wrong.stdout and "/nowhere has no egs/librispeech" in wrong.stderr
