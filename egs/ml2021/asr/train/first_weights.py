"""Initialise a model with the weights of another training: all of them or some modules, also for another vocabulary.

The checkpoint may be ours or icefall's: epoch-N.pt, checkpoint-N.pt or pretrained.pt = {"model": state_dict}.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.model.adapter import is_of_adapter
from ml2021.asr.model.layout import layout_differences
from ml2021.asr.model.lora import is_update
from ml2021.asr.model.recogniser import AsrModel
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.resume import shape_differences

UNITS_HEAD = "units_output"
logger = logging.getLogger(__name__)


def init_from(
    model: nn.Module, path: Path, modules: Sequence[str] = (), known_tokens: Mapping[int, int] | None = None
) -> frozenset[str]:
    """Copy weights from a checkpoint. If the vocabularies differ, of weights with one row per token, only the rows of
    tokens that both have are copied.

    A causal model may be initialised from one that is not causal, and one with adapters from one without; with a single
    chunk, its outputs are then the same.

    Args:
      model: a recogniser with random weights.
      path: a checkpoint with the key `model`.
      modules: names of the modules to copy, such as encoder or joiner.encoder_proj; none: the whole model.
      known_tokens: for vocabularies that differ, id -> id in the checkpoint of each token that it has too; None: they
        are not known to differ, and only their sizes are compared.
    Returns:
      The names of the weights that the checkpoint does not give, or not wholly.
    Raises:
      DataError: a module is missing in the model or in the checkpoint, or has weights of other shapes; or there are
        updates of LoRA that are not merged.
    """
    given, state = load_checkpoint(path)["model"], model.state_dict()
    if any(is_update(name) for name in given):
        raise DataError(
            f"{path} has weights of LoRA beside those that they change: take pretrained.pt of that training, where "
            "they are merged (in icefall, the result of its export.py)"
        )
    weights = _with_our_heads(given, state, path) if not modules else given
    weights = _with_our_adapters(weights, state)
    weights = _as_causal(weights, state, path)
    chosen = _chosen(state, modules, f"the model; its modules are {', '.join(n for n, _ in model.named_children())}")
    offered = _chosen(weights, modules, f"{path}; it has {', '.join(sorted({k.split('.')[0] for k in weights}))}")
    per_token = {k for k in chosen if _is_per_token(k)}
    if known_tokens is None and any(k in offered and offered[k].shape[0] != state[k].shape[0] for k in per_token):
        known_tokens = {}
    if known_tokens is not None:
        rows = {k: _with_rows(state[k], offered[k], known_tokens) for k in per_token & offered.keys() & given.keys()}
        offered = {k: v for k, v in offered.items() if k not in per_token} | rows
        chosen = {k: v for k, v in chosen.items() if k not in per_token or k in rows}
    wrong = shape_differences(offered, chosen)
    if wrong:
        names = _other_values(model, weights, path) if not modules else []
        what = names or wrong[:3]
        raise DataError(
            f"{path} does not fit the model: {'; '.join(what)}{' ...' if len(wrong) > 3 and not names else ''}; give "
            "the model the layout that the checkpoint has (--model, or asr.model in asr.yaml), or name the modules "
            "that fit with --init-modules"
        )
    model.load_state_dict({**state, **offered})
    new = set() if known_tokens is None else {k for k in per_token if len(known_tokens) < len(state[k])}
    new |= {name for name in state if name not in offered or name not in given}
    logger.info("%d of %d weights are initialised from %s", len(state.keys() - new), len(state), path)
    if known_tokens is not None and (layers := sorted(per_token & new)):
        num_tokens = len(state[layers[0]])
        logger.warning(
            "%s has another vocabulary: %d of the model's %d tokens are initialised at random in %s",
            path,
            num_tokens - len(known_tokens),
            num_tokens,
            ", ".join(layers),
        )
    return frozenset(new)


def _with_rows(weight: Tensor, given: Tensor, known: Mapping[int, int]) -> Tensor:
    """A weight with one row per token, with the given rows of the known tokens (id -> row of the given weight).

    The given weight itself if its rows have another shape, which is an error of the caller's.
    """
    if given.shape[1:] != weight.shape[1:]:
        return given
    result = weight.clone()
    result[list(known.keys())] = given[list(known.values())].to(weight)
    return result


def _other_values(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> list[str]:
    """The values of the layout that differ, if these are weights of a transducer."""
    try:
        return layout_differences(weights, model.config, str(path)) if isinstance(model, AsrModel) else []
    except DataError:
        return []


def _with_our_heads(weights: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights without an attention decoder, and with the model's CTC head if they have none.

    icefall can train an attention decoder, and trains a CTC head only on request. The head on units stays the model's
    own, if it has one: train.units.init_units_head sets it.
    """
    result = {k: v for k, v in weights.items() if not _is_in(k, "attention_decoder")}
    if len(result) < len(weights):
        logger.warning("%s has an attention decoder, which is left out", path)
    if not has_ctc_head(weights):
        logger.warning("%s has no CTC head: it is initialised at random", path)
        result |= {k: v for k, v in state.items() if _is_in(k, "ctc_output")}
    units_head = {k: v for k, v in state.items() if _is_in(k, UNITS_HEAD)}
    if not units_head and any(_is_in(k, UNITS_HEAD) for k in weights):
        logger.warning("%s has a head on units of pronunciation, which is left out (units_ctc_scale is 0)", path)
    return {k: v for k, v in result.items() if not _is_in(k, UNITS_HEAD)} | units_head


def _with_our_adapters(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with the model's adapters if they have none."""
    if any(is_of_adapter(name) for name in weights):
        return dict(weights)
    return {**weights, **{name: weight for name, weight in state.items() if is_of_adapter(name)}}


def _as_causal(weights: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Adapt weights of a model that is not causal to a causal one.

    Kernels of plain convolutions go to the convolutions within chunks. The causal convolutions, over the frames before
    a chunk, start with zeros, and the scales at the edges of chunks with 1 (a parameter of 0).
    """
    result = dict(weights)
    for name, weight in weights.items():
        conv, _, kind = name.rpartition(".")
        if f"{conv}.chunkwise_conv.{kind}" in state:
            del result[name]
            result[f"{conv}.chunkwise_conv.{kind}"] = weight
            for new in (f"{conv}.causal_conv.{kind}", f"{conv}.chunkwise_conv_scale"):
                result[new] = torch.zeros_like(state[new])
    if result.keys() != weights.keys():
        logger.warning("%s is not causal: its convolutions are used within chunks only", path)
    return result


def has_ctc_head(weights: Mapping[str, Tensor]) -> bool:
    """Whether a recogniser with these weights was trained with a CTC loss."""
    return any(_is_in(k, "ctc_output") for k in weights)


def _chosen(weights: Mapping[str, Tensor], modules: Sequence[str], where: str) -> dict[str, Tensor]:
    """The weights of the named modules, or of all modules if none is named; `where` is for the error message."""
    for module in modules:
        if not any(_is_in(k, module) for k in weights):
            raise DataError(f"--init-modules: no module {module!r} in {where}")
    return {k: v for k, v in weights.items() if not modules or any(_is_in(k, m) for m in modules)}


def _is_in(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def _is_per_token(name: str) -> bool:
    """Whether a weight has a row or an entry per token, by its name, which is the same in icefall."""
    layers = ("decoder.embedding", "joiner.output_linear", "simple_am_proj", "simple_lm_proj", "ctc_output")
    return any(_is_in(name, layer) for layer in layers)
