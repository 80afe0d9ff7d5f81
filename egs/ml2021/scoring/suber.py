"""SubER (Wilken et al., 2022): the edit rate of subtitles, with their line ends and times, if it is installed.

    python -m ml2021.scoring.suber REF.srt HYP.srt [--language zh]

Its package pins other versions of sacrebleu and jiwer than this project, so install it in a separate environment (or
without its dependencies, but with jiwer). It is run as the command suber, found on PATH or by the path in the
environment variable SUBER, which may also be a Python that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError

COMMAND_VARIABLE = "SUBER"
LANGUAGES = ("zh", "ja", "ko")  # that it must be told, because they have no spaces


def suber_score(hypothesis: Path, reference: Path, language: str = "") -> float:
    """SubER in percent; 0 is perfect.

    Args:
      hypothesis, reference: .srt files of one language.
      language: zh, ja or ko; "" for any other.
    Raises:
      ConfigError: SubER is not installed.
      DataError: a file is missing, or SubER cannot read one.
    """
    for path in (hypothesis, reference):
        if not path.is_file():
            raise DataError(f"no such file: {path}")
        if path.suffix.lower() != ".srt":
            raise DataError(f"{path}: SubER reads .srt files only")
    arguments = [*_command(), "-H", str(hypothesis.resolve()), "-R", str(reference.resolve()), "-m", "SubER"]
    result = subprocess.run(arguments + (["-l", language] if language else []), capture_output=True, text=True)
    try:
        return float(json.loads(result.stdout)["SubER"])
    except (ValueError, KeyError, TypeError):
        lines = (result.stderr.strip() or result.stdout.strip() or "it printed nothing").splitlines()
        raise DataError(
            f"SubER failed on {hypothesis} and {reference} (exit code {result.returncode}): {lines[-1]}"
        ) from None


def _command() -> list[str]:
    """What runs SubER."""
    given = os.environ.get(COMMAND_VARIABLE, "suber")
    path = shutil.which(given)
    if path is None:
        raise ConfigError(
            f"SubER is not installed (no command {given}): python -m venv suber && suber/bin/pip install "
            f"subtitle-edit-rate, then export {COMMAND_VARIABLE}=$PWD/suber/bin/suber"
        )
    return [path, "-m", "suber"] if Path(path).name.startswith("python") else [path]


def main(argv: list[str]) -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.scoring.suber",
        allow_abbrev=False,
        description="SubER of subtitles (Wilken et al., 2022): edits of words, line ends and cue ends in percent.",
    )
    parser.add_argument("reference", type=Path, help="reference .srt")
    parser.add_argument("hypothesis", type=Path, help=".srt to score")
    parser.add_argument("--language", choices=LANGUAGES, default="", help="of Chinese, Japanese or Korean subtitles")
    args = parser.parse_args(argv)
    print(f"SubER {suber_score(args.hypothesis, args.reference, args.language):.2f}")


if __name__ == "__main__":
    run_main(main)
