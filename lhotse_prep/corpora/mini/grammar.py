"""A small bilingual grammar: each rule writes a Mandarin phrase and its English translation together.

A rule is one line of text, `SYMBOL WEIGHT | Mandarin | English | head`. Both sides have slots `{SYMBOL}`; the same slot
on both sides is the same phrase, and `{SYMBOL2}` is another phrase of that symbol. A slot may require a form:

  {thing:m}      Mandarin side: the measure word of the noun
  {thing:pl}     the plural (a mass noun stays as it is)      {thing:a}   with `a` or `an`
  {thing:the}    with `the` (a mass noun stays as it is)
  {ADJ:er}       comparative                                  {ADJ:est}   superlative
  {VP:ing}       gerund                                       {VP:NP}     the verb agrees with the phrase of slot NP
  {=be:NP}       the verb in the slot itself, which agrees with NP

The head gives the phrase its number: `sg`, `pl`, `I`, the name of a slot, or `SLOT.pl` (plural unless a mass noun).
A comma on the Mandarin side is a short pause in the speech; it is not in the transcript.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from lhotse_prep.corpora.mini.english import comparative, plural, superlative, verb_form, with_article

_SLOT = re.compile(r"\{(=?)([A-Za-z+]+)(\d?)(?::(\w+))?\}")
# Exponent by which a rule becomes rarer with use, so that a few rules do not fill a lecture.
_USE_DISCOUNT = 0.6
_MAX_DEPTH = 9  # of nested phrases; from there on only the rules with the fewest slots are used


@dataclass(frozen=True)
class Phrase:
    """A phrase in both languages.

    Args:
      mandarin: characters and terms, with "," at pauses.
      english: a noun in the singular, a verb phrase in its base form, any other phrase as it is used.
      number: "count" or "mass" for a noun, "sg", "pl" or "I" for a noun phrase, "" for other phrases.
      measure: the measure word of a noun.
      names: of the rules that the phrase was drawn with.
    """

    mandarin: str
    english: str
    number: str = ""
    measure: str = ""
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Rule:
    """One line of the grammar."""

    symbol: str
    weight: float
    mandarin: str
    english: str
    head: str = ""
    measure: str = ""

    @cached_property
    def name(self) -> tuple[str, str]:
        """(symbol, Mandarin side), by which uses of the rule are counted."""
        return self.symbol, self.mandarin

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The names of the slots in the order of the Mandarin side, without repetition."""
        names = [m[2] + m[3] for m in _SLOT.finditer(self.mandarin) if not m[1]]
        return tuple(dict.fromkeys(names))

    @cached_property
    def phrase(self) -> Phrase:
        """The phrase of a rule without slots."""
        return Phrase(self.mandarin, self.english, self.head, self.measure, (self.name,))


def parse_rules(text: str) -> list[Rule]:
    """Read rules, one per line; blank lines and lines that begin with # are skipped."""
    rules = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, mandarin, english, *number = [part.strip() for part in line.split("|")]
        symbol, weight = head.split()
        rules.append(Rule(symbol, float(weight), mandarin, english, number[0] if number else ""))
    return rules


@dataclass
class Grammar:
    """Rules by symbol, and how often each has been used."""

    rules: Mapping[str, list[Rule]]
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    # {symbol: cumulative weights of its rules}, until one of them is used
    _weights: dict[str, list[float]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Grammar:
        """Group the rules by symbol."""
        grouped: dict[str, list[Rule]] = {}
        for rule in rules:
            grouped.setdefault(rule.symbol, []).append(rule)
        return cls(grouped)

    def draw(
        self, symbol: str, rng: random.Random, filled: Mapping[str, Phrase] | None = None, depth: int = 0
    ) -> Phrase:
        """Draw a phrase at random; the more a rule has been used, the less likely it is.

        Args:
          symbol: of the phrase.
          rng: source of randomness.
          filled: phrases for slots, by name; the others are drawn.
          depth: of nested phrases so far.
        """
        rules = self.rules[symbol]
        if depth >= _MAX_DEPTH:  # to end the recursion
            fewest = min(len(r.slots) for r in rules)
            rules = [r for r in rules if len(r.slots) == fewest]
            weights = self._cumulative_weights(rules)
        elif symbol in self._weights:
            weights = self._weights[symbol]
        else:
            weights = self._weights[symbol] = self._cumulative_weights(rules)
        rule = rng.choices(rules, cum_weights=weights)[0]
        parts = dict(filled or {})
        for slot in rule.slots:
            if slot not in parts:
                parts[slot] = self.draw(slot.rstrip("0123456789"), rng, None, depth + 1)
        return write_phrase(rule, parts)

    def count(self, phrase: Phrase) -> None:
        """Count a drawn phrase as used."""
        self.used.update(phrase.names)
        for symbol, _ in phrase.names:
            self._weights.pop(symbol, None)

    def _cumulative_weights(self, rules: Iterable[Rule]) -> list[float]:
        return list(accumulate(r.weight / (1 + self.used[r.name] / r.weight) ** _USE_DISCOUNT for r in rules))


def write_phrase(rule: Rule, parts: Mapping[str, Phrase]) -> Phrase:
    """The phrase of a rule with its slots filled; `parts` are the phrases by slot."""
    if not parts:
        return rule.phrase
    number, measure = rule.head, rule.measure
    slot, _, as_plural = rule.head.partition(".")
    if slot in parts:
        part = parts[slot]
        measure = part.measure
        number = part.number
        if as_plural:
            number = "sg" if part.number == "mass" else "pl"
        elif rule.symbol.isupper() and number in ("count", "mass"):  # the rule adds a determiner to the noun
            number = "sg"
    return Phrase(
        mandarin=_SLOT.sub(lambda m: _mandarin_slot(m, parts), rule.mandarin),
        english=_SLOT.sub(lambda m: _english_slot(m, parts), rule.english),
        number=number,
        measure=measure,
        names=(rule.name, *(name for part in parts.values() for name in part.names)),
    )


def _mandarin_slot(match: re.Match[str], parts: Mapping[str, Phrase]) -> str:
    part = parts[match[2] + match[3]]
    return part.measure if match[4] == "m" else f" {part.mandarin} "


def _english_slot(match: re.Match[str], parts: Mapping[str, Phrase]) -> str:
    literal, name, index, form = match.groups()
    text, number = (name, "") if literal else (parts[name + index].english, parts[name + index].number)
    if not form:
        return text
    if form == "pl":
        return text if number == "mass" else plural(text)
    if form == "the":
        return text if number == "mass" else f"the {text}"
    if form == "a":
        return with_article(text)
    if form == "er":
        return comparative(text)
    if form == "est":
        return superlative(text)
    if form == "ing":
        return verb_form(text, "ing")
    return verb_form(text, parts[form].number)
