"""SpecAugment: each of its three parts is on or off by its own values, with Lhotse's implementation."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from lhotse.dataset import SpecAugment
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.augment.masks import TwoViews, augment_batch, spec_augment
from ml2021.training.seeds import seed_everything

OFF: dict[str, list[dict[str, float]]] = {  # the ways to switch a part off; the first leaves it on
    "warp": [{}, {"time_warp_factor": 0}],
    "frames": [{}, {"num_frame_masks": 0}, {"max_frames_mask": 0}, {"max_frames_fraction": 0.0}],
    "bands": [{}, {"num_feature_masks": 0}, {"features_mask_size": 0}],
}


def parts_seen(config: SpecAugmentConfig) -> set[str]:
    """Which parts of SpecAugment act on four batches of noise, two utterances of 300 and 200 frames each."""
    augment, seen = spec_augment(config), set()
    for seed in range(4):
        seed_everything(seed)
        x = torch.randn(2, 300, 80)
        y = augment_batch(x, torch.tensor([300, 200]), augment)
        assert y.shape == x.shape and bool(y.isfinite().all())
        for before, after, length in zip(x, y, (300, 200)):
            masked = _constant(after)
            frames, bands = masked.all(dim=1), masked.all(dim=0)
            seen |= {"frames"} if bool(frames.any()) else set()
            seen |= {"bands"} if bool(bands.any()) else set()
            rest = ~masked
            assert torch.equal(masked, frames[:, None] | bands), "masks over time and over frequency, nothing else"
            if not torch.equal(before[rest], after[rest]):
                seen.add("warp")
            assert torch.equal(before[length:][rest[length:]], after[length:][rest[length:]]), "padding is not warped"
    return seen


def _constant(x: Tensor) -> Tensor:
    """Where (T, F) has a value that occurs at least 20 times: masks are filled with one value."""
    values, counts = x.unique(return_counts=True)
    return torch.isin(x, values[counts >= 20])


@pytest.mark.parametrize(("warp", "frames", "bands"), list(product(*OFF.values())))
def test_each_part_is_off_by_its_own_values_only(warp: dict, frames: dict, bands: dict) -> None:
    config = SpecAugmentConfig(**{"time_warp_factor": 40, **warp, **frames, **bands})
    expected = {name for name, off in zip(OFF, (warp, frames, bands)) if not off}
    assert parts_seen(config) == expected
    assert (spec_augment(config) is None) == (not expected)


def test_with_all_parts_on_it_is_lhotses() -> None:
    x, segments = torch.randn(3, 250, 80), torch.tensor([[0, 0, 250], [1, 0, 240], [2, 0, 30]], dtype=torch.int32)
    config = SpecAugmentConfig()
    theirs = SpecAugment(80, 2, 20, 6, 30, 0.2).train()
    ours = spec_augment(config)
    assert ours is not None
    for seed in range(5):
        results = []
        for augment in (theirs, ours.train()):
            seed_everything(seed)
            results.append(augment(x, supervision_segments=segments))
        assert torch.equal(*results)


@pytest.mark.parametrize("num_frames", [1, 2, 4, 5, 30, 49, 50, 170])
@pytest.mark.parametrize("fraction", [0.02, 0.2, 1.0])
def test_any_length_can_be_augmented(num_frames: int, fraction: float) -> None:
    for size in (2, 30):
        augment = spec_augment(SpecAugmentConfig(max_frames_fraction=fraction, max_frames_mask=size))
        for seed in range(5):
            seed_everything(seed)
            y = augment_batch(torch.randn(2, num_frames, 80), torch.tensor([num_frames, 1]), augment)
            assert y.shape == (2, num_frames, 80)


@pytest.mark.parametrize("values", [{"max_frames_mask": 1}, {"features_mask_size": 1}, {"features_mask_size": 81}])
def test_sizes_that_mask_nothing_or_more_than_there_is_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        SpecAugmentConfig(**values)


def test_two_views_are_warped_alike_and_masked_differently() -> None:
    config = SpecAugmentConfig(time_warp_factor=40)
    lens = torch.tensor([300, 200])
    segments = torch.tensor([[0, 0, 300], [1, 0, 200]], dtype=torch.int32)
    views, warp = (
        TwoViews(config, time_mask_ratio=2.0),
        spec_augment(replace(config, num_frame_masks=0, num_feature_masks=0)),
    )
    num_warped = num_masked_differently = 0
    for seed in range(6):
        x = torch.randn(2, 300, 80, generator=torch.Generator().manual_seed(seed))
        seed_everything(seed)
        warped = augment_batch(x, lens, warp)
        seed_everything(seed)
        masked = views(x, segments).unflatten(0, (2, 2))
        num_warped += not torch.equal(warped, x)
        for first, second, whole in zip(*masked, warped, strict=True):
            for view in (first, second):
                assert torch.equal(view[~_constant(view)], whole[~_constant(view)]), "masks and nothing else"
            num_masked_differently += not torch.equal(_constant(first), _constant(second))
    assert num_warped >= 5 and num_masked_differently >= 10


def test_the_masks_of_two_views_cover_more_by_the_ratio() -> None:
    config = SpecAugmentConfig(0, num_frame_masks=4, max_frames_mask=30, max_frames_fraction=0.2, num_feature_masks=0)
    segments = torch.tensor([[0, 0, 600]], dtype=torch.int32)
    covered = {}
    for ratio in (1.0, 2.5):
        views = TwoViews(config, ratio)
        counts = [0.0]
        for seed in range(40):
            seed_everything(seed)
            masked = views(torch.randn(1, 600, 80), segments)
            counts += [float(_constant(view).all(dim=1).sum()) for view in masked]
        assert max(counts) <= 600 * 0.2 * ratio
        covered[ratio] = sum(counts) / len(counts)
    assert 1.8 * covered[1.0] < covered[2.5] <= 2.5 * covered[1.0]
