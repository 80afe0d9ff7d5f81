"""Fine-tuning with the base unchanged: LoRA and adapters are trained, and weights that no checkpoint has given."""

from __future__ import annotations

import logging
from collections.abc import Collection

from torch import nn

from ml2021.asr.model.adapter import is_of_adapter
from ml2021.asr.model.config import LoraConfig
from ml2021.asr.model.lora import add_lora, is_update

logger = logging.getLogger(__name__)


def keep_base(model: nn.Module, lora: LoraConfig, new: Collection[str]) -> None:
    """Add the updates of LoRA, if the rank is not 0, and let nothing but these, adapters and new weights be trained.

    Args:
      model: an initialised recogniser, with or without adapters; its outputs do not change.
      lora: the updates.
      new: names of weights of which at least a part starts at random; they have to be trained, whatever else is.
    Raises:
      ConfigError: see add_lora.
    """
    if lora.rank:
        add_lora(model, lora)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_update(name) or is_of_adapter(name) or name in new)
    others = [name for name in new if not is_of_adapter(name)]
    if others:
        logger.warning("trained as a whole, as not all of them is given: %s", ", ".join(sorted(others)))
