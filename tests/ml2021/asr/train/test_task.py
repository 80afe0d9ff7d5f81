"""The weight of a batch of windows in training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.task import TransducerTask


def test_batches_are_weighted_by_their_audio_or_equally(tone_corpus, config: AsrConfig) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    data = AsrDataModule(tone_corpus.cuts, config.data, 1)
    batches = list(data.load_train(enumerate(data.train_plan(1)), 1))[:3]
    assert len({int(b["supervisions"]["num_frames"].sum()) for b in batches}) > 1
    torch.manual_seed(0)
    model = AsrModel(config.model, len(tokens)).eval()
    step = config.model.warm_step
    for batch in batches:
        same, weighed = (
            TransducerTask(data, tokens, "", replace(config, weigh_batches=weigh)).compute_loss(model, batch, step)
            for weigh in (False, True)
        )
        c, sums, num_frames = config.model, same.sums, float(batch["supervisions"]["num_frames"].sum()) / 4
        total = c.simple_loss_scale * sums["simple_loss"] + sums["pruned_loss"] + c.ctc_loss_scale * sums["ctc_loss"]
        assert float(same.loss.detach()) == pytest.approx(total / num_frames, rel=1e-4)
        assert float(weighed.loss.detach()) == pytest.approx(total / (25 * config.data.max_duration), rel=1e-4)
        assert weighed.sums == same.sums and weighed.weight == same.weight == num_frames
