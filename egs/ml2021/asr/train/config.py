"""Training of the recogniser: section `asr` of asr.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.model.config import TransducerConfig
from ml2021.training.config import TrainConfig


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Time warp and masks over features (Park et al., 2019); no masks of either kind: features as they are."""

    time_warp_factor: int = 80  # frames that a moment may be moved, at most; 0: no warp
    num_frame_masks: int = 6
    max_frames_mask: int = 30  # frames of 10 ms
    max_frames_fraction: float = 0.2  # of an utterance
    num_feature_masks: int = 2
    features_mask_size: int = 20  # mel bins

    def __post_init__(self) -> None:
        require_all(self, [f.name for f in fields(self)], 0)
        require(self.max_frames_fraction <= 1, f"max_frames_fraction must be in 0..1, got {self.max_frames_fraction}")


@dataclass(frozen=True)
class AsrDataConfig:
    """Batches of cuts."""

    max_duration: float = 80.0  # seconds of audio a batch
    ref_duration: float = 600.0  # seconds of audio that count as one batch where dropout and regularisers change
    num_buckets: int = 10
    num_workers: int = 0  # processes that load features; 0: the trainer's own
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    on_the_fly_feats: bool = False  # compute features from the audio, in the place of those that stage 4 stored
    speed_factors: tuple[float, ...] = ()  # train on copies at these speeds too, e.g. [0.9, 1.1]; on the fly only
    noise_cuts: str | None = None  # CutSet of noises to mix in; with features as the windows have them
    noise_probability: float = 0.5  # that noise is mixed into a window
    noise_snr: tuple[float, ...] = (10.0, 20.0)  # dB, the range it is drawn from

    def __post_init__(self) -> None:
        for name in ("max_duration", "ref_duration"):
            require(getattr(self, name) > 0, f"{name} must be > 0 s, got {getattr(self, name)}")
        require_all(self, ("num_workers",), 0)
        require_all(self, ("num_buckets",), 1)
        require(
            self.on_the_fly_feats or not self.speed_factors,
            "speed_factors need on_the_fly_feats: true; stored ones come from stage 4 (prep.yaml)",
        )
        bad = [x for x in self.speed_factors if not 0.5 <= x <= 2 or x == 1]
        require(not bad, f"speed_factors must be in 0.5..2 and not 1, got {bad}")
        require(0 <= self.noise_probability <= 1, f"noise_probability must be in 0..1, got {self.noise_probability}")
        ascending = len(self.noise_snr) == 2 and self.noise_snr[0] <= self.noise_snr[1]
        require(ascending, f"noise_snr must be two numbers, ascending (dB), got {list(self.noise_snr)}")

    def batch_count(self, step: int) -> float:
        """How far training has gone, in batches of ref_duration."""
        return step * self.max_duration / self.ref_duration


@dataclass(frozen=True)
class AsrConfig:
    """Everything that stage 5 needs: conf/*/asr.yaml."""

    model: TransducerConfig = field(default_factory=TransducerConfig)
    data: AsrDataConfig = field(default_factory=AsrDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    init_encoder_from_aligner: bool = False  # begin with stage 3's encoder, if that saw the train part only
    weigh_batches: bool = False  # by their audio, as icefall does; else every batch counts the same
    frozen_encoder_steps: int = 0  # first steps that leave the encoder as it is, so that new layers cannot spoil it

    def __post_init__(self) -> None:
        require_all(self, ("frozen_encoder_steps",), 0)
