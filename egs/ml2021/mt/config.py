"""Configuration of the translator: conf/*/mt.yaml, sections `mt` (stage 8) and `translate` (stages 9 and 10)."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.strict_config import require
from ml2021.training.config import TrainConfig

MAX_POSITIONS = 512  # pieces of a sentence, with its end mark, that every translator must take


@dataclass(frozen=True)
class MtModelConfig:
    """A Marian Transformer from random initialisation."""

    d_model: int = 192  # channels of encoder and decoder
    num_heads: int = 4  # attention heads of each layer
    num_encoder_layers: int = 3  # layers of the encoder
    num_decoder_layers: int = 3  # layers of the decoder
    feedforward_dim: int = 768  # channels inside the feed-forward modules
    dropout: float = 0.1  # dropout probability
    max_positions: int = MAX_POSITIONS  # pieces that the model has positions for

    def __post_init__(self) -> None:
        for name in ("d_model", "num_heads", "feedforward_dim"):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
        require(
            self.d_model % (2 * self.num_heads) == 0, f"d_model must be a multiple of 2 * num_heads, got {self.d_model}"
        )
        require(0 <= self.dropout < 1, f"dropout must be in 0..1, got {self.dropout}")
        least = MAX_POSITIONS
        require(self.max_positions >= least, f"max_positions must be >= {least}, got {self.max_positions}")
        require(min(self.num_encoder_layers, self.num_decoder_layers) > 0, "each side needs at least one layer")


@dataclass(frozen=True)
class NoiseConfig:
    """What recognition errors do to a source sentence, in training only."""

    sentence_probability: float = 0.3  # part of the sentences that get noise
    token_rate: float = 0.08  # tokens substituted, inserted or deleted in such a sentence
    burst: float = 0.0  # the rate at the token after one of these: recognition errors come in a row
    sound_alike: float = 0.5  # part of the substitutions that sound like the token, or misspell it
    keep_terms: bool = True  # English terms are misspelled at most, never lost or another's: the translation has them
    fillers: tuple[str, ...] = ("嗯", "呃", "啊", "喔")  # dropped with filler_drop
    filler_drop: float = 0.3  # probability that such a filler is dropped

    def __post_init__(self) -> None:
        for name in ("sentence_probability", "token_rate", "burst", "sound_alike", "filler_drop"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class MtDataConfig:
    """Sentence pairs, their pieces and batches."""

    vocab_size: int = 2000  # sentencepiece pieces of both languages together, at most
    max_tokens: int = 1200  # pieces of a batch, padding included, on its longer side
    max_pieces: int = 200  # longer sentences are left out of training
    clean_epochs: int = 0  # at first, on single sentences as they are; joining, noise and BPE-dropout begin after them
    join_probability: float = 0.3  # that a pair is joined with the next ones of its lecture
    max_join: int = 3  # pairs in a joined one
    bpe_dropout: float = 0.05  # part of the merges left out when a source sentence is cut into pieces
    label_smoothing: float = 0.1  # share of the target probability spread over all pieces
    context: int = 0  # sentences before that the source begins with; `translate.context` must be the same
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    def __post_init__(self) -> None:
        require(self.vocab_size >= 50, f"vocab_size must be >= 50, got {self.vocab_size}")
        most = MAX_POSITIONS
        require(0 < self.max_pieces <= most, f"max_pieces must be in 1..{most}, got {self.max_pieces}")
        require(self.max_tokens >= self.max_pieces, "max_tokens must be at least max_pieces")
        require(0 <= self.bpe_dropout < 1, f"bpe_dropout must be in 0..1, got {self.bpe_dropout}")
        require(0 <= self.label_smoothing < 1, f"label_smoothing must be in 0..1, got {self.label_smoothing}")
        require(0 <= self.join_probability <= 1, f"join_probability must be in 0..1, got {self.join_probability}")
        require(self.context >= 0, f"context must be >= 0 sentences, got {self.context}")
        require(self.clean_epochs >= 0, f"clean_epochs must be >= 0, got {self.clean_epochs}")
        require(self.max_join >= 1, f"max_join must be >= 1, got {self.max_join}")


@dataclass(frozen=True)
class MtConfig:
    """Everything that stage 8 needs."""

    model: MtModelConfig = field(default_factory=MtModelConfig)
    data: MtDataConfig = field(default_factory=MtDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    # A published model's folder or name on the hub: Marian, M2M100 or NLLB. Its shape and pieces count, not `model`'s.
    init_from: str = ""
    source_lang: str = ""  # codes of an M2M100 (zh, en) or NLLB (zho_Hant, eng_Latn) model; Marian has none
    target_lang: str = ""  # the code of the language to translate into


@dataclass(frozen=True)
class TranslateConfig:
    """How sentences are translated."""

    engine: str = "ctranslate2"  # or transformers
    beam_size: int = 4  # hypotheses of the beam search
    max_length: int = 256  # pieces of a translation, at most
    max_batch_tokens: int = 2000  # pieces in a batch
    compute_type: str = "float32"  # of CTranslate2: float32, int8 ...
    context: int = 0  # sentences before that the source begins with, as many as in training
    comet_model: str = ""  # a checkpoint (.ckpt) of COMET, which stage 9 scores with where comet-score is installed

    def __post_init__(self) -> None:
        known = ("ctranslate2", "transformers")
        require(self.engine in known, f"engine must be one of {', '.join(known)}, got {self.engine!r}")
        require(self.context >= 0, f"context must be >= 0 sentences, got {self.context}")
        require(self.beam_size >= 1, f"beam_size must be >= 1, got {self.beam_size}")
        require(self.max_batch_tokens >= 1, f"max_batch_tokens must be >= 1, got {self.max_batch_tokens}")
        require(0 < self.max_length < MAX_POSITIONS, f"max_length must be in 1..{MAX_POSITIONS - 1}")
