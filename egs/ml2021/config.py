"""Configuration of the recogniser and of training. Prep's own dataclasses stand beside what they configure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from lhotse_prep.errors import ConfigError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_all(config: object, names: Sequence[str], least: float, more: bool = False) -> None:
    """Raise ConfigError where one of the named values is below `least`, or with `more` is not above it."""
    for name in names:
        value = getattr(config, name)
        _require(
            value > least or (value == least and not more),
            f"{name} must be {'>' if more else '>='} {least:g}, got {value}",
        )


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, the same for recogniser and translator."""

    num_epochs: int = 20
    optimizer: str = "adamw"  # or scaled_adam, for the Zipformer
    schedule: str = "cosine"  # of the learning rate: a half cosine down to the last step, or eden, as icefall has it
    base_lr: float = 1e-3  # the peak, reached after warm-up; 0.045 suits scaled_adam
    warmup_steps: int = 200
    warmup_start: float = 0.1  # eden: part of its rate that warm-up begins from
    final_lr_factor: float = 0.05  # cosine: learning rate of the last step, as a part of base_lr
    weight_decay: float = 1e-2  # adamw
    grad_clip: float = 5.0  # adamw: largest gradient norm; scaled_adam takes twice the median norm
    lr_batches: float = 7500.0  # eden: steps after which the learning rate falls
    lr_epochs: float = 3.5  # eden: and epochs
    average_period: int = 20  # steps between updates of the running average of the weights
    average_epochs: int = 5  # the last epochs whose average becomes pretrained.pt
    keep_epochs: int = 8  # epoch-N.pt files kept, counted from the newest
    save_every_n: int = 500  # steps between checkpoint-N.pt
    keep_last_k: int = 5  # checkpoint-N.pt kept while their epoch lasts
    log_interval: int = 50  # steps between log lines
    seed: int = 42
    max_bad_steps: int = 10  # non-finite losses in a row before training stops
    precision: str = "float32"  # of matrix products: float32, bf16 or fp16 (with loss scaling)
    accum_grad: int = 1  # batches of a process whose gradients make a step
    scan_worst_batches: bool = True  # try the largest batches before training, so that memory runs out then or never
    num_diagnostics_batches: int = 8  # batches that --print-diagnostics looks at

    def __post_init__(self) -> None:
        _require(self.num_epochs > 0, f"num_epochs must be > 0, got {self.num_epochs}")
        _require_all(self, ("warmup_steps", "weight_decay"), 0)
        _require_all(self, ("grad_clip",), 0, more=True)
        known = self.optimizer in ("adamw", "scaled_adam")
        _require(known, f"optimizer must be adamw or scaled_adam, got {self.optimizer!r}")
        known = self.schedule in ("cosine", "eden")
        _require(known, f"schedule must be cosine or eden, got {self.schedule!r}")
        _require(self.base_lr > 0, f"base_lr must be > 0, got {self.base_lr}")
        _require(0 <= self.warmup_start <= 1, f"warmup_start must be in 0..1, got {self.warmup_start}")
        _require(min(self.lr_batches, self.lr_epochs) > 0, "lr_batches and lr_epochs must be > 0")
        _require(0 <= self.final_lr_factor <= 1, f"final_lr_factor must be in 0..1, got {self.final_lr_factor}")
        _require(self.average_epochs > 0, f"average_epochs must be > 0, got {self.average_epochs}")
        _require(
            self.keep_epochs > self.average_epochs,
            f"keep_epochs ({self.keep_epochs}) must be more than average_epochs ({self.average_epochs})",
        )
        _require(self.keep_last_k >= 2, f"keep_last_k must be >= 2, one may be damaged; got {self.keep_last_k}")
        kinds = ("float32", "bf16", "fp16")
        _require(self.precision in kinds, f"precision must be one of {', '.join(kinds)}, got {self.precision!r}")
        counts = ("accum_grad", "save_every_n", "log_interval", "max_bad_steps", "num_diagnostics_batches")
        _require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")
        for name in (*counts, "average_period"):
            _require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class StackConfig:
    """One stack of the Zipformer: layers of one dimension at one frame rate."""

    num_layers: int
    downsampling: int  # of the 50 frames a second that the embedding gives
    dim: int
    unmasked_dim: int  # channels that are never hidden in training
    feedforward_dim: int  # of the middle feed-forward; the others have 3/4 and 5/4 of it
    num_heads: int
    query_head_dim: int
    value_head_dim: int
    pos_head_dim: int
    cnn_kernel: int  # frames of the stack

    def __post_init__(self) -> None:
        _require(min(self.num_layers, self.num_heads) > 0, "num_encoder_layers and num_heads must be > 0")
        _require(self.downsampling > 0, f"downsampling_factor must be > 0, got {self.downsampling}")
        _require(self.dim % 4 == 0, f"encoder_dim must be a multiple of 4, got {self.dim}")
        _require(0 < self.unmasked_dim <= self.dim, f"encoder_unmasked_dim must be in 1..{self.dim}")
        _require(self.feedforward_dim % 4 == 0, f"feedforward_dim must be a multiple of 4, got {self.feedforward_dim}")
        _require(self.cnn_kernel % 2 == 1, f"cnn_module_kernel must be odd, got {self.cnn_kernel}")


