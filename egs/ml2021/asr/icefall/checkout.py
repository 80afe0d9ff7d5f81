"""Find the icefall checkout named by the environment or asr.yaml, and check that it is recent and can be run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.icefall.config import IcefallConfig

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
class Checkout:
    """A checkout of icefall and the Python interpreter that runs its scripts."""

    root: Path
    python: str

    def run(self, script: str, options: Mapping[str, object]) -> None:
        """Run a script of the zipformer recipe, `train` or `decode`; it shares our standard output and error.

        Raises:
          DataError: the script failed.
        """
        command = [self.python, "-m", script]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        code = subprocess.run(command, env=self.environment(), check=False).returncode
        if code:
            raise DataError(f"icefall's {RECIPE / script}.py failed (exit status {code}); its message is above")

    def environment(self) -> dict[str, str]:
        """Environment variables with a PYTHONPATH of our asr_datamodule, the recipe, icefall and this project."""
        path = [str(p) for p in (SCRIPTS, self.root / RECIPE, self.root, PROJECT, PROJECT / "egs")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def find_checkout(options: Mapping[str, Sequence[str]], config: IcefallConfig | None = None) -> Checkout:
    """Find the checkout of ICEFALL_ROOT or, if unset, of config, and its interpreter.

    The interpreter is ICEFALL_PYTHON, else config.python, else the one that runs this code.

    Args:
      options: {script, train or decode: the options that it must have}.
      config: section icefall of asr.yaml.
    Raises:
      ConfigError: no checkout is named, it lacks the recipe or is too old, or its interpreter lacks k2 or another
        requirement of icefall.
    """
    config = config or IcefallConfig()
    in_environment = os.environ.get("ICEFALL_ROOT", "")
    value = in_environment or config.root
    if not value:
        raise ConfigError(f"--trainer icefall needs an icefall checkout and ICEFALL_ROOT is not set: {GET_IT}")
    setting = f"ICEFALL_ROOT={value}" if in_environment else f"asr.yaml: icefall.root {value}"
    root = Path(value).resolve()
    for script, names in options.items():
        path = root / RECIPE / f"{script}.py"
        if not path.is_file():
            raise ConfigError(f"{setting} has no {RECIPE / script}.py: {GET_IT}")
        source = path.read_text(encoding="utf-8")
        missing = [name for name in names if f'"--{name}"' not in source]
        if missing:
            raise ConfigError(
                f"{setting} is too old: its {script}.py has no option --{missing[0]}; "
                "update it with git pull (commit 36e0420 of 2026 is known to work)"
            )
    checkout = Checkout(root, os.environ.get("ICEFALL_PYTHON") or config.python or sys.executable)
    _require_imports(checkout)
    return checkout


def _require_imports(checkout: Checkout) -> None:
    code = "import k2, lhotse, lilcom, sentencepiece, kaldialign, torch.utils.tensorboard, icefall, asr_datamodule"
    command = [checkout.python, "-c", code]
    try:
        result = subprocess.run(command, env=checkout.environment(), capture_output=True, text=True, check=False)
    except OSError as e:
        remedy = "ICEFALL_PYTHON or icefall.python in asr.yaml must be a Python interpreter"
        raise ConfigError(f"{checkout.python} does not run ({e.strerror}); {remedy}") from e
    if result.returncode:
        message = (result.stderr.strip() or "no message").splitlines()[-1]
        raise ConfigError(f"icefall cannot run in {checkout.python}: {message}; {INSTALL}")
