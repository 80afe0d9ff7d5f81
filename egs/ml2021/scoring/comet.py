"""COMET of translations, where it is installed.

Its package asks for older versions of transformers and numpy than ours, so it lives in an environment of its own and
is run as its own command, comet-score: the one on the PATH, or the one that the variable COMET_SCORE names.
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
    """COMET of a system, to four places, or None, which is logged, where there is no comet-score or no checkpoint.

    It runs on the CPU.

    Args:
      sources: transcripts, with spaces between Han characters or without: COMET reads them without.
      hypotheses, references: as many.
      model: a checkpoint (.ckpt) with the hparams.yaml of its model one folder above it.
    Raises:
      DataError: not as many of each, or comet-score fails.
    """
    if not len(sources) == len(hypotheses) == len(references):
        raise DataError(
            f"COMET needs as many of each: {len(sources)} sources, {len(hypotheses)} hypotheses, "
            f"{len(references)} references"
        )
    command = shutil.which(os.environ.get(COMMAND_VARIABLE, "comet-score"))
    if command is None:
        logger.info(
            "no COMET: no command comet-score; install unbabel-comet in an environment of its own, and let "
            "%s name its comet-score",
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
        done = subprocess.run(arguments, capture_output=True, text=True)
    found = re.search(r"score: (-?\d+\.\d+)\s*$", done.stdout)
    if done.returncode or found is None:
        reason = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise DataError(f"{command} failed with {model} (exit code {done.returncode}): {reason}")
    return float(found[1])
