"""The LSTM language model as a task of the training loop.

Legend: N sequences, U tokens, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from lhotse_prep.tokens.special_tokens import BLANK_ID
from lhotse_prep.workflow.digests import digest_bytes
from ml2021.asr.fusion.config import RnnLmConfig
from ml2021.asr.fusion.rnn import RnnLm
from ml2021.training.task import StepLoss, Task

T = TypeVar("T")


class LmTask(Task):
    """Next-token prediction with cross entropy."""

    def __init__(
        self,
        train: Sequence[Sequence[int]],
        valid: Sequence[Sequence[int]],
        config: RnnLmConfig,
        seed: int,
        vocabulary: str,
        bos: int,
    ) -> None:
        """
        Args:
          train: token ids of each training text, of any length.
          valid: token ids of each text of dev.
          vocabulary: identifies the tokens; training resumes only with the same vocabulary.
          bos: the token in front of each text, TokenTable.special.bos.
        """
        self.train, self.valid, self.config, self.seed, self.vocabulary = train, valid, config, seed, vocabulary
        self.bos = bos
        self.batch_limit = f"rnn.batch_size (lm in decode.yaml), now {config.batch_size} sequences"

    def train_batches(self, epoch: int) -> Iterator[Tensor]:
        """Padded sequences (N, U) with bos in front; seed and epoch decide where long texts are split."""
        rng = random.Random(1_000_003 * self.seed + epoch)
        pieces = []
        for text in self.train:
            first = rng.randint(1, self.config.max_tokens) if len(text) > self.config.max_tokens else len(text)
            pieces += [text[:first], *_pieces(text[first:], self.config.max_tokens)]
        pieces = [p for p in pieces if p]
        rng.shuffle(pieces)
        pieces.sort(key=lambda p: len(p) // 8)  # by similar length, else in random order
        batches = list(_pieces(pieces, self.config.batch_size))
        rng.shuffle(batches)
        return map(self._padded, batches)

    def valid_batches(self) -> Iterator[Tensor]:
        pieces = [p for text in self.valid for p in _pieces(text, self.config.max_tokens)]
        return map(self._padded, _pieces(pieces, self.config.batch_size))

    def _padded(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """bos and the token ids of each text, padded with blanks: (N, U)."""
        rows = [torch.tensor([self.bos, *t]) for t in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=BLANK_ID)

    def fingerprint(self) -> dict[str, str]:
        digest = digest_bytes(repr([list(t) for t in self.train]).encode())[:16]
        return {"texts": f"{len(self.train)}, sha256 {digest}", "vocabulary": self.vocabulary}

    def batching(self) -> str:
        return f"seed {self.seed}, {self.config}"

    def compute_loss(self, model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        """The mean loss per token."""
        assert isinstance(model, RnnLm)
        device = model.bias.device
        targets = batch[:, 1:].flatten()
        places = torch.nonzero(targets != BLANK_ID).flatten()  # blanks are padding; a GPU would have to be waited for
        logits, _ = model(batch[:, :-1].to(device, non_blocking=True))
        logits = logits.flatten(0, 1)[places.to(device, non_blocking=True)]
        nll = nn.functional.cross_entropy(logits.float(), targets[places].to(device, non_blocking=True))
        count = float(len(places))
        return StepLoss(nll, {"nll": nll.detach().double() * count}, count)


def _pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
