"""COMET scores of translations, if COMET is installed.

Its package needs older versions of transformers and numpy than this project, so install it in a separate environment.
It is run as the command comet-score, found on PATH or by the path in the environment variable COMET_SCORE.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.text.normalize import remove_han_spaces
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
COMMAND_VARIABLE = "COMET_SCORE"


def comet_score(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], model: Path
) -> float | None:
    """The COMET score of a system to four decimals; None, with a log message, without comet-score or a checkpoint.

    It runs on the CPU.

    Args:
      sources: transcripts; spaces between Han characters are removed for COMET.
      hypotheses, references: one for each source.
      model: a checkpoint (.ckpt), with its hparams.yaml one folder above.
    Raises:
      DataError: the numbers of sentences differ, or comet-score fails.
    """
    if not len(sources) == len(hypotheses) == len(references):
        raise DataError(
            f"COMET needs equally many of each, got {len(sources)} sources, {len(hypotheses)} hypotheses, "
            f"{len(references)} references"
        )
    command = shutil.which(os.environ.get(COMMAND_VARIABLE, "comet-score"))
    if command is None:
        logger.info(
            "no COMET: no command comet-score; install unbabel-comet in a separate environment and set "
            "%s to the path of its comet-score",
            COMMAND_VARIABLE,
        )
        return None
    if not model.is_file():
        logger.info("no COMET: no checkpoint %s; comet-score --model NAME downloads one", model)
        return None
    with tempfile.TemporaryDirectory() as work:
        arguments = [command, "--model", str(model.resolve()), "--gpus", "0", "--quiet", "--only_system"]
        for option, texts in (("-s", map(remove_han_spaces, sources)), ("-t", hypotheses), ("-r", references)):
            path = Path(work) / f"texts{option}"
            path.write_text("".join(" ".join(text.split()) + "\n" for text in texts), encoding="utf-8")
            arguments += [option, str(path)]
        result = subprocess.run(arguments, capture_output=True, text=True)
    score = re.search(r"score: (-?\d+\.\d+)\s*$", result.stdout)
    if result.returncode or score is None:
        reason = (result.stderr.strip() or result.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise DataError(f"{command} failed with {model} (exit code {result.returncode}): {reason}")
    return float(score[1])
