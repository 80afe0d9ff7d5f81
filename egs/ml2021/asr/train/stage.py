"""The recogniser's training as a stage: what stage 5, and a training by hand in the same folder, depend on.

Imported before it is known whether there is anything to do, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import Ml2021Error
from lhotse_prep.workflow.stage import Stage, read_done
from lhotse_prep.workflow.stage_record import Input, input_at
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.train.config import AsrConfig
from ml2021.training.config import CONTINUED

CUTS = ("ml2021_cuts_train*", "ml2021_cuts_dev*", "feats_train*", "feats_dev*")  # what training reads of stage 4


def training_stage(
    inputs: tuple[Input, Input],
    exp_dir: Path,
    config: AsrConfig,
    init_from: Input | None,
    init_modules: tuple[str, ...],
    trainer: str = "ml2021",
    redo: bool = False,
) -> Stage:
    """
    Args:
      inputs: stage 2's folder and stage 4's.
      exp_dir: of the training.
      config: model, data and training.
      init_from: the checkpoint with the initial weights.
      init_modules: the modules that are initialised; (): all.
      trainer: ml2021 or icefall.
      redo: see Stage.
    """
    noise = [Input(Path(config.data.noise_cuts), is_new=True)] if config.data.noise_cuts is not None else []
    initial = [init_from] if init_from is not None else []
    others = {"trainer": trainer, "init_modules": list(init_modules)}

    def read_options(folder: Path) -> Mapping[str, Any] | None:
        """Of a training that left no `.key`: from its config.json, if there are checkpoints to go on from."""
        from ml2021.asr.train.options import read_asr_config
        from ml2021.training.checkpoint import training_checkpoints

        try:
            return {"asr": read_asr_config(folder), **others} if training_checkpoints(folder) else None
        except Ml2021Error:
            return None

    return Stage(
        "asr-train",
        exp_dir,
        [*inputs, *initial, *noise],
        {"asr": config, **others},
        resumable=True,
        redo=redo,
        continued=[f"asr.train.{name}" for name in CONTINUED],
        old_options=to_mapping(config) | ({"trainer": trainer} if trainer != "ml2021" else {}),
        read_options=read_options,
    )


def training_by_hand(
    cuts: Path, lang: Path, exp_dir: Path, config: AsrConfig, init_from: Path | None, init_modules: tuple[str, ...]
) -> Stage:
    """The same for `python -m ml2021.asr.train`, whose inputs may be anywhere."""
    initial = input_at(init_from) if init_from is not None else None
    windows = input_at(cuts, CUTS if read_done(cuts) is not None else CUTS[:2])  # stage 4 has read the features already
    return training_stage((input_at(lang), windows), exp_dir, config, initial, init_modules)
