"""The weight of a batch of windows in training, the progress of schedules, and training in fp16."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.task import TransducerTask
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.task import StepLoss
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


@pytest.fixture
def two_views(tone_corpus: Any, config: AsrConfig) -> tuple[TransducerTask, AsrModel, list[dict]]:
    """CR-CTC's task, a model without dropout, and batches with two views."""
    tokens = load_lang(tone_corpus.lang)
    config = replace(config, model=replace(config.model, use_cr_ctc=True, cr_loss_scale=0.3, cr_warm_step=40))
    data = AsrDataModule(tone_corpus.cuts, config.data, 1, two_views=True)
    torch.manual_seed(0)
    model = AsrModel(config.model, len(tokens)).eval()
    return TransducerTask(data, tokens, "", config), model, list(data.load_train(enumerate(data.train_plan(1)), 1))


def with_features(batch: dict, features: torch.Tensor) -> dict:
    return batch | {"inputs": features}


def test_losses_of_two_views_are_the_mean_of_those_of_each(two_views) -> None:  # type: ignore[no-untyped-def]
    task, model, batches = two_views
    c = task.config.model
    for step, (simple_scale, pruned_scale, cr_scale) in {
        0: (1.0, 0.1, 0.0),
        20: (c.simple_loss_scale, 1.0, 0.15),
        100: (c.simple_loss_scale, 1.0, 0.3),
    }.items():
        both = task.compute_loss(model, batches[0], step)
        each = [task.compute_loss(model, with_features(batches[0], v), step) for v in batches[0]["inputs"].chunk(2)]
        assert set(both.sums) == {*each[0].sums, "cr_loss"}
        for name in each[0].sums:
            torch.testing.assert_close(2 * both.sums[name], sum(x.sums[name] for x in each))
        sums = {name: float(value) for name, value in both.sums.items()}
        assert sums["cr_loss"] > 0
        total = simple_scale * sums["simple_loss"] + pruned_scale * sums["pruned_loss"]
        total += c.ctc_loss_scale * sums["ctc_loss"] + cr_scale * sums["cr_loss"]
        assert float(both.loss.detach()) == pytest.approx(total / both.weight, rel=1e-5)
        assert (both.weight, both.seconds) == (each[0].weight, each[0].seconds)  # the audio is counted once


def test_two_equal_views_are_worth_one(two_views) -> None:  # type: ignore[no-untyped-def]
    task, model, batches = two_views
    one = with_features(batches[1], batches[1]["inputs"].chunk(2)[0])
    two = with_features(batches[1], one["inputs"].repeat(2, 1, 1))
    alone, both = (task.compute_loss(model, batch, 100) for batch in (one, two))
    assert float(both.sums["cr_loss"]) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(both.loss, alone.loss)
    assert both.num_left_out == alone.num_left_out == 0


def test_an_utterance_without_a_path_is_left_out_once_with_both_of_its_views(two_views) -> None:  # type: ignore[no-untyped-def]
    task, model, batches = two_views
    before = task.compute_loss(model, batches[0], 100)
    supervisions = batches[0]["supervisions"]
    too_long = [" ".join(["一"] * 200), *supervisions["text"][1:]]
    after = task.compute_loss(model, batches[0] | {"supervisions": supervisions | {"text": too_long}}, 100)
    assert before.num_left_out == 0 and after.num_left_out == 1
    for name, value in after.sums.items():
        assert 0 < float(value) < float(before.sums[name]), name
    assert torch.isfinite(after.loss)


def part(batch: dict, rows: list[int]) -> dict:
    """Some utterances of a batch with two views."""
    supervisions = {
        "sequence_idx": torch.arange(len(rows)),
        "num_frames": batch["supervisions"]["num_frames"][rows],
        "text": [batch["supervisions"]["text"][i] for i in rows],
    }
    features = torch.cat([view[rows] for view in batch["inputs"].chunk(2)])
    return {"inputs": features, "supervisions": supervisions, "ids": [batch["ids"][i] for i in rows]}


def test_processes_that_share_a_batch_of_two_views_have_the_gradients_of_one(two_views) -> None:  # type: ignore[no-untyped-def]
    task, model, batches = two_views
    batch = max(batches, key=lambda b: len(b["ids"]))
    rows = list(range(len(batch["ids"])))
    assert len(rows) > 2

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = task.compute_loss(model, batch, 100)
    parts: list[StepLoss] = [task.compute_loss(model, part(batch, rows[i::2]), 100) for i in range(2)]
    assert sum(x.weight for x in parts) == whole.weight
    for name, value in whole.sums.items():
        torch.testing.assert_close(sum(x.sums[name] for x in parts), value)
    expected = gradient(whole.loss)
    shares = [x.part(2, whole.weight, counts=True) for x in parts]
    torch.testing.assert_close(sum(gradient(x.loss) for x in shares) / 2, expected, atol=1e-5, rtol=1e-3)


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
