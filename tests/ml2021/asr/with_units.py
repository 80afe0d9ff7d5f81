"""A recogniser with a head on units of pronunciation, for tests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.training.checkpoint import save_checkpoint


def make_with_units(folder: Path, lang: Path, config: AsrConfig, texts: Sequence[str]) -> Path:
    """Write an untrained recogniser with a head on the units of some texts, on the lower stack; returns its folder."""
    shutil.copytree(lang, folder / "lang")
    units = PronunciationUnits.of_texts(texts, 10)
    units.save(folder / "units")
    model_config = replace(config.model, units_ctc_scale=0.5, units_stacks=1)
    write_json(folder / "config.json", to_mapping(replace(config, model=model_config)))
    torch.manual_seed(0)
    model = AsrModel(model_config, len(load_lang(folder / "lang")), len(units))
    save_checkpoint(folder / "pretrained.pt", {"model": model.state_dict()})
    return folder
