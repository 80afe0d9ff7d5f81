"""Bytes as printable characters, so that sentencepiece can learn from UTF-8, and text from bytes that may be broken.

icefall's byte-BPE writes each byte of a text's UTF-8 as one character: ASCII from the space to ~ as itself, each other
byte as a letter of Latin Extended-A or -B that NFKC leaves alone. What sentencepiece learns from it is a byte-BPE
(Wang et al., 2019, arXiv 1909.03341): a Chinese character is one to three pieces, and no text is out of vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

# Code points of bytes 0, 1, 2 ... in order: the letters that NFKC would change are left out.
_RANGES = ((256, 288), (32, 127), (288, 306), (308, 319), (321, 329), (330, 383), (384, 423))
BYTE_CHARS = "".join(chr(c) for begin, end in _RANGES for c in range(begin, end))
_BYTES = {char: byte for byte, char in enumerate(BYTE_CHARS)}


def to_byte_chars(text: str) -> str:
    """A character for each byte of the text's UTF-8."""
    return "".join(BYTE_CHARS[byte] for byte in text.encode("utf-8"))


def from_byte_chars(chars: str) -> bytes:
    """The bytes that characters stand for; a character that stands for none is left out."""
    return bytes(_BYTES[c] for c in chars if c in _BYTES)


def valid_characters(data: bytes) -> Iterator[tuple[str, int, int]]:
    """The characters in bytes of which some may not belong to one, as a hypothesis has them.

    As few bytes as possible are dropped. UTF-8 says at its first byte how long a character is, and no character's
    first byte is one of another's, so that the valid ones never overlap: every one of them is kept.

    Yields:
      The character, its first byte, and the byte behind its last.
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
