"""Features of a window alone and in a batch; batches that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.qwen.batches import in_batches_that_fit, padded


@pytest.mark.parametrize("num_samples", [1, 12368, 12479, 12480, 12481, 20001])
def test_features_do_not_depend_on_the_batch(num_samples: int, noise: Callable[..., Any]) -> None:
    from transformers import Qwen3ASRFeatureExtractor

    def features(*windows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        settings = {"padding": True, "sampling_rate": 16000, "return_attention_mask": True}
        batch = Qwen3ASRFeatureExtractor()(list(map(padded, windows)), **settings)
        is_frame = batch["attention_mask"][0] > 0
        return is_frame.sum(), batch["input_features"][0][:, is_frame]

    samples = noise(num_samples / 16000)
    (alone, features_alone), (in_batch, features_in_batch) = features(samples), features(samples, noise(2.0, 1))
    assert alone == in_batch and float((features_alone - features_in_batch).abs().max()) < 1e-5
    assert len(padded(samples)) % 160 == 0 and (padded(samples)[num_samples:] == 0).all()


def test_batches_are_halved_until_they_fit() -> None:
    sizes = []

    def double(items):
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [2 * i for i in items]

    assert in_batches_that_fit(double, range(7)) == [0, 2, 4, 6, 8, 10, 12]
    assert max(sizes) == 7
    with pytest.raises(DataError, match="too little memory for one window"):
        in_batches_that_fit(lambda _: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("full")), [1])
