"""Values out of range are refused, by name, when a configuration is read."""

from __future__ import annotations

import pytest

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.train.config import AsrConfig, AsrDataConfig
from ml2021.mt.config import MtModelConfig
from ml2021.training.config import TrainConfig


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (TrainConfig, "warmup_steps", -1),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "grad_clip", 0.0),
        (TransducerConfig, "decoder_dim", 0),
        (TransducerConfig, "joiner_dim", -512),
        (TransducerConfig, "ctc_loss_scale", -0.2),
        (TransducerConfig, "warm_step", -1),
        (TransducerConfig, "cr_loss_scale", -0.2),
        (TransducerConfig, "cr_warm_step", -1),
        (SpecAugmentConfig, "num_frame_masks", -1),
        (SpecAugmentConfig, "max_frames_fraction", 1.5),
        (AsrDataConfig, "num_buckets", 0),
        (AsrDataConfig, "num_workers", -1),
        (AsrDataConfig, "time_mask_ratio", 0.0),
        (AsrConfig, "frozen_encoder_steps", -1),
        (AlignerConfig, "window_duration", 0.0),
        (AlignerConfig, "min_steps", -1),
        (AlignerConfig, "settled", 0.0),
        (DecodeConfig, "beam_size", 0),
        (MtModelConfig, "num_heads", 0),
        (MtModelConfig, "d_model", 0),
    ],
)
def test_value_out_of_range_is_named(cls: type, key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^asr\.yaml: x: {key} must be .*{value:g}"):
        from_mapping({key: value}, cls, "asr.yaml: x")


NO_MASKS = {"num_frame_masks": 0, "num_feature_masks": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"use_cr_ctc": True, "ctc_loss_scale": 0.0}}, "use_cr_ctc .* needs ctc_loss_scale > 0"),
        ({"model": {"use_cr_ctc": True}, "data": {"spec_augment": NO_MASKS}}, "use_cr_ctc needs masks"),
        (
            {"model": {"use_cr_ctc": True}, "data": {"spec_augment": {"num_feature_masks": 0}, "time_mask_ratio": 0.1}},
            "use_cr_ctc needs masks",  # 0.1 * 6 masks are none
        ),
        (
            {"model": {"use_cr_ctc": True}, "data": {"spec_augment": {"max_frames_fraction": 0.5}}},
            r"max_frames_fraction \* time_mask_ratio .* at most 1, got 0.5 \* 2.5",
        ),
    ],
)
def test_two_views_that_are_the_same_or_not_compared_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, AsrConfig, "asr.yaml: asr")
    values["model"]["use_cr_ctc"] = False
    from_mapping(values, AsrConfig, "asr.yaml: asr")
