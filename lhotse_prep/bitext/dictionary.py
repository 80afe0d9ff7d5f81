"""Which English words may translate a Chinese word, by CC-CEDICT."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, product

from lhotse_prep.bitext.stems import stem
from lhotse_prep.text import cedict

MAX_WORD = 8  # characters of the longest word that is looked up
MIN_SYLLABLE = 3  # letters of the shortest syllable that may be part of a name
_PINYIN_AND_GLOSSES = re.compile(r"\[(?P<pinyin>[^]]*)\] /(?P<glosses>.*)/")
_NO_GLOSS = re.compile(r"CL:|surname |(old )?variant of|see |also written|also pr\.|used in ")
_ASIDE = re.compile(r"\([^)]*\)|\[[^]]*\]|[^\x00-\x7f]+\|?")
_WORD = re.compile(r"[a-z]+|\d+")
_NO_WORDS = set(re.findall(r"\w+", "a an the of to s sb sth etc lit fig eg ie abbr tw classifier prefix suffix"))
_FILLERS = set(re.findall(r"\w+", "or and in on for with by as at be one"))  # skipped in longer glosses


class Dictionary:
    """The dictionary's words that occur in some texts, with their translations.

    Args:
      texts: transcripts of either script, a character or an English word a token.
    Raises:
      DataError: the package's data has fewer entries than it says.
    """

    def __init__(self, texts: Iterable[Sequence[str]]) -> None:
        candidates = {
            run[i : i + n]
            for text in texts
            for _, run in _runs(text)
            for n in range(1, MAX_WORD + 1)
            for i in range(len(run) - n + 1)
        }
        weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for entry in cedict.entries(candidates):
            words = [w for w in dict.fromkeys([entry.traditional, entry.simplified]) if w in candidates]
            if words and (match := _PINYIN_AND_GLOSSES.match(entry.rest)):
                for word, (unit, weight) in product(words, _translations(match["glosses"], match["pinyin"])):
                    weights[word][unit] += weight
        self.translations = {  # {word: {stem: share}}; the shares of a word sum to 1
            word: {unit: w / sum(units.values()) for unit, w in units.items()} for word, units in weights.items()
        }

    def segment(self, tokens: Sequence[str]) -> list[tuple[int, str]]:
        """(index of its first token, word) of each word: Chinese ones by longest match from the right, other tokens."""
        words: list[tuple[int, str]] = []
        end = 0
        for first, run in _runs(tokens):
            words += [(i, tokens[i]) for i in range(end, first)]
            of_run: list[tuple[int, str]] = []
            j = len(run)
            while j > 0:
                lengths = range(min(MAX_WORD, j), 1, -1)
                length = next((n for n in lengths if run[j - n : j] in self.translations), 1)
                j -= length
                of_run.append((first + j, run[j : j + length]))
            words += reversed(of_run)
            end = first + len(run)
        return words + [(i, tokens[i]) for i in range(end, len(tokens))]


def _runs(tokens: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(index of the first, characters) of each run of tokens that are one character outside ASCII."""
    at = 0
    for is_character, group in groupby(tokens, lambda t: len(t) == 1 and not t.isascii()):
        run = list(group)
        if is_character:
            yield at, "".join(run)
        at += len(run)


def _translations(glosses: str, pinyin: str) -> Iterator[tuple[str, float]]:
    """(stem, weight) of each English word of an entry: a gloss weighs 1, shared by its words; then the spoken name.

    A name is often written as it is said: `楊` [yang2] as Yang, `台北` [Tai2 bei3] as Taibei.
    """
    for gloss in re.split("[/;]", glosses):
        if _NO_GLOSS.match(gloss):
            continue
        words = [w for w in _WORD.findall(_ASIDE.sub(" ", gloss.lower())) if w not in _NO_WORDS]
        words = words if len(words) == 1 else [w for w in words if w not in _FILLERS]
        for word in words:
            yield stem(word), 1 / len(words) ** 1.5
    syllables = [s.rstrip("12345").lower().replace("u:", "v") for s in pinyin.split()]
    for name in dict.fromkeys(["".join(syllables), *syllables]):
        if len(name) >= MIN_SYLLABLE and name.isalpha():
            yield stem(name), 0.2
