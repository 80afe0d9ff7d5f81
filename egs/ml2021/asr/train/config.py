"""Configuration of the recogniser's training: section `asr` of asr.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.result_options import FILE, HOW_IT_RUNS
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.augment.config import SoundAugmentConfig, SpecAugmentConfig
from ml2021.asr.model.config import LoraConfig, TransducerConfig
from ml2021.training.config import TrainConfig


@dataclass(frozen=True)
class AsrDataConfig:
    """Batches of windows (cuts), their features and augmentation."""

    max_duration: float = 80.0  # seconds of audio per batch at most
    ref_duration: float = 600.0  # seconds of audio that count as one batch in schedules of dropout and regularisers
    num_buckets: int = 10  # buckets by duration of the sampler
    # processes that load features; 0: the training process itself
    num_workers: int = field(default=0, metadata=HOW_IT_RUNS)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)  # time warp and masks over features
    # with model.use_cr_ctc, num_frame_masks and max_frames_fraction of spec_augment are multiplied by this
    time_mask_ratio: float = 2.5
    on_the_fly_feats: bool = False  # true: compute features from the audio instead of reading those of stage 4
    sound_augment: SoundAugmentConfig = field(
        default_factory=SoundAugmentConfig
    )  # rooms, codecs; needs on_the_fly_feats
    speed_factors: tuple[float, ...] = ()  # train also on copies at these speeds, as [0.9, 1.1]; needs on_the_fly_feats
    # folders with Lhotse Shar to train from, instead of the train part of stage 4's manifests
    shar_dir: tuple[str, ...] = field(default=(), metadata=FILE)
    # how often a window is taken from each folder of shar_dir while all have some left, as weights of CutSet.mux; an
    # epoch has every window once, whatever the weights; []: the numbers of windows, so that all last for the epoch
    shar_weights: tuple[float, ...] = ()
    # folders with Lhotse Shar for the loss on dev, instead of the dev part of stage 4's manifests
    shar_dev_dir: tuple[str, ...] = field(default=(), metadata=FILE)
    # CutSet files with other windows to train on, such as those that the initial weights were trained on
    mux_cuts: tuple[str, ...] = field(default=(), metadata=FILE)
    # windows of each file of mux_cuts for one of the train part, on average; an epoch ends with the train part
    mux_weights: tuple[float, ...] = ()
    # CutSet file of noises to mix in, with features like those of the windows
    noise_cuts: str | None = field(default=None, metadata=FILE)
    noise_probability: float = 0.5  # probability that noise is mixed into a window
    noise_snr: tuple[float, ...] = (10.0, 20.0)  # lowest and highest signal-to-noise ratio in dB

    def __post_init__(self) -> None:
        for name in ("max_duration", "ref_duration"):
            require(getattr(self, name) > 0, f"{name} must be > 0 s, got {getattr(self, name)}")
        require_all(self, ("time_mask_ratio",), 0, exclusive=True)
        require_all(self, ("num_workers",), 0)
        require_all(self, ("num_buckets",), 1)
        require(
            self.on_the_fly_feats or not self.speed_factors,
            "speed_factors need on_the_fly_feats: true; for stored features set the speeds of stage 4 (prep.yaml)",
        )
        require(
            self.on_the_fly_feats or not self.sound_augment.is_on,
            "sound_augment needs on_the_fly_feats: true, since stored features are those of the sound as it is",
        )
        bad = [x for x in self.speed_factors if not 0.5 <= x <= 2 or x == 1]
        require(not bad, f"speed_factors must be in 0.5..2 and not 1, got {bad}")
        twice = len(set(self.speed_factors)) < len(self.speed_factors)
        require(not twice, f"speed_factors must differ from each other, got {list(self.speed_factors)}")
        for name in ("shar_dir", "shar_dev_dir"):
            folders = getattr(self, name)
            require(all(folders), f"{name} must name folders, got an empty name")
            require(len(set(folders)) == len(folders), f"{name} names a folder twice: {list(folders)}")
        require(
            len(self.shar_weights) in (0, len(self.shar_dir)),
            f"shar_weights must have a weight for each of the {len(self.shar_dir)} folders of shar_dir, "
            f"got {list(self.shar_weights)}",
        )
        require(all(w > 0 for w in self.shar_weights), f"shar_weights must be > 0, got {list(self.shar_weights)}")
        require(
            len(self.mux_weights) == len(self.mux_cuts),
            f"mux_weights must have a weight for each of the {len(self.mux_cuts)} files of mux_cuts, got "
            f"{list(self.mux_weights)}",
        )
        require(all(self.mux_cuts), "mux_cuts must name files, got an empty name")
        require(all(w > 0 for w in self.mux_weights), f"mux_weights must be > 0, got {list(self.mux_weights)}")
        require(0 <= self.noise_probability <= 1, f"noise_probability must be in 0..1, got {self.noise_probability}")
        ascending = len(self.noise_snr) == 2 and self.noise_snr[0] <= self.noise_snr[1]
        require(ascending, f"noise_snr must be two numbers, ascending (dB), got {list(self.noise_snr)}")

    def batch_count(self, num_batches: int) -> float:
        """The progress of training after num_batches batches in all processes, in batches of ref_duration."""
        return num_batches * self.max_duration / self.ref_duration


@dataclass(frozen=True)
class AsrConfig:
    """Model, data and training of stage 5."""

    model: TransducerConfig = field(default_factory=TransducerConfig)  # the network and its losses
    data: AsrDataConfig = field(default_factory=AsrDataConfig)  # batches, features, augmentation
    train: TrainConfig = field(default_factory=TrainConfig)  # optimiser, epochs, checkpoints
    # start with stage 3's encoder, which must be trained on train only
    init_encoder_from_aligner: bool = field(default=False, metadata=FILE)
    # with stage 3's encoder: tokens, and the joiner, start with the weights of the aligner's units of pronunciation
    init_tokens_from_aligner: bool = False
    weigh_batches: bool = False  # true: weigh batches by their audio, as icefall does; false: all batches equally
    frozen_encoder_steps: int = 0  # steps at the start in which an initialised encoder stays unchanged
    # initialised modules that stay unchanged throughout, such as [encoder_embed]
    freeze_modules: tuple[str, ...] = ()
    # train only updates of initialised weights, of low rank; adapters are in `model`, since decoding needs them too
    lora: LoraConfig = field(default_factory=LoraConfig)
    # batches of ref_duration by which schedules of dropout and regularisers are ahead; 100000 for a trained model, as
    # in icefall: its layers are not skipped any more as those of a model that learns from nothing
    batches_ahead: float = 0.0
    # true: fuse functions of the encoder's layers with torch.compile (equal to rounding); needs a C++ compiler
    compile: bool = field(default=False, metadata=HOW_IT_RUNS)

    def __post_init__(self) -> None:
        require_all(self, ("frozen_encoder_steps", "batches_ahead"), 0)
        require(
            not (self.keeps_base and (self.frozen_encoder_steps or self.freeze_modules)),
            "with lora or adapters, all that is initialised stays unchanged: leave out frozen_encoder_steps and "
            "freeze_modules",
        )
        if self.model.use_cr_ctc:
            self._require_two_views()

    def _require_two_views(self) -> None:
        """Raise ConfigError if the data cannot give two views of an utterance."""
        masks, ratio = self.data.spec_augment, self.data.time_mask_ratio
        covered = masks.max_frames_fraction * ratio
        require(
            covered <= 1,
            "use_cr_ctc masks up to max_frames_fraction * time_mask_ratio of an utterance, which must be at most 1, "
            f"got {masks.max_frames_fraction:g} * {ratio:g}",
        )
        masks = masks.with_more_frame_masks(ratio)
        require(
            masks.has_frame_masks or masks.has_feature_masks,
            "use_cr_ctc needs masks over time or frequency (data.spec_augment): without any, two views are the same",
        )

    @property
    def keeps_base(self) -> bool:
        """Whether initialised weights stay unchanged, and LoRA or adapters are trained beside them."""
        return self.lora.rank > 0 or self.model.adapter_dim > 0


def require_base(config: AsrConfig, has_base: bool) -> None:
    """Raise ConfigError if there is no checkpoint with initial weights, but LoRA, adapters or tokens need one."""
    require(
        has_base or not config.init_tokens_from_aligner,
        "init_tokens_from_aligner needs the aligner: init_encoder_from_aligner: true in stage 5, --init-from "
        "data/C/aligned/aligner/pretrained.pt --init-modules encoder_embed,encoder by hand",
    )
    require(
        has_base or not config.keeps_base,
        "lora and model.adapter_dim fine-tune a trained recogniser: name its checkpoint with --init-from of "
        "python -m ml2021.asr.train, or set them to 0",
    )