@dataclass(frozen=True)
class ZipformerConfig:
    """The Zipformer encoder, its values named as icefall's options. A list of one value counts for every stack."""

    num_encoder_layers: tuple[int, ...] = (2, 2, 3, 4, 3, 2)
    downsampling_factor: tuple[int, ...] = (1, 2, 4, 8, 4, 2)
    encoder_dim: tuple[int, ...] = (192, 256, 384, 512, 384, 256)
    encoder_unmasked_dim: tuple[int, ...] = (192, 192, 256, 256, 256, 192)
    feedforward_dim: tuple[int, ...] = (512, 768, 1024, 1536, 1024, 768)
    num_heads: tuple[int, ...] = (4, 4, 4, 8, 4, 4)
    query_head_dim: tuple[int, ...] = (32,)
    value_head_dim: tuple[int, ...] = (12,)
    pos_head_dim: tuple[int, ...] = (4,)
    cnn_module_kernel: tuple[int, ...] = (31, 31, 15, 15, 15, 31)
    pos_dim: int = 48
    warmup_batches: float = 4000.0  # over which the stacks begin to learn, one after the other
    causal: bool = False  # chunks that see nothing of what comes after them: for streaming
    chunk_size: tuple[int, ...] = (16, 32, 64, -1)  # frames at 50 a second, -1: all; in training one is drawn
    left_context_frames: tuple[int, ...] = (64, 128, 256, -1)  # in evaluation and in a stream the first ones count
    # Padding changes no output (but for a causal model with chunk_size -1). False: as icefall, where it touches the
    # last frames of the shorter utterances of a batch, and by attention a little all of them.
    mask_padding: bool = True

    def __post_init__(self) -> None:
        stacks = self.stacks()
        _require(self.pos_dim % 2 == 0 and self.pos_dim > 0, f"pos_dim must be even, got {self.pos_dim}")
        _require(self.warmup_batches > 0, f"warmup_batches must be > 0, got {self.warmup_batches}")
        _require(len(self.chunk_size) > 0 and len(self.left_context_frames) > 0, "chunk_size must not be empty")
        if self.causal:
            for chunk in self.chunk_size:
                bad = chunk != -1 and (chunk <= 0 or any(chunk % s.downsampling for s in stacks))
                _require(not bad, f"chunk_size must be -1 or a multiple of every downsampling_factor, got {chunk}")
            for s in stacks:
                reach = s.cnn_kernel // 2 * s.downsampling
                short = [n for n in self.left_context_frames if 0 <= n < reach]
                _require(not short, f"left_context_frames must be >= {reach} for its convolutions, got {short}")

    @property
    def output_dim(self) -> int:
        """Dimension of encoder_out."""
        return max(s.dim for s in self.stacks())

    def stacks(self) -> tuple[StackConfig, ...]:
        """One configuration a stack."""
        num_stacks = len(self.downsampling_factor)
        columns = []
        for name in (
            "num_encoder_layers", "downsampling_factor", "encoder_dim", "encoder_unmasked_dim", "feedforward_dim",
            "num_heads", "query_head_dim", "value_head_dim", "pos_head_dim", "cnn_module_kernel",
        ):  # fmt: skip
            values = getattr(self, name)
            _require(
                len(values) in (1, num_stacks),
                f"{name} must have one value or {num_stacks}, as downsampling_factor has, got {values}",
            )
            columns.append(values * num_stacks if len(values) == 1 else values)
        return tuple(StackConfig(*row) for row in zip(*columns))


