"""The weight of a batch of windows in training, the progress of schedules, and training in fp16."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.task import TransducerTask
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.trainer import Trainer


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
        total = float(total)
        assert float(same.loss.detach()) == pytest.approx(total / num_frames, rel=1e-4)
        assert float(weighed.loss.detach()) == pytest.approx(total / (25 * config.data.max_duration), rel=1e-4)
        assert weighed.sums == same.sums and weighed.weight == same.weight == num_frames


@pytest.mark.parametrize(("world_size", "accum_grad"), [(1, 1), (4, 1), (1, 3), (4, 2)])
def test_schedules_count_the_batches_of_all_processes(  # type: ignore[no-untyped-def]
    tone_corpus, config: AsrConfig, world_size: int, accum_grad: int
) -> None:
    """As icefall's get_adjusted_batch_count, whose batch index counts accumulated batches too."""
    tokens = load_lang(tone_corpus.lang)
    data = AsrDataModule(tone_corpus.cuts, config.data, 1)
    task = TransducerTask(data, tokens, "", config)
    task.batches_per_step = world_size * accum_grad  # as Trainer sets it
    model = AsrModel(config.model, len(tokens))
    task.compute_loss(model, next(iter(data.load_train(enumerate(data.train_plan(1)), 1))), 7)
    (count,) = {m.batch_count for m in model.modules() if hasattr(m, "batch_count")}
    batch_index = 7 * accum_grad
    expected = batch_index * (config.data.max_duration * world_size) / config.data.ref_duration
    assert count == pytest.approx(expected)


@pytest.mark.slow
def test_fifty_steps_in_fp16_are_skipped_only_when_the_scaled_gradients_overflow(  # type: ignore[no-untyped-def]
    tone_corpus, config: AsrConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = replace(config.train, precision="fp16", num_epochs=8, base_lr=0.01, scan_worst_batches=False)
    tokens = load_lang(tone_corpus.lang)
    data = AsrDataModule(tone_corpus.cuts, config.data, 1)
    torch.manual_seed(0)
    model = AsrModel(config.model, len(tokens))
    with caplog.at_level(logging.INFO):
        Trainer(model, TransducerTask(data, tokens, "", config), train, tmp_path, torch.device("cpu")).run()
    assert load_checkpoint(tmp_path / "epoch-8.pt")["batch_idx_train"] >= 50
    assert "not finite" not in caplog.text and not (tmp_path / "bad-batches").exists()
    skipped = [r for r in caplog.records if "skipped" in r.message]
    assert all("fp16 overflow" in r.message for r in skipped) and len(skipped) < 10
