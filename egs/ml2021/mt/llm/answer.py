"""The text of a chat model's answer: without thoughts, special tokens, labels and quotation marks around it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_NAMES = "(?:think|thinking|thought|thoughts|reasoning|seed:think)"
_OPENS = re.compile(rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|channel>")
_CLOSES = re.compile(rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<channel\|>")
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"  # of gpt-oss
_LABEL = re.compile(
    r"\W*(?:sure\W{1,2})?(?:here(?: is|['’]s) )?(?:the )?(?:english translation|english|translation)(?: is)?"
    r"\W{0,3}[:：]\W{0,4}(?=\w)",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "「": "」", "`": "`", "**": "**"}


def ends_in_thought(text: str) -> bool:
    """Whether a thought is open at the end of a text; some chat templates open one for the model."""
    closes = [m.end() for m in _CLOSES.finditer(text)]
    return _OPENS.search(text, closes[-1] if closes else 0) is not None


def without_thoughts(text: str, is_open: bool) -> tuple[str, bool]:
    """Take thoughts out of an answer.

    Args:
      is_open: whether the answer begins inside a thought.
    Returns:
      The rest, and whether the answer ends inside a thought.
    """
    if _FINAL in text:
        return text.rsplit(_FINAL, 1)[1], False
    if _CHANNEL in text:
        return "", True
    closes = list(_CLOSES.finditer(text))
    if closes:
        text, is_open = text[closes[-1].end() :], False
    opens = _OPENS.search(text)
    if is_open:
        return "", True
    return (text[: opens.start()], True) if opens else (text, False)


def plain_answer(text: str, special_tokens: Sequence[str], source: str) -> str:
    """An answer without special tokens, a label such as `Translation:`, and quotation marks that the source lacks."""
    for token in special_tokens:
        text = text.replace(token, "")
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc").strip()
    if (label := _LABEL.match(text)) and not _LABEL.match(source):
        text = text[label.end() :]
    for begin, end in _QUOTES.items():
        inner = text[len(begin) : len(text) - len(end)]
        is_quoted = len(text) > len(begin) + len(end) and text.startswith(begin) and text.endswith(end)
        if is_quoted and begin not in source and begin not in inner and end not in inner:
            text = inner.strip()
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
