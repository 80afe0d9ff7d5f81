"""Rare English terms of texts: words, and runs of words, that a lecturer may say and training hardly has.

A word is one of Latin letters, maybe with digits and - ' . + # inside (t-sne, gpt-3, c++), of two characters or more.
A run is two to four words beside each other, one of them rare, that occur together twice or more (gradient descent).
Function words (the, of, is ...) are no terms, and no run begins or ends with one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from lhotse_prep.text.normalize import normalize_transcript

Term = tuple[str, ...]  # its words, normalised
MOST_WORDS = 4  # of a run
_LETTER = "a-zà-öø-ž"
_WORD = re.compile(rf"(?=.*[{_LETTER}])(?=(?:.*[0-9{_LETTER}]){{2}})[0-9{_LETTER}][0-9{_LETTER}'.+#-]*")
_SENTENCE = re.compile(r"[.,;:!?)\]]+(?=\s|$)|(?<!\S)[(\[]|[\"“”—\n]")  # what separates the words of a run
# what a translation has and a lecturer says in Chinese: adverbs, past forms, numbers
_SAID_IN_CHINESE = re.compile(r"[^-]{4,}(?:ly|ed)|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-.*)?|\w+teen")
_FUNCTION_WORDS = """
    a about above after again against all almost also although always am among an and another any anyone anything
    are around as at away back be because been before behind being below besides between both but by can cannot
    could did do does doing done down during each either else enough etc even ever every everyone everything few
    first for from get gets getting give given gives go goes going gone good got had has have having he hello her
    here hers him his how however i if in instead into is it its itself just keep know last later least less let
    like little look lot lots made make makes making many may maybe me might mine more most much must
    my myself need never next no nobody none nor not nothing now of off often oh ok okay old on once one ones only
    or other others our ours out over own please put quite rather really right said same say says see seen she
    should since so some someone something sometimes soon still such take taken takes than thank thanks that the
    their theirs them then there these they thing things think this those though through thus to today together
    too two under until up upon us use used uses using usually very want wants was way we well went were what
    whatever when where whether which while who whole whom whose why will with within without would yeah yes yet
    you your yours yourself i'm i'll i've i'd it's it'll that's there's here's what's let's we're we'll we've
    you're you'll you've he's she's they're they'll they've isn't aren't wasn't weren't don't doesn't didn't won't
    wouldn't can't couldn't shouldn't haven't hasn't hadn't
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def is_term_word(word: str) -> bool:
    """Whether a normalised word may be a term by itself."""
    return _WORD.fullmatch(word) is not None and word not in FUNCTION_WORDS


def counts_of_transcripts(texts: Iterable[str]) -> Counter[Term]:
    """How often the terms occur in normalised texts."""
    return _counts(run for text in texts for run in _runs(text))


def counts_of_translations(texts: Iterable[str]) -> Counter[Term]:
    """The same of English texts with punctuation, over which no run goes."""
    return _counts(
        run for text in texts for part in _SENTENCE.split(text) if part for run in _runs(normalize_transcript(part))
    )


def rare_terms(counts: Mapping[Term, int], in_training: Mapping[Term, int], fewer_than: int) -> set[Term]:
    """The words that training has fewer than `fewer_than` times, and the recurring runs with one of them.

    A term that is always a part of a longer one is left out, since a bonus for both would count twice.

    Args:
      counts, in_training: of counts_of_transcripts, in all texts and in the transcripts of training.
    """
    words = {t for t in counts if len(t) == 1 and in_training.get(t, 0) < fewer_than}
    rare = words | {t for t, n in counts.items() if n >= 2 and any((word,) in words for word in t)}
    inside = {part for term in rare for part in _parts(term) if counts.get(part, 0) == counts[term]}
    return rare - inside


def without_plurals(terms: set[Term], in_training: Mapping[Term, int], fewer_than: int) -> set[Term]:
    """The terms without plurals of another one, or of one that training has `fewer_than` times or more."""
    return {t for t in terms if not _is_plural(t, terms, in_training, fewer_than)}


def terms_of_translation(counts: Mapping[Term, int], in_training: Mapping[Term, int], fewer_than: int) -> set[Term]:
    """What a lecturer may have kept in English: terms of a translation that translations of training hardly have.

    What these have often is known from training, in English or in Chinese. No adverbs, past forms or numbers.

    Args:
      counts, in_training: of counts_of_translations, of the lectures and of training.
    """
    rare = rare_terms(counts, in_training, fewer_than)
    return {t for t in rare if not any(_SAID_IN_CHINESE.fullmatch(w) or w in FUNCTION_WORDS for w in t)}


def _runs(text: str) -> Iterator[list[str]]:
    """The runs of English words of a normalised text, as long as they are."""
    run: list[str] = []
    for word in text.split():
        if _WORD.fullmatch(word) or word in FUNCTION_WORDS:
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _counts(runs: Iterable[list[str]]) -> Counter[Term]:
    counts = Counter[Term]()
    for run in runs:
        for begin in range(len(run)):
            for end in range(begin + 1, min(begin + MOST_WORDS, len(run)) + 1):
                if is_term_word(run[begin]) and is_term_word(run[end - 1]):
                    counts[tuple(run[begin:end])] += 1
    return counts


def _parts(term: Term) -> Iterator[Term]:
    """The shorter runs in a term."""
    return (
        term[begin:end]
        for begin in range(len(term))
        for end in range(begin + 1, len(term) + 1)
        if end - begin < len(term)
    )


def _is_plural(term: Term, terms: set[Term], in_training: Mapping[Term, int], fewer_than: int) -> bool:
    last = term[-1]
    for ending, singular in (("s", ""), ("es", ""), ("ies", "y")):
        if last.endswith(ending) and len(last) > len(ending) + 2:
            other = (*term[:-1], last[: -len(ending)] + singular)
            if other in terms or in_training.get(other, 0) >= fewer_than:
                return True
    return False
