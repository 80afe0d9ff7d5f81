"""The recogniser's tokens: section `lang` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.result_options import FILE

LANG_KINDS = ("char+bpe", "bpe", "bbpe", "char")


@dataclass(frozen=True)
class LangConfig:
    """The recogniser's tokens."""

    # Chinese characters and an English BPE; bpe: a BPE of all text; bbpe: a BPE of its bytes; char: characters and
    # letters alone, which only from_dir has
    kind: str = "char+bpe"
    num_english_pieces: int = 150  # char+bpe only: maximum number of BPE pieces for everything that is not Han
    min_char_count: int = 1  # char+bpe only: rarer characters become <unk>
    # char+bpe only: a Han character that is only in texts without audio becomes a token if it occurs this often in
    # them; 0: none does. A search with a lexicon or a language model of these texts can then write it
    min_text_char_count: int = 0
    num_pieces: int = 2000  # bpe, bbpe only: maximum number of tokens, but at least what the alphabet needs (bbpe: 259)
    case: str = "auto"  # lower; upper: tokens in capitals (bpe, bbpe, from_dir); auto: lower, or as from_dir has it
    # a lang folder to copy, such as icefall's data/lang_bbpe_2000; unchanged but for add_characters
    from_dir: str | None = field(default=None, metadata=FILE)
    # char+bpe with from_dir only: Han characters that it lacks become tokens after its own, by min_char_count and
    # min_text_char_count, for a training that begins with that folder's recogniser
    add_characters: bool = False

    def __post_init__(self) -> None:
        if self.kind not in LANG_KINDS:
            raise ConfigError(f"kind must be one of {', '.join(LANG_KINDS)}, got {self.kind!r}")
        if self.add_characters and (self.from_dir is None or self.kind != "char+bpe"):
            raise ConfigError(
                "add_characters adds to the tokens of another folder, of kind char+bpe: name it in from_dir, or set "
                "add_characters: false"
            )
        if self.kind == "char" and self.from_dir is None:
            raise ConfigError("kind char needs from_dir: a recipe's list of characters (tokens.txt) to copy")
        if self.num_english_pieces < 2 or self.min_char_count < 1 or self.num_pieces < 8:
            raise ConfigError("num_english_pieces must be >= 2, min_char_count >= 1 and num_pieces >= 8")
        if self.min_text_char_count < 0:
            raise ConfigError(f"min_text_char_count must be >= 0 (0: off), got {self.min_text_char_count}")
        if self.case not in ("auto", "lower", "upper"):
            raise ConfigError(f"case must be auto, lower or upper, got {self.case!r}")
        if self.case == "upper" and self.kind == "char+bpe" and self.from_dir is None:
            raise ConfigError("case upper needs kind bpe or bbpe, or from_dir")
