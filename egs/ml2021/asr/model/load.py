"""Load the trained recogniser of an experiment folder for decoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lhotse_prep.tokens.lang import lang_hash, load_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.model.config import LoraConfig, TransducerConfig
from ml2021.asr.model.lora import merge_lora
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.spelling import load_spelling
from ml2021.training.checkpoint import load_checkpoint


def load_model(exp_dir: Path, weights: Mapping[str, Tensor] | None = None) -> tuple[AsrModel, TokenTable]:
    """Load the recogniser that training wrote to exp_dir: config.json, lang/, pretrained.pt and maybe units/.

    Args:
      exp_dir: for example exp/mini/asr.
      weights: a state_dict to use instead of pretrained.pt, for example from checkpoint.load_averaged; updates of LoRA
        in it are merged.
    Returns:
      The model, in evaluation mode on the CPU, and its tokens.
    Raises:
      DataError: a file is missing or damaged, the weights do not fit the configuration and the tokens, or
        pretrained.pt was trained with tokens other than those in exp_dir/lang.
    """
    path = exp_dir / "config.json"
    content = read_config(path)
    config = from_mapping(content.get("model", {}), TransducerConfig, f"{path}: model")
    lora = from_mapping(content.get("lora", {}), LoraConfig, f"{path}: lora")
    tokens = load_lang(exp_dir / "lang")
    spelling = load_spelling(exp_dir, tokens) if config.has_units_head else None
    model = AsrModel(config, len(tokens), len(spelling.units) if spelling is not None else 0)
    model.spelling = spelling
    if weights is None:
        checkpoint = load_checkpoint(exp_dir / "pretrained.pt")
        require_same_vocabulary(exp_dir / "pretrained.pt", checkpoint, exp_dir / "lang")
        weights = checkpoint["model"]
    try:
        model.load_state_dict(merge_lora(weights, lora.alpha))
    except RuntimeError as e:
        raise DataError(
            f"the weights do not fit {exp_dir}/config.json and its {len(tokens)} tokens: "
            f"{str(e).splitlines()[-1].strip()}; use all three files of the same training"
        ) from e
    return model.eval(), tokens


def vocabulary_name(lang_dir: Path) -> str:
    """The name under which a checkpoint records the tokens that it was trained with."""
    return f"{len(load_lang(lang_dir))} tokens, sha256 {lang_hash(lang_dir)[:16]}"


def require_same_vocabulary(checkpoint: Path, content: Mapping[str, Any], lang_dir: Path) -> None:
    """Raise DataError if a checkpoint records tokens other than those of lang_dir (icefall's record none)."""
    name = content.get("fingerprint", {}).get("vocabulary")
    if name is not None and name != vocabulary_name(lang_dir):
        raise DataError(
            f"{checkpoint} was trained with {name}, but {lang_dir} has {vocabulary_name(lang_dir)}, so "
            "its words would come out wrong; restore the lang folder of that training, or train again"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of an experiment folder: the sections (model, data, train ...) of the recogniser's training.

    Raises:
      DataError: the file is missing or is not a JSON object.
    """
    if not path.is_file():
        raise DataError(f"no {path}: train the recogniser first (stage 5), or name another folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise DataError(f"{path} is not JSON ({e}); restore the file of that training, or train again") from e
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no configuration; restore the file of that training, or train again")
    return content
