"""Configuration of the translator: sections `mt` (stage 8) and `translate` (stages 9 and 10) of conf/*/mt.yaml."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.result_options import FILE, HOW_IT_RUNS, only_if
from lhotse_prep.workflow.strict_config import require, to_mapping
from ml2021.training.config import TrainConfig

MT_FILES = ("marian/*",)  # what translating and exporting read of stage 8
MAX_POSITIONS = 512  # pieces per sentence, including the end mark, that every translator must accept


@dataclass(frozen=True)
class MtModelConfig:
    """Size of a Marian Transformer that is trained from random weights. Ignored if `init_from` is set."""

    d_model: int = 192  # channels of encoder and decoder; a multiple of 2 * num_heads
    num_heads: int = 4  # attention heads per layer
    num_encoder_layers: int = 3  # number of encoder layers
    num_decoder_layers: int = 3  # number of decoder layers
    feedforward_dim: int = 768  # channels inside the feed-forward modules
    dropout: float = 0.1  # dropout probability in training
    max_positions: int = MAX_POSITIONS  # longest sentence that the model can represent, in pieces; at least 512

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
    """Simulated recognition errors in source sentences. Applied in training only."""

    sentence_probability: float = 0.3  # probability that a sentence gets noise
    token_rate: float = 0.08  # share of its tokens that are substituted, inserted or deleted
    burst: float = 0.0  # error rate right after an error, if higher than token_rate, because recognition errors cluster
    sound_alike: float = 0.5  # share of the substitutions by a homophone, or by a misspelling of an English word
    keep_terms: bool = True  # only misspell English words, never delete or replace them, since translations keep them
    fillers: tuple[str, ...] = ("嗯", "呃", "啊", "喔")  # tokens that are fillers, which a recogniser often omits
    filler_drop: float = 0.3  # probability that a filler is deleted, in every sentence

    def __post_init__(self) -> None:
        for name in ("sentence_probability", "token_rate", "burst", "sound_alike", "filler_drop"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class MtDataConfig:
    """Sentence pairs, their sentencepiece pieces, and batches."""

    vocab_size: int = 2000  # maximum number of sentencepiece pieces, shared by both languages
    max_tokens: int = 1200  # maximum size of a batch in pieces, with padding, on its longer side
    max_pieces: int = 200  # sentences with more pieces are left out of training
    clean_epochs: int = 0  # first epochs without joining, noise and BPE-dropout
    join_probability: float = 0.3  # probability that a pair is joined with the next pairs of its lecture
    max_join: int = 3  # maximum number of pairs that are joined
    bpe_dropout: float = 0.05  # BPE-dropout: probability of skipping a merge when a source is split into pieces
    label_smoothing: float = 0.1  # share of the target probability that is spread over all pieces
    context: int = 0  # preceding sentences put before the source; the model remembers it
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
    """Training of the translator."""

    model: MtModelConfig = field(default_factory=MtModelConfig, metadata=only_if(init_from=""))
    data: MtDataConfig = field(default_factory=MtDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    # Model to start training from: folder or Hugging Face name of a Marian, M2M100 or NLLB model. Its size and pieces
    # replace those of `model` and `data.vocab_size`. Empty to train from random weights.
    init_from: str = field(default="", metadata=FILE)
    # Without a GPU, run.sh has stages 7 to 9 (bitext, mt-train, mt-decode) beside 5 and 6, and 11 beside 10, on half of
    # the cores each.
    # It pays for models so small that more threads or processes hardly make their training quicker.
    beside_recogniser: bool = field(default=False, metadata=HOW_IT_RUNS)
    source_lang: str = ""  # language code of the transcripts for M2M100 (zh) or NLLB (zho_Hant); empty for Marian
    target_lang: str = ""  # language code of the translations for M2M100 (en) or NLLB (eng_Latn); empty for Marian


@dataclass(frozen=True)
class TranslateConfig:
    """Translation of sentences."""

    engine: str = "ctranslate2"  # program that translates: ctranslate2 or transformers
    beam_size: int = 4  # hypotheses that the beam search keeps
    max_length: int = 256  # maximum length of a translation in pieces
    max_batch_tokens: int = 2000  # maximum size of a batch in source pieces
    compute_type: str = "float32"  # number format of ctranslate2, such as float32 or int8
    context: int | None = None  # preceding sentences that the model reads; null: as in training, 3 for a chat model
    # Language of the sentences, for published models that have several: a code of M2M100 or NLLB, or a name for a chat
    # model. Empty for Chinese.
    source_lang: str = ""
    target_lang: str = ""  # language of the translations, likewise; empty for English
    # COMET checkpoint (.ckpt) for stage 9, used if comet-score is installed; empty for no COMET
    comet_model: str = field(default="", metadata=FILE)

    def __post_init__(self) -> None:
        known = ("ctranslate2", "transformers")
        require(self.engine in known, f"engine must be one of {', '.join(known)}, got {self.engine!r}")
        require(self.context is None or self.context >= 0, f"context must be >= 0 sentences, got {self.context}")
        require(self.beam_size >= 1, f"beam_size must be >= 1, got {self.beam_size}")
        require(self.max_batch_tokens >= 1, f"max_batch_tokens must be >= 1, got {self.max_batch_tokens}")
        require(0 < self.max_length < MAX_POSITIONS, f"max_length must be in 1..{MAX_POSITIONS - 1}")


def trained_context(exp_dir: Path) -> int:
    """`data.context` in the config.json of a training; 0 if there is none."""
    try:
        return int(json.loads((exp_dir / "config.json").read_text(encoding="utf-8"))["data"]["context"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def as_in_0_2(config: TranslateConfig, exp_dir: Path) -> dict[str, Any]:
    """The values with which version 0.2 would have translated as config does with the model trained in exp_dir."""
    values = to_mapping(config) | {"context": trained_context(exp_dir) if config.context is None else config.context}
    return {name: value for name, value in values.items() if name not in ("source_lang", "target_lang")}


def require_same_context(mt: MtConfig, translate: TranslateConfig, path: Path) -> None:
    """Raise ConfigError if mt.yaml, which is at path, would translate with another context than it trains with."""
    require(
        translate.context in (None, mt.data.context),
        f"{path}: translate.context is {translate.context}, but mt.data.context is {mt.data.context}; "
        "remove translate.context, or give both the same number of sentences",
    )
