"""Writes bytes as printable characters for byte-BPE, and decodes text from bytes that may be incomplete.

icefall's byte-BPE writes each byte of a text's UTF-8 as one character: ASCII from the space to ~ as itself, any other
byte as a letter of Latin Extended-A or -B that NFKC does not change. Trained on such text, sentencepiece gives a
byte-BPE (Wang et al., 2019, arXiv 1909.03341): a Chinese character is one to three pieces, and no text is out of
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

# Code points for bytes 0, 1, 2 ... in order, without the letters that NFKC would change.
_RANGES = ((256, 288), (32, 127), (288, 306), (308, 319), (321, 329), (330, 383), (384, 423))
BYTE_CHARS = "".join(chr(c) for begin, end in _RANGES for c in range(begin, end))
_BYTES = {char: byte for byte, char in enumerate(BYTE_CHARS)}


def to_byte_chars(text: str) -> str:
    """The text's UTF-8 with one printable character per byte."""
    return "".join(BYTE_CHARS[byte] for byte in text.encode("utf-8"))


def from_byte_chars(chars: str) -> bytes:
    """The inverse of to_byte_chars; a character that stands for no byte is skipped."""
    return bytes(_BYTES[c] for c in chars if c in _BYTES)


def valid_characters(data: bytes) -> Iterator[tuple[str, int, int]]:
    """The valid UTF-8 characters in bytes that may contain incomplete ones, as those of a hypothesis may.

    As few bytes as possible are dropped: the first byte of a character gives its length and never occurs inside another
    character, so valid characters do not overlap, and all of them are kept.

    Yields:
      (character, index of its first byte, index after its last byte).
    """
    begin = 0
    while begin < len(data):
        lead = data[begin]
        end = begin + (1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        try:
            yield data[begin:end].decode("utf-8"), begin, end
            begin = end
        except UnicodeDecodeError:
            begin += 1
