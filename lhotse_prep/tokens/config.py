"""The tokens: section `lang` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

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
