"""A translator whose translations are checked: with the glossary, and for signs that they are none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lhotse_prep.text.normalize import remove_han_spaces
from ml2021.mt.terms.doubts import doubt_of, log_doubts
from ml2021.mt.terms.glossary import Glossary, log_terms
from ml2021.mt.terms.translation import Sentences, Translation, Translator

logger = logging.getLogger(__name__)


class SearchingTranslator(Translator, Protocol):
    """A translator that also gives the other hypotheses of its search."""

    def alternatives(self, sentence: Sequence[str], context: Sentences) -> list[Translation]: ...


class CheckedTranslator:
    """Marks doubtful translations. With a glossary, prefers hypotheses that keep its terms, and says which are kept."""

    def __init__(self, translator: SearchingTranslator, target_lang: str, glossary: Glossary | None = None) -> None:
        self.translator, self.target_lang, self.glossary = translator, target_lang, glossary
        self.context = translator.context

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """Translate each sentence; an empty sentence gives an empty text."""
        translations = self.translator.translate(sentences, contexts)
        if self.glossary is not None:
            translations = self._with_terms(self.glossary, sentences, contexts, translations)
            log_terms(translations)
        checked = [
            replace(t, doubt=doubt_of(remove_han_spaces(" ".join(s)), t.text, self.target_lang)) if s else t
            for s, t in zip(sentences, translations, strict=True)
        ]
        log_doubts(checked)
        return checked

    def _with_terms(
        self,
        glossary: Glossary,
        sentences: Sentences,
        contexts: Sequence[Sentences] | None,
        translations: Sequence[Translation],
    ) -> list[Translation]:
        result, num_changed = [], 0
        for i, (sentence, first) in enumerate(zip(sentences, translations, strict=True)):
            best = replace(first, terms=glossary.uses(sentence, first.text))
            if not all(use.is_kept for use in best.terms):
                for other in self.translator.alternatives(sentence, contexts[i] if contexts else []):
                    candidate = replace(other, terms=glossary.uses(sentence, other.text))
                    best = max(best, candidate, key=_num_kept)  # the first of equals
            num_changed += best.text != first.text
            result.append(best)
        if num_changed:
            logger.info("glossary: another hypothesis of the search, which keeps more terms, %d times", num_changed)
        return result


def _num_kept(translation: Translation) -> int:
    return sum(use.is_kept for use in translation.terms)
