"""The language model's training as a stage: what stage 6, and a training by hand in the same folder, depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import Ml2021Error
from lhotse_prep.workflow.stage import Stage
from lhotse_prep.workflow.stage_record import Input, input_at
from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.asr.fusion.config import LmConfig
from ml2021.training.config import CONTINUED

CUTS = ("ml2021_cuts_train.jsonl.gz", "ml2021_cuts_dev.jsonl.gz")  # what training reads of stage 4
TEXTS = ("texts.jsonl", "untranslated.jsonl")  # what training reads of stage 1


def lm_stage(inputs: Sequence[Input], lm_dir: Path, config: LmConfig, redo: bool = False) -> Stage:
    """
    Args:
      inputs: stage 4's folder, stage 2's and, for more texts, stage 1's.
      lm_dir: of the language model.
      config: kind and sizes.
      redo: see Stage.
    """
    return Stage(
        "lm-train",
        lm_dir,
        inputs,
        {"lm": config},
        resumable=True,
        redo=redo,
        continued=[f"lm.train.{name}" for name in CONTINUED],
        old_options=to_mapping(config),
        read_options=_read_options,
    )


def lm_by_hand(cuts: Path, texts: Path | None, lang: Path, lm_dir: Path, config: LmConfig) -> Stage:
    """The same for `python -m ml2021.asr.fusion.train`, whose inputs may be anywhere."""
    more = [] if texts is None else [input_at(texts)]
    if more and more[0].made_by is not None and more[0].files == (TEXTS[0],):
        more = [Input(more[0].path, more[0].made_by, TEXTS)]
    return lm_stage([input_at(cuts, CUTS), input_at(lang), *more], lm_dir, config)


def _read_options(folder: Path) -> Mapping[str, Any] | None:
    """Of a training that left no `.key`: from its config.json, if there is a model or there are checkpoints."""
    from ml2021.asr.model.load import read_config
    from ml2021.training.checkpoint import training_checkpoints

    if not training_checkpoints(folder) and not (folder / "lm.arpa").is_file():
        return None
    try:
        return {"lm": from_mapping(read_config(folder / "config.json"), LmConfig, str(folder / "config.json"))}
    except Ml2021Error:
        return None
