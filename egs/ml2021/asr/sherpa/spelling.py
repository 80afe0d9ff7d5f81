"""Words with times from the tokens that sherpa-onnx gives, or from a text without times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.word_times import drawn_out, drawn_to_onsets
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.byte_bpe import from_byte_chars, valid_characters
from ml2021.asr.sherpa.token_table import WORD_START, SherpaTokens
from ml2021.asr.words.characters import TimedCharacter, log_probability_of, words_of_characters
from ml2021.asr.words.spread import SPREAD_SCORE, spread_words
from ml2021.asr.words.timed_word import TimedWord

_SPECIAL = re.compile(r"<\|[^|]*\|>|</?s>|<(blk|blank|eps|pad|sos|eos|sos/eos|unk|SIL|sil)>|SIL|#\d+")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_CHARACTER = 0.25  # seconds that a character takes at most if the next token comes later
_LEAST = 0.04  # seconds that a word lasts after its last token begins


class TimedText(NamedTuple):
    """A token: what it spells, when it is said, and its probability."""

    symbol: str
    start: float  # seconds
    end: float | None  # seconds; None if only its beginning is known
    probability: float


def words_of_tokens(tokens: Sequence[TimedText], table: SherpaTokens, regions: NDArray[np.float64]) -> list[TimedWord]:
    """Normalised words, Han characters one by one, from a window's tokens.

    The characters of a token share its time. A word whose end is unknown lasts to the next word or the end of the
    stretch of speech, but not longer than StretchConfig.max_word; the first word of a stretch begins with it. The score
    is the geometric mean of the probabilities of the word's characters.

    Args:
      tokens: in order of time; special ones, such as <|zh|>, are dropped.
      table: how they spell words.
      regions: (R, 2) stretches of speech in seconds.
    """
    spelled = [t for t in tokens if not _SPECIAL.fullmatch(t.symbol)]
    data, token_of = _bytes_of([t.symbol for t in spelled], table)
    text, at = "", list[int]()
    for character, first, _ in valid_characters(data):
        text += character
        at += [token_of[first]] * len(character)
    characters = _timed_characters(text, at, spelled)
    words = words_of_characters(text, characters)
    has_ends = bool(spelled) and all(t.end is not None for t in spelled)
    return words if has_ends or not words else _with_ends(words, regions)


def words_of_text(text: str, regions: NDArray[np.float64], score: float = SPREAD_SCORE) -> list[TimedWord]:
    """Normalised words of a text, spread over stretches of speech by the time that they take to say."""
    texts = normalize_transcript(text).split()
    return [TimedWord(t, start, end, score) for t, (start, end) in zip(texts, spread_words(texts, regions))]


def _bytes_of(symbols: Sequence[str], table: SherpaTokens) -> tuple[bytes, list[int]]:
    """The UTF-8 that tokens spell, and the token of each byte."""
    data, token_of = bytearray(), list[int]()
    continues = False  # the token before ends with @@
    for index, symbol in enumerate(symbols):
        if match := _BYTE.fullmatch(symbol):
            piece = bytes([int(match[1], 16)])
        elif table.is_byte_bpe:
            piece = b" ".join(from_byte_chars(part) for part in symbol.split(WORD_START))
        elif table.joins_by_marks:
            piece = ("" if continues and symbol[:1].isascii() else " ").encode() + symbol.removesuffix("@@").encode()
            continues = symbol.endswith("@@")
        else:
            piece = symbol.replace(WORD_START, " ").replace("<space>", " ").encode()
        data += piece
        token_of += [index] * len(piece)
    return bytes(data), token_of


def _timed_characters(text: str, token_of: Sequence[int], tokens: Sequence[TimedText]) -> list[TimedCharacter]:
    said = [c.isalnum() for c in text]
    counts = [0] * len(tokens)
    for is_said, index in zip(said, token_of):
        counts[index] += is_said
    starts = [t.start for t in tokens]
    characters: list[TimedCharacter] = []
    done = [0] * len(tokens)
    for is_said, index in zip(said, token_of):
        token, count = tokens[index], max(1, counts[index])
        following = starts[index + 1] if index + 1 < len(tokens) else math.inf
        end = token.end if token.end is not None else min(following, token.start + _CHARACTER * count)
        step = max(0.0, end - token.start) / count
        begin = token.start + step * done[index]
        done[index] += is_said
        log_probability = log_probability_of(token.probability)
        length = step * is_said if token.end is not None else 0.0
        characters.append(TimedCharacter(begin, begin + length, is_said, log_probability))
    return characters


def _with_ends(words: Sequence[TimedWord], regions: NDArray[np.float64]) -> list[TimedWord]:
    first, moment = np.array([w.start for w in words]), np.array([w.end for w in words])
    start = drawn_to_onsets(first, moment, regions, least=0.0)
    end = np.maximum(drawn_out(start, moment, regions, StretchConfig.max_word), moment + _LEAST)
    end = np.maximum(start, np.minimum(end, np.append(start[1:], np.inf)))
    return [TimedWord(w.text, b, e, w.score) for w, b, e in zip(words, start.tolist(), end.tolist())]
