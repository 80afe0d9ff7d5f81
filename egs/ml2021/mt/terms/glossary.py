"""A glossary: terms of the lectures, and how they are to be translated.

A line of its file is `term<TAB>translation`. Empty lines and lines that begin with `# ` are left out.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.text.normalize import normalize_for_scoring
from lhotse_prep.workflow.errors import DataError, list_names
from ml2021.mt.terms.translation import TermUse, Translation

logger = logging.getLogger(__name__)
_SPLIT = re.compile("[-‐‑‒–]")  # hyphens: self-attention is also written self attention


@dataclass(frozen=True)
class Term:
    """A line of the glossary."""

    term: str
    translation: str
    line: int  # its number in the file


class Glossary:
    """Terms and their translations."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms
        self._terms: dict[tuple[str, ...], Term] = {}
        for term in terms:
            for key in _spellings(folded(term.term)):
                self._terms.setdefault(key, term)
        self._lengths = sorted({len(key) for key in self._terms}, reverse=True)

    def terms_in(self, sentence: Sequence[str]) -> list[Term]:
        """The different terms of a sentence, in their order there. Where terms overlap, the longest counts.

        Chinese terms match by characters, others by whole words, whatever the case and the Chinese script.
        """
        words = folded(" ".join(sentence))
        is_free = [True] * len(words)
        places: list[tuple[int, Term]] = []
        for length in self._lengths:
            for start in range(len(words) - length + 1):
                term = self._terms.get(tuple(words[start : start + length]))
                if term is not None and all(is_free[start : start + length]):
                    is_free[start : start + length] = [False] * length
                    places.append((start, term))
        return list(dict.fromkeys(term for _, term in sorted(places, key=lambda place: place[0])))

    def uses(self, sentence: Sequence[str], text: str) -> tuple[TermUse, ...]:
        """The terms of a sentence, and whether its translation keeps them."""
        terms = self.terms_in(sentence)
        return tuple(TermUse(t.term, t.translation, is_kept(t.translation, text)) for t in terms)


def read_glossary(path: Path) -> Glossary:
    """Read a glossary.

    Raises:
      DataError: there is no such file, it is not UTF-8, a line is not `term<TAB>translation`, or two lines translate a
        term differently.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"glossary {path} is not UTF-8 (byte {e.start}); save it as plain text in UTF-8") from e
    except OSError as e:
        raise DataError(f"glossary {path} cannot be read: {e.strerror or e}") from e
    terms: dict[tuple[str, ...], Term] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("# ") or line.strip() == "#":
            continue
        term = _parse(line.strip("\r\n"), f"{path}:{number}", number)
        key = tuple(folded(term.term))
        before = terms.setdefault(key, term)
        if before.translation != term.translation:
            raise DataError(
                f"{path}:{number}: {term.term!r} is translated as {term.translation!r} here and as "
                f"{before.translation!r} in line {before.line}; keep one of them"
            )
    if not terms:
        raise DataError(f"glossary {path} has no terms; its lines must be term<TAB>translation")
    return Glossary(list(terms.values()))


def _parse(line: str, where: str, number: int) -> Term:
    columns = [" ".join(column.split()) for column in line.split("\t")]
    if len(columns) != 2 or not all(columns):
        problem = f"has {len(columns) - 1} tabs" if len(columns) != 2 else "lacks the term or its translation"
        raise DataError(f"{where}: {line[:60]!r} {problem}; a line must be term<TAB>translation")
    for column in columns:
        if not folded(column):
            raise DataError(f"{where}: {column!r} has no letter or digit to look for; remove the line")
    return Term(columns[0], columns[1], number)


def folded(text: str) -> list[str]:
    """Words and single Chinese characters of a text, in lower case, in Simplified script, without punctuation."""
    return convert_script(normalize_for_scoring(text), "t2s").split()


def _spellings(words: Sequence[str]) -> list[tuple[str, ...]]:
    """A term as it is, with its hyphens as spaces, and with hyphens between its words if none is Chinese."""
    split = tuple(part for word in words for part in _SPLIT.split(word) if part)
    spellings = [tuple(words), split]
    if not any(is_han(char) for word in words for char in word):
        spellings.append(("-".join(split),))
    return [s for s in dict.fromkeys(spellings) if s]


def is_kept(translation: str, text: str) -> bool:
    """Whether a text has a term's translation, as whole words; case, hyphens, plural and genitive do not matter."""
    wanted, words = _parts(translation), _parts(text)
    return any(
        all(_are_forms(a, b) for a, b in zip(wanted, words[i : i + len(wanted)], strict=True))
        for i in range(len(words) - len(wanted) + 1)
    )


def _parts(text: str) -> list[str]:
    return [part for word in folded(text) for part in _SPLIT.split(word) if part]


def _are_forms(first: str, second: str) -> bool:
    """Whether one word is the other, its plural or its genitive."""
    return first == second or second in _inflected(first) or first in _inflected(second)


def _inflected(word: str) -> set[str]:
    if len(word) < 3:
        return {word + "'s"}
    plurals = {word + "s", word + "es", re.sub("y$", "ies", word), re.sub("is$", "es", word)}
    return plurals | {form + ending for form in (word, *plurals) for ending in ("'s", "'")}


def term_report(translations: Iterable[Translation]) -> dict[str, Any]:
    """How often terms of the glossary occur in sentences and how often translations keep them, as JSON holds it.

    Returns:
      `occurred`, `kept` and `missed`: numbers of sentences with a term, over all terms; `terms`: the same of each term,
      with its translation, those missed most often first.
    """
    occurred, kept = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for use in (use for translation in translations for use in translation.terms):
        occurred[use.term, use.translation] += 1
        kept[use.term, use.translation] += use.is_kept
    rows: list[dict[str, Any]] = [
        {"term": pair[0], "translation": pair[1], "occurred": n, "kept": kept[pair], "missed": n - kept[pair]}
        for pair, n in sorted(occurred.items(), key=lambda item: (kept[item[0]] - item[1], item[0]))
    ]
    total, num_kept = sum(occurred.values()), sum(kept.values())
    return {"occurred": total, "kept": num_kept, "missed": total - num_kept, "terms": rows}


def log_terms(translations: Iterable[Translation]) -> None:
    """One line on the terms of the glossary: how many occur, how many are kept, and which are not."""
    report = term_report(translations)
    missed = [f"{r['term']} ({r['translation']}) {r['missed']} times" for r in report["terms"] if r["missed"]]
    logger.info(
        "glossary: terms occur %d times; the translations keep %d and miss %d%s",
        report["occurred"],
        report["kept"],
        report["missed"],
        f": {list_names(missed)}" if missed else "",
    )
