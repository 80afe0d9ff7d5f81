"""Beginning with the weights of another training: all of them or some modules, also for another vocabulary.

The checkpoint may be ours or icefall's: epoch-N.pt, checkpoint-N.pt or pretrained.pt = {"model": state_dict}.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.resume import shape_differences

logger = logging.getLogger(__name__)


def init_from(model: nn.Module, path: Path, modules: Sequence[str] = (), other_vocabulary: bool = False) -> None:
    """Take weights from a checkpoint; where the vocabularies differ, what has one row a token stays as it is. A causal
    model may begin as one that is not, and then hears the same in one chunk.

    Args:
      model: a recogniser with random weights.
      path: a checkpoint with the key `model`.
      modules: names of modules to take, such as encoder or joiner.encoder_proj; none: the whole model.
      other_vocabulary: the checkpoint's token ids are known to mean other tokens. Else their number tells.
    Raises:
      DataError: no such module in the model or in the checkpoint, or one whose weights have another shape.
    """
    found, own = load_checkpoint(path)["model"], model.state_dict()
    if not modules:
        found = _with_our_heads(found, own, path)
    found = _as_causal(found, own, path)
    chosen = _chosen(own, modules, f"the model; its modules are {', '.join(n for n, _ in model.named_children())}")
    offered = _chosen(found, modules, f"{path}; it has {', '.join(sorted({k.split('.')[0] for k in found}))}")
    per_token = {k for k in chosen if _is_per_token(k)}
    if not other_vocabulary:
        other_vocabulary = any(k in offered and offered[k].shape[0] != own[k].shape[0] for k in per_token)
    anew = per_token if other_vocabulary else set()
    wanted = {k: v for k, v in chosen.items() if k not in anew}
    taken = {k: v for k, v in offered.items() if k not in anew}
    wrong = shape_differences(taken, wanted)
    if wrong:
        raise DataError(
            f"{path} does not fit the model: {'; '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''}; give the model "
            "the layout that the checkpoint has, or name the modules that fit with --init-modules"
        )
    model.load_state_dict({**own, **taken})
    logger.info("%d of %d weights begin as those of %s", len(taken), len(own), path)
    if anew:
        logger.warning("another vocabulary than that of %s: made anew are %s", path, ", ".join(sorted(anew)))


def _with_our_heads(found: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """icefall trains a CTC head only where asked to, and may train an attention decoder: a head of ours that is not
    there begins as it is, one that we do not have is left out."""
    weights = {k: v for k, v in found.items() if not _is_in(k, "attention_decoder")}
    if len(weights) < len(found):
        logger.warning("%s has an attention decoder, which is left out", path)
    if not has_ctc_head(found):
        logger.warning("%s has no CTC head: it begins anew", path)
        weights |= {k: v for k, v in own.items() if _is_in(k, "ctc_output")}
    return weights


def _as_causal(found: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Where the model's convolutions are causal and the checkpoint's are not, its kernels go to the convolutions inside
    the chunks; those over what came before a chunk begin with nothing, the scales of the chunks' edges at one."""
    weights = dict(found)
    for name, weight in found.items():
        conv, _, kind = name.rpartition(".")
        if f"{conv}.chunkwise_conv.{kind}" in own:
            del weights[name]
            weights[f"{conv}.chunkwise_conv.{kind}"] = weight
            for new in (f"{conv}.causal_conv.{kind}", f"{conv}.chunkwise_conv_scale"):
                weights[new] = torch.zeros_like(own[new])
    if weights.keys() != found.keys():
        logger.warning("%s is not causal: convolutions begin inside the chunks alone", path)
    return weights


def has_ctc_head(weights: Mapping[str, Tensor]) -> bool:
    """Was the recogniser that has these weights trained with a CTC loss?"""
    return any(_is_in(k, "ctc_output") for k in weights)


def _chosen(weights: Mapping[str, Tensor], modules: Sequence[str], where: str) -> dict[str, Tensor]:
    """The weights of some modules, of all where none is named."""
    for module in modules:
        if not any(_is_in(k, module) for k in weights):
            raise DataError(f"--init-modules: no module {module!r} in {where}")
    return {k: v for k, v in weights.items() if not modules or any(_is_in(k, m) for m in modules)}


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def _is_per_token(name: str) -> bool:
    """Has a weight a row or an entry for each token? By the names that it has here and in icefall."""
    layers = ("decoder.embedding", "joiner.output_linear", "simple_am_proj", "simple_lm_proj", "ctc_output")
    return any(_is_in(name, layer) for layer in layers)
