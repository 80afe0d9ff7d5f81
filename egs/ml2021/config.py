"""Configuration of the recogniser and of training. Prep's own dataclasses stand beside what they configure."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.errors import ConfigError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, the same for recogniser and translator."""

    num_epochs: int = 20
    base_lr: float = 1e-3  # the peak, reached after warm-up
    final_lr_factor: float = 0.05  # learning rate of the last step, as a part of base_lr
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    grad_clip: float = 5.0  # largest gradient norm
    average_period: int = 20  # steps between updates of the running average of the weights
    average_epochs: int = 5  # the last epochs whose average becomes pretrained.pt
    keep_epochs: int = 8  # epoch-N.pt files kept, counted from the newest
    save_every_n: int = 500  # steps between checkpoint-N.pt
    log_interval: int = 50  # steps between log lines
    seed: int = 42
    max_bad_steps: int = 10  # non-finite losses in a row before training stops

    def __post_init__(self) -> None:
        _require(self.num_epochs > 0, f"num_epochs must be > 0, got {self.num_epochs}")
        _require(self.base_lr > 0, f"base_lr must be > 0, got {self.base_lr}")
        _require(0 <= self.final_lr_factor <= 1, f"final_lr_factor must be in 0..1, got {self.final_lr_factor}")
        _require(self.average_epochs > 0, f"average_epochs must be > 0, got {self.average_epochs}")
        _require(
            self.keep_epochs > self.average_epochs,
            f"keep_epochs ({self.keep_epochs}) must be more than average_epochs ({self.average_epochs})",
        )


@dataclass(frozen=True)
class EncoderConfig:
    """Convolutional subsampling by 4 and a conformer."""

    num_layers: int = 6
    dim: int = 192
    num_heads: int = 4
    feedforward_dim: int = 512
    cnn_kernel: int = 15
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require(self.dim % (2 * self.num_heads) == 0, f"dim {self.dim} must be a multiple of 2 * num_heads")
        _require(self.cnn_kernel % 2 == 1, f"cnn_kernel must be odd, got {self.cnn_kernel}")
        _require(0 <= self.dropout < 1, f"dropout must be in 0..1, got {self.dropout}")


@dataclass(frozen=True)
class TransducerConfig:
    """Prediction network, joiner and the losses."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder_dim: int = 192
    context_size: int = 2  # previous tokens that the stateless decoder sees
    joiner_dim: int = 192
    prune_range: int = 5
    lm_scale: float = 0.25  # smoothing of the simple loss towards the decoder alone
    am_scale: float = 0.0  # and towards the encoder alone
    simple_loss_scale: float = 0.5
    ctc_loss_scale: float = 0.2
    rnnt_type: str = "modified"  # at most one token a frame, as the searches emit them; or regular, constrained
    warm_step: int = 300  # steps over which the pruned loss comes in and the simple loss goes down to its scale

    def __post_init__(self) -> None:
        _require(self.prune_range >= 2, f"prune_range must be >= 2, got {self.prune_range}")
        kinds = ("regular", "modified", "constrained")
        _require(self.rnnt_type in kinds, f"rnnt_type must be one of {', '.join(kinds)}, got {self.rnnt_type!r}")
        _require(self.context_size >= 1, f"context_size must be >= 1, got {self.context_size}")
        _require(0 <= self.lm_scale + self.am_scale < 1, "lm_scale + am_scale must be in 0..1")


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Masks over features (Park et al., 2019)."""

    num_frame_masks: int = 6
    max_frames_mask: int = 30  # frames of 10 ms
    max_frames_fraction: float = 0.2  # of an utterance
    num_feature_masks: int = 2
    features_mask_size: int = 20  # mel bins


@dataclass(frozen=True)
class AsrDataConfig:
    """Batches of cuts."""

    max_duration: float = 80.0  # seconds of audio a batch
    num_buckets: int = 10
    num_workers: int = 0
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        _require(self.max_duration > 0, f"max_duration must be > 0 s, got {self.max_duration}")


@dataclass(frozen=True)
class AsrConfig:
    """Everything that stage 5 needs: conf/*/asr.yaml."""

    model: TransducerConfig = field(default_factory=TransducerConfig)
    data: AsrDataConfig = field(default_factory=AsrDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    init_encoder_from_aligner: bool = True  # begin from stage 3's encoder where it saw only the train part
    frozen_encoder_steps: int = 0  # first steps that leave the encoder as it is, so that new layers cannot spoil it


@dataclass(frozen=True)
class AlignerConfig:
    """Stage 3's own acoustic model: rounds of CTC training and re-alignment, on units of pronunciation."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    data: AsrDataConfig = field(default_factory=AsrDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    first_epochs: int = 4  # of the first round of training
    more_epochs: int = 2  # of each round after it; the alignment is made anew after each
    max_rounds: int = 8
    learned_confidence: float = 0.95  # median of the words', from which a second round or a later one is the last
    min_steps: int = 500  # of the first round, in whole epochs: CTC loss stays flat for some hundred steps
    train_parts: tuple[str, ...] = ("train",)  # parts whose lectures train the aligner
    num_english_pieces: int = 150
    window_duration: float = 6.0  # seconds, of the windows that the aligner trains on
    settled: float = 0.05  # seconds; and a round is the last only where words moved less than that (median)
    star_penalty: float = 2.0  # log-probability that a frame of speech without text pays, last alignment only
    skip_cost: float = 4.0  # and a token with no speech
    mismatch_penalty: float = 4.5  # and a token spoken as another
    min_island: int = 6  # tokens; shorter timed runs that stand alone are untimed
    model: str = ""  # align with this and train nothing: a CTC model's folder, or a recogniser's .ctm or .jsonl

    def __post_init__(self) -> None:
        rounds = (self.first_epochs, self.more_epochs, self.max_rounds)
        _require(min(rounds) > 0, f"first_epochs, more_epochs and max_rounds must be > 0, got {rounds}")
        _require(0 < self.learned_confidence < 1, f"learned_confidence must be in 0..1, got {self.learned_confidence}")
        _require(self.settled > 0, f"settled must be > 0 s, got {self.settled}")
        _require(
            0 < self.star_penalty < self.mismatch_penalty < self.star_penalty + self.skip_cost,
            "need 0 < star_penalty < mismatch_penalty < star_penalty + skip_cost",
        )
        bad = set(self.train_parts) - {"train", "dev", "test"}
        _require(not bad, f"train_parts must be of train, dev, test, got {', '.join(sorted(bad))}")


@dataclass(frozen=True)
class LongFormConfig:
    """Overlapping windows over a whole lecture."""

    chunk: float = 16.0  # seconds whose tokens a window gives
    context: float = 2.0  # seconds heard besides, on both sides

    def __post_init__(self) -> None:
        _require(self.chunk > 0 and self.context >= 0, "chunk must be > 0 s and context >= 0 s")


@dataclass(frozen=True)
class DecodeConfig:
    """Stages 6 and 10: conf/*/decode.yaml."""

    decoding_method: str = "greedy_search"
    max_duration: float = 200.0  # seconds of audio a batch
    blank_penalty: float = 0.0
    long_form: LongFormConfig = field(default_factory=LongFormConfig)
