"""The recogniser as a task of the training loop: batches of windows, the weighted loss, an example for the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lhotse import CutSet
from torch import Tensor, nn

from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.layers.encoder_frames import SUBSAMPLING_FACTOR
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.lora import merge_lora
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.methods import search
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.loading import Batch
from ml2021.asr.train.units import fingerprint_of, units_of
from ml2021.training.task import Example, StepLoss, Task

VALID_MAX_DURATION = 200.0  # seconds of audio per batch of dev, which needs no gradients
FRAMES_PER_SECOND = 100


class TransducerTask(Task):
    """Simple and pruned transducer loss, CTC loss and, with two views, their consistency, weighted as in icefall."""

    def __init__(
        self,
        data: AsrDataModule,
        tokens: TokenTable,
        lang_hash: str,
        config: AsrConfig,
        units: PronunciationUnits | None = None,
    ) -> None:
        """
        Args:
          data: the windows.
          tokens: of the model.
          lang_hash: digest of their files.
          config: model and training.
          units: of the model's head on units; None: it has none.
        """
        self.data, self.tokens, self.lang_hash, self.config, self.units = data, tokens, lang_hash, config, units
        self.batch_limit = f"--max-duration (data.max_duration in asr.yaml), now {config.data.max_duration:g} s"

    def train_batches(self, epoch: int) -> Iterator[CutSet]:
        """The cuts of each batch of an epoch."""
        return self.data.train_plan(epoch)

    def divide(self, batch: CutSet, size: int) -> list[CutSet]:
        """Cuts of similar total duration in each part."""
        cuts = sorted(batch, key=lambda cut: (-cut.duration, cut.id))
        return [CutSet.from_cuts(part) for part in super().divide(cuts, size)]

    def load_train(self, batches: Iterator[tuple[int, CutSet]], epoch: int) -> Iterator[Batch]:
        """Augmented features and texts."""
        return self.data.load_train(batches, epoch)

    def valid_batches(self) -> Iterator[CutSet]:
        """The cuts of each batch of dev."""
        return self.data.eval_plan("dev", VALID_MAX_DURATION)

    def load_valid(self, batches: Iterator[CutSet]) -> Iterator[Batch]:
        """Features and texts, not augmented."""
        return self.data.load_eval(batches)

    def worst_batches(self) -> Iterator[CutSet]:
        """The batches of the first epoch with the most padded audio, the longest cut, the most cuts, the most text."""
        sizes: tuple[Callable[[CutSet], float], ...] = (
            lambda cuts: len(cuts) * max(c.duration for c in cuts),
            lambda cuts: max(c.duration for c in cuts),
            len,
            lambda cuts: len(cuts) * max(len(c.supervisions[0].text) for c in cuts),
        )
        worst: list[CutSet | None] = [None] * len(sizes)
        largest = [0.0] * len(sizes)
        for cuts in self.train_batches(1):
            for i, size in enumerate(sizes):
                if size(cuts) > largest[i]:
                    largest[i], worst[i] = size(cuts), cuts
        for i, cuts in enumerate(worst):
            if cuts is not None and not any(cuts is other for other in worst[:i]):
                yield cuts

    def batch_ids(self, batch: Any) -> Sequence[str]:
        """Ids of the cuts."""
        ids: list[str] = batch["ids"]
        return ids

    def fingerprint(self) -> dict[str, str]:
        """The cuts, the vocabulary and the layout of the encoder: resuming needs the same ones."""
        model = self.config.model
        encoder = {f"encoder.{k}": str(v) for k, v in to_mapping(model.encoder).items()}
        vocabulary = f"{len(self.tokens)} tokens, sha256 {self.lang_hash[:16]}"
        lora = {"lora": f"alpha {self.config.lora.alpha:g}"} if self.config.lora.rank else {}  # shapes tell the rest
        return self.data.describe() | {"vocabulary": vocabulary} | encoder | lora | fingerprint_of(self.units, model)

    def final_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the model for decoding, with LoRA merged."""
        return merge_lora(weights, self.config.lora.alpha)

    def batching(self) -> str:
        """The values that decide the grouping of cuts into batches."""
        return self.data.batching()

    def choose_trained(self, model: nn.Module, step: int) -> None:
        """All but an encoder that stays unchanged at the start, and freeze_modules."""
        assert isinstance(model, AsrModel)
        if self.config.keeps_base:  # keep_base has chosen
            return
        for encoder in (model.encoder_embed, model.encoder):
            encoder.requires_grad_(step >= self.config.frozen_encoder_steps)
        for name in self.config.freeze_modules:
            model.get_submodule(name).requires_grad_(False)

    def compute_loss(self, model: nn.Module, batch: Batch, step: int) -> StepLoss:
        """The weighted loss per encoder frame (weigh_batches: per frame of a full batch), and the sums to report."""
        assert isinstance(model, AsrModel)
        batch_count = self.config.data.batch_count(step * self.batches_per_step)
        set_batch_count(model, self.config.batches_ahead + batch_count)
        device = next(model.parameters()).device
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        lens = supervisions["num_frames"][order]
        texts = [supervisions["text"][i] for i in order.tolist()]
        tokens = [self.tokens.encode(text) for text in texts]
        features = batch["inputs"].to(device, non_blocking=True)
        num_views = len(features) // len(lens)  # 2 in training with CR-CTC
        # lens on the CPU: no GPU is waited for
        units = None if self.units is None else [units_of(text, self.units) for text in texts] * num_views
        losses = transducer_losses(model, features, lens.repeat(num_views), tokens * num_views, num_views == 2, units)
        num_frames = float(lens.sum()) / SUBSAMPLING_FACTOR
        simple_scale, pruned_scale, cr_scale = _scales(self.config, step)
        loss = simple_scale * losses.simple + pruned_scale * losses.pruned
        full = self.config.data.max_duration * FRAMES_PER_SECOND / SUBSAMPLING_FACTOR
        loss = loss + self.config.model.ctc_loss_scale * losses.ctc
        if losses.cr is not None:
            loss = loss + cr_scale * losses.cr
        if losses.units is not None:
            loss = loss + self.config.model.units_ctc_scale * losses.units
        loss = loss / (full if self.config.weigh_batches else num_frames)
        sums = {
            "simple_loss": losses.simple.detach(),
            "pruned_loss": losses.pruned.detach(),
            "ctc_loss": losses.ctc.detach(),
        }
        if losses.cr is not None:
            sums["cr_loss"] = losses.cr.detach()
        if losses.units is not None:
            sums["units_ctc_loss"] = losses.units.detach()
        seconds, is_mean = float(lens.sum()) / FRAMES_PER_SECOND, not self.config.weigh_batches
        return StepLoss(loss, sums, num_frames, seconds, losses.num_left_out, is_mean)

    def example(self, model: nn.Module) -> Example | None:
        """The shortest window of dev, decoded with greedy search."""
        assert isinstance(model, AsrModel)
        cuts = next(self.valid_batches(), None)
        if cuts is None:
            return None
        batch = next(iter(self.load_valid(iter([cuts.subset(first=1)]))))
        supervisions = batch["supervisions"]
        hypotheses = search(model, batch["inputs"], supervisions["num_frames"], SearchConfig())
        return Example(batch["ids"][0], supervisions["text"][0], self.tokens.decode(hypotheses[0].tokens))


def _scales(config: AsrConfig, step: int) -> tuple[float, float, float]:
    """Weights of the simple loss, the pruned loss and the consistency.

    Over warm_step steps, 1 -> simple_loss_scale and 0.1 -> 1; over cr_warm_step steps, 0 -> cr_loss_scale.
    """
    c = config.model
    progress, cr_progress = (min(1.0, step / max(1, steps)) for steps in (c.warm_step, c.cr_warm_step))
    return 1.0 - progress * (1.0 - c.simple_loss_scale), 0.1 + 0.9 * progress, cr_progress * c.cr_loss_scale
