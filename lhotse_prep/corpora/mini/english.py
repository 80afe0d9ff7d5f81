"""English inflection for the grammar of the mini corpus: plurals, articles, verb forms, comparison."""

from __future__ import annotations

_MODALS = {"can", "cannot", "will", "should", "did", "may", "must", "could", "would"}
_THIRD_PERSON = {"be": "is", "have": "has", "do": "does", "go": "goes"}
_BE = {"I": "am", "pl": "are", "sg": "is"}
_PLURALS = {"matrix": "matrices", "minimum": "minima"}
_COMPARISON = {"good": ("better", "best"), "strange": ("stranger", "strangest")}
_DOUBLED = {"stop", "put", "overfit", "plot", "begin", "forget", "drop"}
_A_BEFORE_VOWEL = ("uni", "use", "one")


def plural(noun: str) -> str:
    """The plural of a noun, made by inflecting its last word."""
    first, space, last = noun.rpartition(" ")
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return first + space + last


def with_article(noun: str) -> str:
    """The noun with `a` or `an` before it."""
    vowel = noun[0].lower() in "aeiou" and not noun.lower().startswith(_A_BEFORE_VOWEL)
    return f"{'an' if vowel else 'a'} {noun}"


def verb_form(phrase: str, form: str) -> str:
    """Inflect the first word of a verb phrase.

    Args:
      phrase: begins with a base form, "train the model", or with a modal, which is not inflected.
      form: "ing" for the gerund, or the number of the subject: "sg", "pl", "I".
    """
    verb, space, rest = phrase.partition(" ")
    if verb in _MODALS:
        pass
    elif form == "ing":
        verb = _gerund(verb)
    elif verb == "be":
        verb = _BE[form]
    elif form == "sg":
        verb = _third_person(verb)
    return verb + space + rest


def comparative(adjective: str) -> str:
    """`larger`, `more robust`."""
    return _compare(adjective, 0)


def superlative(adjective: str) -> str:
    """`largest`, `most robust`."""
    return _compare(adjective, 1)


def _compare(adjective: str, degree: int) -> str:
    if adjective in _COMPARISON:
        return _COMPARISON[adjective][degree]
    syllables = sum(a in "aeiou" and b not in "aeiou" for a, b in zip(adjective, adjective[1:] + "."))
    if len(adjective) > 6 or syllables > 2 or "-" in adjective or adjective in ("random", "linear", "robust", "useful"):
        return f"{('more', 'most')[degree]} {adjective}"
    ending = ("er", "est")[degree]
    if adjective.endswith("e"):
        return adjective + ending[1:]
    if adjective.endswith("y"):
        return adjective[:-1] + "i" + ending
    if adjective in ("big", "hot"):
        return adjective + adjective[-1] + ending
    return adjective + ending


def _third_person(verb: str) -> str:
    if verb in _THIRD_PERSON:
        return _THIRD_PERSON[verb]
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def _gerund(verb: str) -> str:
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and not verb.endswith(("ee", "be")):
        return verb[:-1] + "ing"
    return verb + "ing"
