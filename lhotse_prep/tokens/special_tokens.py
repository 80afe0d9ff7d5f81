"""Finds the tokens that are not text by their names: the blank, the unknown token, the sentence mark and others.

icefall's recipes put them in different places: `<blk> 0, <sos/eos> 1, <unk> 2`, or `<unk>` after all characters, or no
`<sos/eos>` at all. Only the blank is always 0, as the transducer and CTC losses need it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from lhotse_prep.workflow.errors import DataError

BLANK, SOS_EOS, UNK = "<blk>", "<sos/eos>", "<unk>"
BLANK_NAMES = (BLANK, "<blank>", "<eps>", "<BLK>", "<BLANK>")
UNK_NAMES = (UNK, "<UNK>", "[UNK]", "<oov>", "<OOV>")
SENTENCE_NAMES = (SOS_EOS, "<SOS/EOS>", "<sos>", "<SOS>", "<bos>", "<BOS>", "<s>", "[CLS]", "</s>", "<eos>", "<EOS>")
SPACE_NAMES = ("<space>", "<SPACE>", "▁", " ")
BLANK_ID = 0
# <noise>, </s>, <|zh|>, [PAD]: two letters or more, because <y> may be a formula
_MARK = re.compile(r"<\|[^|<>\s]+\|>|</?(?:s|[A-Za-z][\w/.+-]+)>|\[(?:UNK|PAD|CLS|SEP|MASK|SOS|EOS|BOS)\]")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the tokens that are not text."""

    unk: int  # stands for what the other tokens cannot write
    sentence: int | None  # starts a text for a language model; None: the vocabulary has no such token
    silent: frozenset[int]  # decode to nothing: the blank, the sentence mark, tags of languages and the like

    @property
    def bos(self) -> int:
        """The token in front of a text: the sentence mark or, without one, the blank."""
        return BLANK_ID if self.sentence is None else self.sentence

    @property
    def not_text(self) -> frozenset[int]:
        """All of them, the unknown token included."""
        return self.silent | {self.unk}


def special_tokens(
    symbols: Sequence[str],
    unk: int | None = None,
    silent: Collection[int] = (),
    is_text: Callable[[int], bool] = lambda _: False,
    where: str = "tokens.txt",
) -> SpecialTokens:
    """Find the special tokens of a vocabulary.

    Args:
      symbols: the tokens by id.
      unk: the id of the unknown token, if a sentencepiece model says it.
      silent: ids that are known to be silent, such as the control pieces of a sentencepiece model.
      is_text: whether a token is text in spite of its name, such as the byte <0xE6>.
      where: the file, for the message.
    Raises:
      DataError: token 0 is no blank, or there is no unknown token.
    """
    if not symbols or symbols[BLANK_ID] not in BLANK_NAMES:
        raise DataError(f"{where}: {_no_blank(symbols)}")
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    if unk is None:
        unk = next((ids[name] for name in UNK_NAMES if name in ids), None)
    if unk is None:
        raise DataError(
            f"{where} has no token {' or '.join(UNK_NAMES[:2])}, which stands for what the others cannot write; take "
            "the tokens.txt of the model's training, not one of a decoding graph"
        )
    marks = {i for i, s in enumerate(symbols) if _MARK.fullmatch(s) and s not in SPACE_NAMES and not is_text(i)}
    sentence = next((ids[name] for name in SENTENCE_NAMES if name in ids and ids[name] != unk), None)
    return SpecialTokens(unk, sentence, frozenset({BLANK_ID, *silent, *marks} - {unk}))


def _no_blank(symbols: Sequence[str]) -> str:
    first = repr(symbols[0]) if symbols else "missing"
    names = ", ".join(BLANK_NAMES[:3])
    place = next((f"{s} is token {i}" for i, s in enumerate(symbols) if s in BLANK_NAMES), "")
    if place:
        return f"token 0 is {first}, and {place}: the blank ({names}) must be token 0, as in icefall's recipes"
    if len(symbols) > 1 and all(_BASE64.fullmatch(s) for s in symbols[:50]) and any(s[-1] == "=" for s in symbols[:50]):
        return (
            "the tokens are in base64, those of a Whisper model, which has no blank: it is no icefall transducer; give "
            "the folder of the model itself to --asr instead"
        )
    return (
        f"token 0 is {first} and no token is a blank ({names}): these are not the tokens of a transducer or CTC model "
        "of icefall"
    )
