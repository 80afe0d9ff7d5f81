"""Stems of English words: the forms of a word become one unit, so that a dictionary's form meets the translation's.

A stem is a key, not a word: `making` and `make` both give `mak`.
"""

from __future__ import annotations

from functools import lru_cache

_VOWELS = frozenset("aeiouy")
# Forms that no suffix explains, by base form.
_IRREGULAR = {
    "be": "am is are was were been being",
    "become": "became",
    "begin": "began begun",
    "break": "broke broken",
    "bring": "brought",
    "build": "built",
    "buy": "bought",
    "can": "could",
    "catch": "caught",
    "child": "children",
    "choose": "chose chosen",
    "come": "came",
    "do": "did done does doing",
    "draw": "drew drawn",
    "drink": "drank drunk",
    "drive": "drove driven",
    "eat": "ate eaten",
    "fall": "fell fallen",
    "feel": "felt",
    "fight": "fought",
    "find": "found",
    "fly": "flew flown",
    "foot": "feet",
    "forget": "forgot forgotten",
    "get": "got gotten",
    "give": "gave given",
    "go": "went gone goes going",
    "good": "better best",
    "grow": "grew grown",
    "have": "has had having",
    "he": "him his himself",
    "hear": "heard",
    "hide": "hid hidden",
    "hold": "held",
    "i": "me my mine myself",
    "it": "its itself",
    "keep": "kept",
    "know": "knew known",
    "lead": "led",
    "leave": "left",
    "lose": "lost",
    "make": "made",
    "man": "men",
    "many": "more most",
    "mean": "meant",
    "meet": "met",
    "mouse": "mice",
    "pay": "paid",
    "person": "people",
    "rise": "rose risen",
    "run": "ran",
    "say": "said",
    "see": "saw seen",
    "sell": "sold",
    "send": "sent",
    "she": "her hers herself",
    "show": "shown",
    "sing": "sang sung",
    "sit": "sat",
    "sleep": "slept",
    "speak": "spoke spoken",
    "spend": "spent",
    "stand": "stood",
    "steal": "stole stolen",
    "take": "took taken",
    "teach": "taught",
    "tell": "told",
    "they": "them their theirs themselves",
    "think": "thought",
    "throw": "threw thrown",
    "tooth": "teeth",
    "understand": "understood",
    "we": "us our ours ourselves",
    "use": "uses used using",
    "wear": "wore worn",
    "win": "won",
    "woman": "women",
    "write": "wrote written",
    "you": "your yours yourself",
}
_BASE = {form: base for base, forms in _IRREGULAR.items() for form in forms.split()}


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """The stem of a word in lower case; of a word with characters other than a to z, the word itself."""
    word = _BASE.get(word, word)
    if len(word) <= 3 or not (word.isascii() and word.isalpha()):
        return word
    word = _without_ending(_singular(word))
    word = _BASE.get(word, word)
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _without_ending(word: str) -> str:
    """The word without -ing, -ed, -ly or -ion, if what is left looks like a word."""
    for ending in ("ing", "ed", "ly", "ion"):
        rest = word.removesuffix(ending)
        if rest == word or len(rest) < 3 or not _VOWELS & set(rest):
            continue
        if ending in ("ing", "ed") and rest[-1] == rest[-2] and rest[-1] not in "lsz":
            return rest[:-1]
        return rest
    return word
