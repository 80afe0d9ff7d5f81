"""Makes an experiment folder of a checkpoint of icefall; python -m ml2021.asr.icefall.import_checkpoint does it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.icefall.checkout import PROJECT
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layout import as_weights_have_it, layout_differences, layout_of, layout_text
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.first_weights import has_ctc_head, init_from
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint

LAYOUTS = PROJECT / "conf" / "zipformer"
logger = logging.getLogger(__name__)


def import_checkpoint(
    checkpoint: Path,
    lang_dir: Path,
    exp_dir: Path,
    config: TransducerConfig | None,
    case: str,
    chunk_size: Sequence[int] = (),
    left_context_frames: Sequence[int] = (),
) -> None:
    """Write pretrained.pt, config.json and lang/ to exp_dir.

    Args:
      checkpoint: icefall's pretrained.pt or epoch-N.pt; the weights under its key `model` are used.
      lang_dir: folder with the tokens.txt and bpe.model or bbpe.model that it was trained with.
      exp_dir: created if missing.
      config: the model configuration it was trained with; None: that of conf/zipformer which has its layout.
        ctc_loss_scale becomes 0 if it has no CTC head.
      case: case of the English tokens, as in LangConfig.case.
      chunk_size, left_context_frames: of a causal model, in place of those of the configuration.
    Raises:
      ConfigError: chunks are given for a model that is not causal, or do not fit its layout.
      DataError: the checkpoint does not fit the configuration or the tokens; exp_dir is left untouched.
    """
    weights = load_checkpoint(checkpoint)["model"]
    config = _layout_in_conf(weights, checkpoint) if config is None else _checked(weights, config, checkpoint)
    config = _with_chunks(config, chunk_size, left_context_frames, checkpoint)
    tokens = load_lang(lang_dir)
    num_tokens = len(weights["decoder.embedding.weight"])
    if num_tokens != len(tokens):
        raise DataError(
            f"{checkpoint} has {num_tokens} tokens, {lang_dir} has {len(tokens)}: take both from the same training run"
        )
    if not has_ctc_head(weights):
        config = replace(config, ctc_loss_scale=0.0)
    config = replace(config, units_ctc_scale=0.0)  # whose units are no part of a checkpoint
    model = AsrModel(config, len(tokens))
    init_from(model, checkpoint)
    lang = LangConfig(kind=tokens.kind, from_dir=str(lang_dir), case=case)
    tokens = make_lang([], [], exp_dir / "lang", lang)  # written only now that everything fits
    save_checkpoint(exp_dir / "pretrained.pt", {"model": model.state_dict()})
    write_json(exp_dir / "config.json", to_mapping(AsrConfig(model=config)))
    logger.info("%s: %d tokens of kind %s, in capitals: %s", exp_dir, len(tokens), tokens.kind, tokens.upper_case)
    encoder = config.encoder
    if encoder.causal:
        logger.info(
            "it is decoded in chunks of %s with %s before them; --chunk-size and --left-context-frames choose others",
            _duration(encoder.chunk_size[0]),
            _duration(encoder.left_context_frames[0]),
        )


def _checked(weights: Mapping[str, Tensor], config: TransducerConfig, checkpoint: Path) -> TransducerConfig:
    """The configuration, if the weights have its layout."""
    wrong = layout_differences(weights, config, str(checkpoint))
    if not wrong:
        return config
    fitting = _fitting_files(weights, checkpoint)
    remedy = f"conf/zipformer/{fitting[0].name} has this layout" if fitting else "give a file with these values"
    raise DataError(f"{checkpoint} has another layout than --model names: {'; '.join(wrong)}; {remedy}")


def _layout_in_conf(weights: Mapping[str, Tensor], checkpoint: Path) -> TransducerConfig:
    """The configuration of conf/zipformer that has the layout of the weights, causal if they are."""
    fitting = _fitting_files(weights, checkpoint)
    if not fitting:
        raise DataError(
            f"no file of conf/zipformer has the layout of {checkpoint}: name one with --model whose content is "
            f"`{layout_text(layout_of(weights, str(checkpoint)))}`, with encoder_unmasked_dim (and, if it is causal, "
            "chunk_size and left_context_frames) as in its training"
        )
    config = as_weights_have_it(load_config(fitting[0], "model", TransducerConfig), weights)
    causal = "causal" if config.encoder.causal else "not causal"
    logger.info("%s has the layout of conf/zipformer/%s, %s", checkpoint, fitting[0].name, causal)
    return config


def _fitting_files(weights: Mapping[str, Tensor], checkpoint: Path) -> list[Path]:
    """The files of conf/zipformer with the layout of the weights, those that are causal as the weights are first."""
    files = []
    for path in sorted(LAYOUTS.glob("*.yaml")):
        config = load_config(path, "model", TransducerConfig)
        same = as_weights_have_it(config, weights)
        if not layout_differences(weights, same, str(checkpoint)):
            files.append((same != config, path))
    return [path for _, path in sorted(files)]


def _with_chunks(
    config: TransducerConfig, chunk_size: Sequence[int], left_context_frames: Sequence[int], checkpoint: Path
) -> TransducerConfig:
    if (chunk_size or left_context_frames) and not config.encoder.causal:
        raise ConfigError(
            f"--chunk-size and --left-context-frames are for causal models, and {checkpoint} is not one: leave them out"
        )
    encoder = replace(
        config.encoder,
        chunk_size=tuple(chunk_size) or config.encoder.chunk_size,
        left_context_frames=tuple(left_context_frames) or config.encoder.left_context_frames,
    )
    return replace(config, encoder=encoder)


def _duration(frames: int) -> str:
    """Frames of 20 ms in seconds."""
    return "the whole recording or window" if frames < 0 else f"{frames / 50:g} s"
