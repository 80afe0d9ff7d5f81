"""Translate sentence by sentence with a chat model: one line in, one line out, or the sentence is asked again alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lhotse_prep.workflow.errors import DataError, list_names
from ml2021.mt.llm.answer import plain_answer
from ml2021.mt.llm.chat_model import Answer, ChatModel, Request
from ml2021.mt.llm.prompt import source_text, translation_prompt
from ml2021.mt.terms.doubts import doubt_of, log_doubts, most_characters
from ml2021.mt.terms.glossary import Glossary, log_terms
from ml2021.mt.terms.translation import Sentences, Translation

logger = logging.getLogger(__name__)
DEFAULT_CONTEXT = 3  # sentences before each
# A translation has at most this many tokens for each token of its source, and these more.
PER_TOKEN, MORE = 6, 32
THOUGHTS = "thoughts without an answer"
FOR_THOUGHTS = 1024  # tokens more for a model that thinks aloud, when it is asked again
LOG_EVERY = 100  # sentences


@dataclass(frozen=True)
class ChatOptions:
    """How a chat model is asked."""

    context: int = DEFAULT_CONTEXT  # sentences before each that it reads
    max_length: int = 256  # maximum number of tokens of a translation
    max_batch_tokens: int = 2000  # maximum number of tokens of prompts that are computed together
    source_lang: str = ""  # name of the language of the sentences; empty for Chinese
    target_lang: str = ""  # name of the language of the translations; empty for English


@dataclass(frozen=True)
class _Asked:
    """A sentence, or a part of one that is too long, as it is asked."""

    owner: int  # index of the sentence
    tokens: tuple[str, ...]
    request: Request


class ChatTranslator:
    """Translates with a chat model.

    An answer that is not one line of English that fits the sentence's length is asked for again, alone and without
    context; if the second is no better, the translation is marked (`doubt`).
    """

    def __init__(self, model: ChatModel, options: ChatOptions, glossary: Glossary | None = None) -> None:
        self.model, self.options, self.glossary = model, options, glossary
        self.context = options.context

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """Translate each sentence; an empty sentence gives an empty text.

        Raises:
          DataError: the model has too few positions for a request, or the GPU too little memory.
        """
        asked = [
            part
            for i, sentence in enumerate(sentences)
            if source_text(sentence)
            for part in self._parts(i, tuple(sentence), contexts[i] if contexts else ())
        ]
        first = self._first_answers(asked)
        faulty = [i for i, translation in enumerate(first) if translation.doubt]
        parts = list(first)
        for i in faulty:
            parts[i] = self._asked_again(asked[i], first[i])
        if faulty:
            reasons = Counter(first[i].doubt for i in faulty)
            logger.info(
                "%d of %d answers were asked for again: %s",
                len(faulty),
                len(asked),
                list_names([f"{n} {reason}" for reason, n in reasons.most_common()]),
            )
        translations = self._joined(asked, parts, len(sentences))
        if self.glossary is not None:
            translations = [
                replace(t, terms=self.glossary.uses(s, t.text)) for s, t in zip(sentences, translations, strict=True)
            ]
            log_terms(translations)
        log_doubts(translations)
        return translations

    def _parts(self, owner: int, tokens: tuple[str, ...], context: Sentences) -> list[_Asked]:
        """Requests for a sentence: with as much of its context as fits, in two halves if even the sentence does not."""
        for first in range(len(context) + 1):
            request = self._request(tokens, context[first:])
            if request is not None:
                return [_Asked(owner, tokens, request)]
        if len(tokens) == 1:
            if len(tokens[0]) == 1:
                raise DataError(
                    f"{self.model.what} has only {self.model.num_positions} positions, too few for a request; take "
                    "another model"
                )
            tokens = tuple(tokens[0])
        half = len(tokens) // 2
        return [*self._parts(owner, tokens[:half], ()), *self._parts(owner, tokens[half:], ())]

    def _request(
        self, tokens: Sequence[str], context: Sentences, more: int = 0, is_repeated: bool = False
    ) -> Request | None:
        """A request with `more` tokens for the answer; None if it does not fit into the model."""
        c, text = self.options, source_text(tokens)
        terms = self.glossary.terms_in(tokens) if self.glossary else []
        message = translation_prompt(
            text, [t for t in map(source_text, context) if t], terms, c.source_lang, c.target_lang, is_repeated
        )
        prompt, room = self.model.prompt(message), self.model.num_positions
        length = min(c.max_length, PER_TOKEN * self.model.num_tokens(text) + MORE) + more
        if room is not None:
            free = room - self.model.num_tokens(prompt)
            if free < length - more:
                return None
            length = min(length, free)
        return Request(prompt, length)

    def _first_answers(self, asked: Sequence[_Asked]) -> list[Translation]:
        """Ask in batches of prompts of similar length."""
        sizes = [self.model.num_tokens(a.request.prompt) for a in asked]
        order = sorted(range(len(asked)), key=lambda i: sizes[i])
        translations = [Translation("", 0.0)] * len(asked)
        num_done = 0
        while order:
            batch = [order.pop()]
            size = max(1, self.options.max_batch_tokens // sizes[batch[0]])
            while order and len(batch) < size:
                batch.append(order.pop())
            answers = self.model.answers([asked[i].request for i in batch])
            for i, answer in zip(batch, answers, strict=True):
                translations[i] = self._translation(asked[i], answer)
            if (num_done + len(batch)) // LOG_EVERY > num_done // LOG_EVERY:
                logger.info("%d of %d sentences are translated", num_done + len(batch), len(asked))
            num_done += len(batch)
        return translations

    def _asked_again(self, asked: _Asked, first: Translation) -> Translation:
        """Ask for a sentence alone, without context; the first answer stays if the second is empty."""
        more = FOR_THOUGHTS if first.doubt == THOUGHTS else 0
        request = self._request(asked.tokens, (), more, is_repeated=True) or asked.request
        second = self._translation(asked, self.model.answers([request])[0])
        return first if second.doubt and first.text and not second.text else second

    def _translation(self, asked: _Asked, answer: Answer) -> Translation:
        """The translation in an answer; one that is marked is shortened, and its lines are joined."""
        source = source_text(asked.tokens)
        text = plain_answer(answer.text, self.model.special_tokens, source)
        doubt = THOUGHTS if answer.in_thought else doubt_of(source, text, self.options.target_lang)
        if not doubt and not answer.is_whole:
            doubt = "no end"
        most = most_characters(source)
        text = " ".join(text.split())
        if len(text) > most:
            text = text[:most].rsplit(" ", 1)[0]
        return Translation(text, answer.score, doubt)

    @staticmethod
    def _joined(asked: Sequence[_Asked], parts: Sequence[Translation], num_sentences: int) -> list[Translation]:
        """Join the parts of each sentence, with the mean of their scores and the first doubt."""
        by_sentence: list[list[Translation]] = [[] for _ in range(num_sentences)]
        for request, part in zip(asked, parts, strict=True):
            by_sentence[request.owner].append(part)
        return [
            Translation(
                " ".join(p.text for p in group if p.text),
                sum(p.score for p in group) / max(1, len(group)),
                next((p.doubt for p in group if p.doubt), ""),
            )
            for group in by_sentence
        ]