@dataclass(frozen=True)
class TransducerConfig:
    """Prediction network, joiner and the losses."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig)
    decoder_dim: int = 512
    context_size: int = 2  # previous tokens that the stateless decoder sees
    joiner_dim: int = 512
    prune_range: int = 5
    lm_scale: float = 0.25  # smoothing of the simple loss towards the decoder alone
    am_scale: float = 0.0  # and towards the encoder alone
    simple_loss_scale: float = 0.5
    ctc_loss_scale: float = 0.2
    rnnt_type: str = "modified"  # at most one token a frame, as the searches emit them; or regular, constrained
    loss_backend: str = "auto"  # k2's functions, our own (native), or auto: k2's where it is installed
    warm_step: int = 300  # steps over which the pruned loss comes in and the simple loss goes down to its scale

    def __post_init__(self) -> None:
        _require(self.prune_range >= 2, f"prune_range must be >= 2, got {self.prune_range}")
        kinds = ("regular", "modified", "constrained")
        _require(self.rnnt_type in kinds, f"rnnt_type must be one of {', '.join(kinds)}, got {self.rnnt_type!r}")
        backends = ("auto", "k2", "native")
        _require(self.loss_backend in backends, f"loss_backend must be one of {backends}, got {self.loss_backend!r}")
        _require_all(self, ("decoder_dim", "joiner_dim"), 1)
        _require_all(self, ("lm_scale", "am_scale", "simple_loss_scale", "ctc_loss_scale", "warm_step"), 0)
        _require(self.context_size >= 1, f"context_size must be >= 1, got {self.context_size}")
        _require(0 <= self.lm_scale + self.am_scale < 1, "lm_scale + am_scale must be in 0..1")


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
        _require_all(self, [f.name for f in fields(self)], 0)
        _require(self.max_frames_fraction <= 1, f"max_frames_fraction must be in 0..1, got {self.max_frames_fraction}")


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
            _require(getattr(self, name) > 0, f"{name} must be > 0 s, got {getattr(self, name)}")
        _require_all(self, ("num_workers",), 0)
        _require_all(self, ("num_buckets",), 1)
        _require(
            self.on_the_fly_feats or not self.speed_factors,
            "speed_factors need on_the_fly_feats: true; stored ones come from stage 4 (prep.yaml)",
        )
        bad = [x for x in self.speed_factors if not 0.5 <= x <= 2 or x == 1]
        _require(not bad, f"speed_factors must be in 0.5..2 and not 1, got {bad}")
        _require(0 <= self.noise_probability <= 1, f"noise_probability must be in 0..1, got {self.noise_probability}")
        ascending = len(self.noise_snr) == 2 and self.noise_snr[0] <= self.noise_snr[1]
        _require(ascending, f"noise_snr must be two numbers, ascending (dB), got {list(self.noise_snr)}")

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
        _require_all(self, ("frozen_encoder_steps",), 0)


@dataclass(frozen=True)
class AlignerConfig:
    """Stage 3's own acoustic model: rounds of CTC training and re-alignment, on units of pronunciation."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig)
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
    star_opening: float = 3.0  # and each stretch of such speech at its beginning
    skip_cost: float = 4.0  # and a token with no speech
    mismatch_penalty: float = 4.5  # and a token spoken as another
    min_island: int = 6  # tokens; shorter timed runs amid more text without times are untimed
    model: str = ""  # align with this and train nothing: a CTC model's folder, or a recogniser's .ctm or .jsonl

    @property
    def costs(self) -> dict[str, float]:
        """What faults of a transcript cost, by the names of lhotse_prep.align.align."""
        names = ("star_penalty", "star_opening", "skip_cost", "mismatch_penalty")
        return {name: getattr(self, name) for name in names}

    def __post_init__(self) -> None:
        rounds = (self.first_epochs, self.more_epochs, self.max_rounds)
        _require(min(rounds) > 0, f"first_epochs, more_epochs and max_rounds must be > 0, got {rounds}")
        _require(0 < self.learned_confidence < 1, f"learned_confidence must be in 0..1, got {self.learned_confidence}")
        _require_all(self, ("settled", "window_duration"), 0, more=True)
        _require_all(self, ("min_steps", "min_island"), 0)
        _require_all(self, ("num_english_pieces",), 2)
        _require_all(self, ("star_opening",), 0)
        _require(
            0 < self.star_penalty < self.mismatch_penalty < self.star_penalty + self.star_opening + self.skip_cost,
            "need 0 < star_penalty < mismatch_penalty < star_penalty + star_opening + skip_cost",
        )
        bad = set(self.train_parts) - {"train", "dev", "test"}
        _require(not bad, f"train_parts must be of train, dev, test, got {', '.join(sorted(bad))}")


