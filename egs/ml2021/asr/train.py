"""Stage 5: the recogniser's training: model, task, loop, and what decoding needs beside the checkpoints."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhotse_prep.config import to_mapping
from lhotse_prep.errors import DataError
from lhotse_prep.stages import write_json
from lhotse_prep.tokens import TokenTable, load_lang
from ml2021.asr.datamodule import AsrDataModule
from ml2021.asr.model import AsrModel, num_parameters
from ml2021.checkpoint import load_checkpoint
from ml2021.config import AsrConfig
from ml2021.task import StepLoss, Task
from ml2021.trainer import Trainer

logger = logging.getLogger(__name__)
VALID_MAX_DURATION = 200.0  # seconds of audio a batch, where no gradients are kept


class TransducerTask(Task):
    """Simple and pruned transducer loss and CTC, weighted as icefall weights them."""

    def __init__(self, data: AsrDataModule, tokens: TokenTable, config: AsrConfig) -> None:
        self.data, self.tokens, self.config = data, tokens, config

    def train_batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        """Training batches of an epoch."""
        return self.data.train_batches(epoch)

    def num_train_batches(self, epoch: int) -> int:
        """How many batches an epoch has."""
        return self.data.num_train_batches(epoch)

    def valid_batches(self) -> Iterator[dict[str, Any]]:
        """All of dev."""
        return self.data.eval_batches("dev", VALID_MAX_DURATION)

    def compute_loss(self, model: nn.Module, batch: dict[str, Any], step: int) -> StepLoss:
        """The weighted loss an encoder frame; simple, pruned and CTC loss are reported a frame too."""
        model.encoder.requires_grad_(step >= self.config.frozen_encoder_steps)  # type: ignore[union-attr]
        device = next(model.parameters()).device
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        lens = supervisions["num_frames"][order]
        tokens = [self.tokens.encode(supervisions["text"][int(i)]) for i in order]
        losses = model(batch["inputs"].to(device), lens.to(device), tokens)
        num_frames = float(lens.sum()) / 4
        simple_scale, pruned_scale = _scales(self.config, step)
        loss = simple_scale * losses.simple + pruned_scale * losses.pruned
        loss = (loss + self.config.model.ctc_loss_scale * losses.ctc) / num_frames
        sums = {
            "simple_loss": float(losses.simple.detach()),
            "pruned_loss": float(losses.pruned.detach()),
            "ctc_loss": float(losses.ctc.detach()),
        }
        if losses.num_left_out:
            sums["part_left_out"] = losses.num_left_out * num_frames / len(tokens)
        return StepLoss(loss, sums, num_frames)


def train_recogniser(cuts: Path, lang: Path, aligner: Path | None, exp_dir: Path, config: AsrConfig) -> None:
    """Train to the end, going on from the newest checkpoint in exp_dir.

    Args:
      cuts: stage 4's folder.
      lang: stage 2's folder; a copy goes to exp_dir/lang.
      aligner: a checkpoint of stage 3's model, whose encoder training begins with; None: begin from nothing.
      exp_dir: gets epoch-N.pt, pretrained.pt, tensorboard/, config.json, lang/, scores.json.
      config: model, data, training.
    """
    tokens = load_lang(lang)
    shutil.copytree(lang, exp_dir / "lang", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".done"))
    write_json(exp_dir / "config.json", to_mapping(config))
    torch.manual_seed(config.train.seed)
    model = AsrModel(config.model, len(tokens))
    if aligner is not None:
        _init_encoder(model, aligner)
    logger.info("%d tokens, %d parameters", len(tokens), num_parameters(model))
    data = AsrDataModule(cuts, config.data, config.train.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    Trainer(model, TransducerTask(data, tokens, config), config.train, exp_dir, device).run()
    write_json(exp_dir / "scores.json", {"num_parameters_asr": num_parameters(model)})


def _scales(config: AsrConfig, step: int) -> tuple[float, float]:
    """Scales of the simple and the pruned loss: over warm_step steps 1 -> simple_loss_scale and 0.1 -> 1."""
    c = config.model
    part = min(1.0, step / max(1, c.warm_step))
    return 1.0 - part * (1.0 - c.simple_loss_scale), 0.1 + 0.9 * part


def _init_encoder(model: AsrModel, aligner: Path) -> None:
    """Take the encoder of the aligner, whose layout must be the same."""
    weights = load_checkpoint(aligner)["model"]
    encoder = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    try:
        model.encoder.load_state_dict(encoder)
    except RuntimeError as e:
        raise DataError(
            f"the encoder of {aligner} does not fit: give aligner.encoder and model.encoder of asr.yaml the same "
            f"values, or set init_encoder_from_aligner: false ({str(e).splitlines()[-1].strip()})"
        ) from e
    logger.info("the encoder begins as that of %s", aligner)
