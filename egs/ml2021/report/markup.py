"""HTML fragments. All text from data must pass through `escape` (text) or `data_script` (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["data_script", "details", "escape", "note", "number", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    """A table that scrolls sideways if it is too wide.

    Args:
      head: column titles, as plain text.
      rows: cells as HTML; a cell may include its own <td> or <th>.
      name: name of the table for screen readers.
    """
    rows = list(rows)
    numeric = [bool(rows) and rows[0][i].startswith('<td class="number"') for i in range(len(head))]
    header = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>{escape(title)}</th>'
        for title, is_number in zip(head, numeric)
    )
    body = "".join(
        "<tr>" + "".join(c if c.startswith(("<td", "<th")) else f"<td>{c}</td>" for c in row) + "</tr>\n"
        for row in rows
    )
    label = f' role="region" tabindex="0" aria-label="{escape(name)}"' if name else ""
    thead = f"<thead><tr>{header}</tr></thead>\n" if any(head) else ""
    return f'<div class="scroll"{label}><table>\n{thead}<tbody>\n{body}</tbody>\n</table></div>\n'


def number(text: str) -> str:
    """A table cell with a number: right-aligned, with digits of equal width."""
    return f'<td class="number">{escape(text)}</td>'


def note(text: str) -> str:
    """A paragraph of plain text that explains something or says what is not shown."""
    return f'<p class="note">{escape(text)}</p>\n'


def details(summary: str, content: str) -> str:
    """Collapsed content (HTML) that opens when its summary (plain text) is clicked."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}</details>\n"


def data_script(element_id: str, content: Any) -> str:
    """JSON for the page's script; < > & are written as \\u.... so that no text can close the element or open one."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" id="{escape(element_id)}">{text}</script>\n'
