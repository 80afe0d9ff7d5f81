"""Values of stages 2, 3 and 4: sections lang, stretches and windows of conf/*/prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.errors import ConfigError

LANG_KINDS = ("char+bpe", "bpe", "bbpe")


@dataclass(frozen=True)
class LangConfig:
    """The recogniser's tokens."""

    kind: str = "char+bpe"  # Chinese characters and an English BPE; or bpe: of all text, or bbpe: of its bytes
    num_english_pieces: int = 150  # of char+bpe: BPE pieces for everything that is not Han, at most
    min_char_count: int = 1  # of char+bpe: rarer characters become <unk>
    num_pieces: int = 2000  # tokens of bpe or bbpe, at most; never fewer than their alphabet (bytes: 258)
    case: str = "auto"  # lower; upper: tokens in capitals (bpe, bbpe, from_dir); auto: lower, or as those of from_dir
    from_dir: str | None = None  # a lang folder to take as it is, such as icefall's data/lang_bbpe_2000

    def __post_init__(self) -> None:
        if self.kind not in LANG_KINDS:
            raise ConfigError(f"kind must be one of {', '.join(LANG_KINDS)}, got {self.kind!r}")
        if self.num_english_pieces < 2 or self.min_char_count < 1 or self.num_pieces < 8:
            raise ConfigError("num_english_pieces must be >= 2, min_char_count >= 1 and num_pieces >= 8")
        if self.case not in ("auto", "lower", "upper"):
            raise ConfigError(f"case must be auto, lower or upper, got {self.case!r}")
        if self.case == "upper" and self.kind == "char+bpe" and self.from_dir is None:
            raise ConfigError("case upper is for kind bpe or bbpe, or for a folder that from_dir names")


@dataclass(frozen=True)
class StretchConfig:
    """Where one supervision ends and the next begins."""

    min_pause: float = 0.25  # seconds of silence between words
    min_word: float = 0.04  # seconds; a word lasts at least that long
    max_word: float = 1.5  # seconds; no word is drawn out longer: what follows is speech without text

    def __post_init__(self) -> None:
        if self.min_pause <= 0 or not 0 < self.min_word <= self.max_word:
            raise ConfigError("need min_pause > 0 s and 0 < min_word <= max_word (seconds)")


@dataclass(frozen=True)
class WindowConfig:
    """How lectures become cuts."""

    target_duration: float = 12.0  # seconds; a window is closed before it grows longer
    max_duration: float = 30.0  # seconds; a longer stretch without a pause is split at its widest gap between words
    min_duration: float = 0.3  # seconds; shorter ones are left out of training
    max_gap: float = 2.0  # seconds without text that a window may hold
    padding: float = 0.3  # seconds kept before and after the text, at most half of the pause there
    min_confidence: float = 0.3  # supervisions below are left out of training
    speed_factors: tuple[float, ...] = ()  # copies of the training windows at other speeds, e.g. [0.9, 1.1]
    shar: bool = False  # also write the windows as Lhotse Shar, for training from shards
    shard_size: int = 1000  # windows in a shard

    def __post_init__(self) -> None:
        if not 0 < self.min_duration < self.target_duration <= self.max_duration:
            raise ConfigError("need 0 < min_duration < target_duration <= max_duration (seconds)")
        if self.padding < 0 or self.max_gap <= 0 or not 0 <= self.min_confidence <= 1:
            raise ConfigError("need padding >= 0 s, max_gap > 0 s, min_confidence in 0..1")
        if self.shard_size < 1:
            raise ConfigError(f"shard_size must be >= 1, got {self.shard_size}")
        if any(not 0.5 <= factor <= 2 or factor == 1 for factor in self.speed_factors):
            raise ConfigError(f"speed_factors must be in 0.5..2 and not 1, got {list(self.speed_factors)}")