@dataclass(frozen=True)
class LongFormConfig:
    """Overlapping windows over a whole lecture."""

    chunk: float = 16.0  # seconds whose tokens a window gives
    context: float = 2.0  # seconds heard besides, on both sides
    max_silence: float = 8.0  # seconds; what lies in a longer silence is not decoded; 0: all is decoded

    def __post_init__(self) -> None:
        _require(self.chunk > 0 and self.context >= 0, "chunk must be > 0 s and context >= 0 s")
        _require(
            self.max_silence == 0 or self.max_silence > 2 * self.context,
            f"max_silence must be 0 or more than twice context ({self.context} s), got {self.max_silence}",
        )


DECODING_METHODS = (
    "greedy_search",
    "modified_beam_search",
    "beam_search",
    "fast_beam_search",
    "fast_beam_search_nbest",
    "fast_beam_search_nbest_LG",
    "ctc_greedy_search",
    "ctc_prefix_beam_search",
)
FUSION_METHODS = ("modified_beam_search", "beam_search", "ctc_prefix_beam_search")  # take a language model and hotwords


@dataclass(frozen=True)
class DecodeConfig:
    """Stages 6 and 10: conf/*/decode.yaml."""

    decoding_method: str = "greedy_search"
    max_duration: float = 200.0  # seconds of audio a batch
    blank_penalty: float = 0.0  # taken from the blank's log-probability, for fewer deletions
    beam_size: int = 4  # hypotheses of modified_beam_search, beam_search and ctc_prefix_beam_search
    max_sym_per_frame: int = 5  # tokens a frame of beam_search, which needs a model of rnnt_type regular
    beam: float = 20.0  # fast_beam_search: log-probability below the best at which a path is given up
    max_contexts: int = 8  # fast_beam_search: decoder contexts a frame
    max_states: int = 64  # fast_beam_search: states of the graph a frame
    num_paths: int = 200  # fast_beam_search_nbest: paths drawn from the lattice
    nbest_scale: float = 0.5  # and the scale of the scores while they are drawn
    lg_file: str | None = None  # fast_beam_search_nbest_LG: the graph, from ml2021.asr.search.lg_graph
    ngram_lm_scale: float = 0.01  # and the scale of its scores
    lm_scale: float = 0.0  # of the language model's log-probabilities; 0: none is used
    lm_dir: str | None = None  # its folder, from ml2021.asr.lm.train; stages 6 and 10 take exp/C/lm
    hotwords_file: str | None = None  # a term a line, `: score` after it where it has its own
    hotwords_score: float = 1.5  # bonus a token of a hotword
    long_form: LongFormConfig = field(default_factory=LongFormConfig)

    def __post_init__(self) -> None:
        method = self.decoding_method
        known = method in DECODING_METHODS
        _require(known, f"decoding_method must be one of {', '.join(DECODING_METHODS)}, got {method!r}")
        _require(self.max_duration > 0, f"max_duration must be > 0 s, got {self.max_duration}")
        for name in (
            "beam_size",
            "max_sym_per_frame",
            "max_contexts",
            "max_states",
            "beam",
            "num_paths",
            "nbest_scale",
        ):
            _require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
        _require(self.lm_scale >= 0, f"lm_scale must be >= 0, got {self.lm_scale}")
        has_graph = method != "fast_beam_search_nbest_LG" or self.lg_file is not None
        _require(
            has_graph, f"{method} needs a graph: make one with python -m ml2021.asr.search.lg_graph, name it lg_file"
        )
        fits = method in FUSION_METHODS or not self.has_fusion
        _require(fits, f"lm_scale and hotwords_file need one of {', '.join(FUSION_METHODS)}, not {method}")

    @property
    def has_fusion(self) -> bool:
        """Whether a language model or hotwords are asked for."""
        return self.lm_scale > 0 or self.hotwords_file is not None


def with_lm_dir(config: DecodeConfig, exp: Path) -> DecodeConfig:
    """Where a language model is used and no folder named, that of the experiment: exp/lm, which stage 6 makes."""
    return replace(config, lm_dir=str(exp / "lm")) if config.lm_scale > 0 and config.lm_dir is None else config
