"""The trained recogniser of an experiment folder, ready to decode with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lhotse_prep.config import from_mapping
from lhotse_prep.errors import DataError
from lhotse_prep.tokens import TokenTable, load_lang
from ml2021.asr.model import AsrModel
from ml2021.checkpoint import load_checkpoint
from ml2021.config import AsrConfig


def load_model(exp_dir: Path, weights: Mapping[str, Tensor] | None = None) -> tuple[AsrModel, TokenTable, AsrConfig]:
    """Read what training left in exp_dir: config.json, lang/ and pretrained.pt.

    Args:
      exp_dir: for example exp/mini/asr.
      weights: a state_dict to use in the place of pretrained.pt's, such as checkpoint.load_averaged gives.
    Returns:
      The model in evaluation mode on the CPU, its tokens, and the configuration it was trained with.
    Raises:
      DataError: a file is missing or damaged, or the weights do not fit the configuration and tokens.
    """
    config = _read_config(exp_dir / "config.json")
    tokens = load_lang(exp_dir / "lang")
    model = AsrModel(config.model, len(tokens))
    if weights is None:
        weights = load_checkpoint(exp_dir / "pretrained.pt")["model"]
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        raise DataError(
            f"the weights do not fit {exp_dir}/config.json and its {len(tokens)} tokens: "
            f"{str(e).splitlines()[-1].strip()}; take all three from one training"
        ) from e
    return model.eval(), tokens, config


def _read_config(path: Path) -> AsrConfig:
    if not path.is_file():
        raise DataError(f"no {path}: train the recogniser first (stage 5), or name another folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise DataError(f"{path} is not JSON ({e}); train again, or take the file of the same training") from e
    return from_mapping(content, AsrConfig, str(path))
