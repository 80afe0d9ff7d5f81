"""The recogniser's training as a stage: what stage 5, and a training by hand in the same folder, depend on.

Imported before it is known whether there is anything to do, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import ConfigError, Ml2021Error
from lhotse_prep.workflow.stage import Stage, read_done
from lhotse_prep.workflow.stage_record import Input, input_at
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.train.config import AsrConfig, AsrDataConfig, require_base
from ml2021.training.config import CONTINUED

CUTS = ("ml2021_cuts_train*", "ml2021_cuts_dev*", "feats_train*", "feats_dev*")  # what training reads of stage 4
SHAR, LARGE = ("cuts*.jsonl*", "recording*.tar", "features*.tar"), ("*.tar",)  # files of Lhotse Shar


def training_stage(
    inputs: tuple[Input, Input | None],
    exp_dir: Path,
    config: AsrConfig,
    init_from: Input | None,
    init_modules: tuple[str, ...],
    trainer: str = "ml2021",
    redo: bool = False,
) -> Stage:
    """
    Args:
      inputs: stage 2's folder and stage 4's; None: there is none, as all windows are in Shar.
      exp_dir: of the training.
      config: model, data and training.
      init_from: the checkpoint with the initial weights.
      init_modules: the modules that are initialised; (): all.
      trainer: ml2021 or icefall.
      redo: see Stage.
    Raises:
      ConfigError: icefall is to train from Shar, with a head on units, or with LoRA or adapters; these have no
        checkpoint to start from.
    """
    require_base(config, init_from is not None)
    if trainer == "icefall" and config.keeps_base:
        raise ConfigError("--trainer icefall trains all weights: set lora.rank and model.adapter_dim to 0")
    if trainer == "icefall" and config.model.has_units_head:
        raise ConfigError("--trainer icefall has no head on units of pronunciation: set model.units_ctc_scale to 0")
    if trainer == "icefall" and (config.data.shar_dir or config.data.shar_dev_dir):
        raise ConfigError("--trainer icefall reads stage 4's manifests: take shar_dir and shar_dev_dir out of data")
    if trainer == "icefall" and config.data.mux_cuts:
        raise ConfigError("--trainer icefall reads stage 4's manifests: take mux_cuts and mux_weights out of data")
    augmentation = [f for f in (config.data.noise_cuts, config.data.sound_augment.rir_recordings) if f is not None]
    manifests = [Input(Path(file), is_new=True) for file in (*augmentation, *config.data.mux_cuts)]
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
        [inputs[0], *_windows(inputs[1], config.data), *initial, *manifests],
        {"asr": config, **others},
        resumable=True,
        redo=redo,
        continued=[f"asr.train.{name}" for name in CONTINUED],
        old_options=_as_of_version_0_2(config) | ({"trainer": trainer} if trainer != "ml2021" else {}),
        read_options=read_options,
    )


def needs_units(config: AsrConfig) -> bool:
    """Whether the units of pronunciation beside the initial weights matter."""
    return config.init_tokens_from_aligner or config.model.has_units_head


def _windows(manifests: Input | None, data: AsrDataConfig) -> list[Input]:
    """What training reads of stage 4's folder, and the folders with Shar that it reads instead."""
    folders = [*data.shar_dir, *data.shar_dev_dir]
    shar = [Input(Path(folder), files=SHAR, is_new=True, by_size=LARGE) for folder in folders]
    if manifests is None or (data.shar_dir and data.shar_dev_dir):
        return shar
    unread = ["_train"] * bool(data.shar_dir) + ["_dev"] * bool(data.shar_dev_dir)
    files = tuple(f for f in manifests.files if not any(part in f for part in unread))
    return [replace(manifests, files=files), *shar]


def _as_of_version_0_2(config: AsrConfig) -> dict[str, Any]:
    """The options as that version hashed them, which knew no Shar."""
    values = to_mapping(config)
    new = [name for name in values["data"] if name.startswith("shar_") and not values["data"][name]]
    return values | {"data": {name: value for name, value in values["data"].items() if name not in new}}


def training_by_hand(
    cuts: Path | None,
    lang: Path,
    exp_dir: Path,
    config: AsrConfig,
    init_from: Path | None,
    init_modules: tuple[str, ...],
) -> Stage:
    """The same for `python -m ml2021.asr.train`, whose inputs may be anywhere."""
    initial = input_at(init_from) if init_from is not None else None
    if initial is not None and initial.made_by is not None and needs_units(config):
        units = [str(Path(file).parent / "units*") for file in initial.files]  # beside it, as stage 5 has them
        initial = replace(initial, files=(*initial.files, *units))
    windows = None
    if cuts is not None:  # stage 4 has read the features already
        windows = input_at(cuts, CUTS if read_done(cuts) is not None else CUTS[:2])
    return training_stage((input_at(lang), windows), exp_dir, config, initial, init_modules)
