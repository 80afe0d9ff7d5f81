"""The icefall checkout that the environment or conf names: is it there, new enough, can its interpreter run it?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.workflow.errors import ConfigError, DataError

PROJECT = Path(__file__).resolve().parents[4]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
RECIPE = Path("egs", "librispeech", "ASR", "zipformer")
GET_IT = (
    "git clone https://github.com/k2-fsa/icefall, then export ICEFALL_ROOT=/path/to/icefall, or put "
    "`icefall: {root: /path/to/icefall}` into asr.yaml"
)
INSTALL = (
    "install k2's wheel for its torch from https://k2-fsa.github.io/k2 and the rest with "
    "`pip install lhotse lilcom urllib3 tensorboard six` and `pip install -r $ICEFALL_ROOT/requirements.txt`, "
    "or name an interpreter that has them: export ICEFALL_PYTHON=/path/to/python (icefall.python in asr.yaml)"
)


@dataclass(frozen=True)
class IcefallConfig:
    """Section icefall of asr.yaml; what the environment says (ICEFALL_ROOT, ICEFALL_PYTHON) goes before it."""

    root: str = ""  # a checkout of k2-fsa/icefall
    python: str = ""  # an interpreter that has k2 and icefall's requirements; "": the one that runs the recipe


@dataclass(frozen=True)
class Checkout:
    """Of icefall, and the interpreter that its scripts run in."""

    root: Path
    python: str

    def run(self, script: str, options: Mapping[str, object]) -> None:
        """Run train or decode of the zipformer recipe with options; its output goes where ours goes.

        Raises:
          DataError: it failed.
        """
        command = [self.python, "-m", script]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        code = subprocess.run(command, env=self.environment(), check=False).returncode
        if code:
            raise DataError(f"icefall's {RECIPE / script}.py failed (exit status {code}); its message is above")

    def environment(self) -> dict[str, str]:
        """Variables for icefall's interpreter: on its path our asr_datamodule, the recipe, icefall, this project."""
        path = [str(p) for p in (SCRIPTS, self.root / RECIPE, self.root, PROJECT, PROJECT / "egs")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def find_checkout(options: Mapping[str, Sequence[str]], config: IcefallConfig | None = None) -> Checkout:
    """The checkout that ICEFALL_ROOT or else conf names, run by ICEFALL_PYTHON, conf's, or else this interpreter.

    Args:
      options: {train or decode: the options that it must know}.
    Raises:
      ConfigError: none is named or it has no such recipe, the checkout is too old, or its interpreter lacks k2
        or another of its requirements.
    """
    config = config or IcefallConfig()
    in_environment = os.environ.get("ICEFALL_ROOT", "")
    value = in_environment or config.root
    if not value:
        raise ConfigError(f"--trainer icefall needs an icefall checkout and ICEFALL_ROOT is not set: {GET_IT}")
    named = f"ICEFALL_ROOT={value}" if in_environment else f"asr.yaml: icefall.root {value}"
    root = Path(value).resolve()
    for script, names in options.items():
        path = root / RECIPE / f"{script}.py"
        if not path.is_file():
            raise ConfigError(f"{named} has no {RECIPE / script}.py: {GET_IT}")
        source = path.read_text(encoding="utf-8")
        missing = [name for name in names if f'"--{name}"' not in source]
        if missing:
            raise ConfigError(
                f"{named} is too old: its {script}.py has no option --{missing[0]}; "
                "bring it up to date with git pull (36e0420 of 2026 is known to work)"
            )
    checkout = Checkout(root, os.environ.get("ICEFALL_PYTHON") or config.python or sys.executable)
    _require_imports(checkout)
    return checkout


def _require_imports(checkout: Checkout) -> None:
    code = "import k2, lhotse, lilcom, sentencepiece, kaldialign, torch.utils.tensorboard, icefall, asr_datamodule"
    command = [checkout.python, "-c", code]
    try:
        done = subprocess.run(command, env=checkout.environment(), capture_output=True, text=True, check=False)
    except OSError as e:
        remedy = "ICEFALL_PYTHON or icefall.python in asr.yaml must be a Python"
        raise ConfigError(f"{checkout.python} does not run ({e.strerror}); {remedy}") from e
    if done.returncode:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ConfigError(f"icefall cannot run in {checkout.python}: {said}; {INSTALL}")
