"""Translate with CTranslate2 (a folder written by export.convert) or with transformers; both give the same texts."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.mt.config import MAX_POSITIONS, TranslateConfig
from ml2021.mt.data import collate, with_context
from ml2021.mt.load import load_model, load_vocabulary, wrong_vocabulary
from ml2021.mt.vocabulary import EOS, Vocabulary

logger = logging.getLogger(__name__)
# Translations that end early are short and often wrong: search until 2 * beam_size hypotheses have ended.
PATIENCE = 2.0
Sentences = Sequence[Sequence[str]]  # tokens of each sentence: Chinese characters and English words


@dataclass(frozen=True)
class Translation:
    """The English text of a sentence, and the mean log-probability of its pieces (0 if it has none)."""

    text: str
    score: float


class Translator(Protocol):
    """Translates sentences; `contexts` has the sentences before each of them, oldest first."""

    context: int  # how many sentences before each the model was trained to read

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]: ...


def previous_sentences(sentences: Sentences, count: int) -> list[Sentences]:
    """For each sentence of a lecture, the `count` sentences before it; fewer at the start of the lecture."""
    return [sentences[max(0, i - count) : i] for i in range(len(sentences))]


def load_translator(folder: Path, config: TranslateConfig) -> Translator:
    """Load the translator of config.engine from a folder in the format of that engine."""
    return (CTranslate2Translator if config.engine == "ctranslate2" else TransformersTranslator)(folder, config)


class CTranslate2Translator:
    """Translates with CTranslate2, from a folder with model.bin, shared_vocabulary.json and the vocabulary.

    Raises:
      DataError: a file is missing, or the vocabulary does not belong to the model.
      ConfigError: the model was not trained with the context in config.
    """

    def __init__(self, folder: Path, config: TranslateConfig) -> None:
        import ctranslate2

        if not (folder / "model.bin").is_file() or not (folder / "shared_vocabulary.json").is_file():
            raise DataError(f"no CTranslate2 model in {folder}: convert one with stage 11 or ml2021.mt.export.convert")
        self.vocabulary, self.config = load_vocabulary(folder), config
        pieces = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
        if not self.vocabulary.in_ctranslate2(pieces):
            raise wrong_vocabulary(folder)
        self.context = _trained_context(self.vocabulary, config)
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self.engine = ctranslate2.Translator(str(folder), device=device, compute_type=config.compute_type)

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """Translate each sentence to English; an empty sentence gives an empty text.

        A sentence of more than MAX_POSITIONS pieces is translated in parts, with a warning in the log.
        """
        c = self.config
        parts, owners = _fitting(sentences, contexts, self.vocabulary)
        prefix = list(self.vocabulary.target_prefix)
        results = self.engine.translate_batch(
            parts,
            target_prefix=[prefix] * len(parts),
            beam_size=c.beam_size,
            patience=PATIENCE,
            max_batch_size=c.max_batch_tokens,
            batch_type="tokens",
            max_input_length=0,
            max_decoding_length=c.max_length + len(prefix),
            return_scores=True,
        )
        texts = [Translation(self.vocabulary.decode(r.hypotheses[0]), r.scores[0]) for r in results]
        return _joined(texts, owners, len(sentences))


class TransformersTranslator:
    """Translates with transformers, from a folder like stage 8's marian/.

    Raises:
      DataError: there is no model, or the vocabulary does not belong to it.
      ConfigError: the model was not trained with the context in config.
    """

    def __init__(self, folder: Path, config: TranslateConfig) -> None:
        import torch
        from transformers.utils.logging import disable_progress_bar

        if not (folder / "config.json").is_file():
            raise DataError(f"no translation model in {folder}: stage 8 writes one to exp/CORPUS/mt/marian")
        self.vocabulary, self.config = load_vocabulary(folder), config
        self.context = _trained_context(self.vocabulary, config)
        disable_progress_bar()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = load_model(folder, self.vocabulary).eval().to(self.device)

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """See CTranslate2Translator.translate."""
        parts, owners = _fitting(sentences, contexts, self.vocabulary)
        encoded = [[self.vocabulary.ids[p] for p in part] for part in parts]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        texts = [Translation("", 0.0)] * len(parts)
        while order:
            batch = [order.pop()]
            size = max(1, self.config.max_batch_tokens // len(encoded[batch[0]]))
            while order and len(batch) < size:
                batch.append(order.pop())
            for i, text in zip(batch, self._translate_batch([encoded[i] for i in batch]), strict=True):
                texts[i] = text
        return _joined(texts, owners, len(sentences))

    def _translate_batch(self, ids: Sequence[list[int]]) -> list[Translation]:
        import torch

        batch = collate([(s, [0]) for s in ids])
        with torch.inference_mode():
            output = self.model.generate(
                batch.source.to(self.device),
                attention_mask=batch.source_mask.to(self.device),
                forced_bos_token_id=self.vocabulary.first_id,
                num_beams=self.config.beam_size,
                max_new_tokens=self.config.max_length + len(self.vocabulary.target_prefix),
                length_penalty=1.0,
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
            )
        if self.config.beam_size > 1:
            scores = output.sequences_scores.tolist()
        else:
            steps = self.model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
            is_piece = output.sequences[:, 1:] != self.model.config.pad_token_id
            scores = [float(row[mask].mean()) for row, mask in zip(steps, is_piece)]
        rows = output.sequences.tolist()
        return [Translation(self.vocabulary.decode_ids(row), score) for row, score in zip(rows, scores, strict=True)]


def _trained_context(vocabulary: Vocabulary, config: TranslateConfig) -> int:
    """How many preceding sentences the model reads; ConfigError if config says another number."""
    trained = vocabulary.style.context
    if config.context not in (None, trained):
        raise ConfigError(
            f"translate.context is {config.context}, but the model in {vocabulary.folder} was trained with a context "
            f"of {trained}: remove translate.context from mt.yaml, or train with mt.data.context: {config.context} "
            "(stage 8)"
        )
    return trained


def _fitting(
    sentences: Sentences, contexts: Sequence[Sentences] | None, vocabulary: Vocabulary
) -> tuple[list[list[str]], list[int]]:
    """Split sentences into parts that fit into a translator.

    As much of a sentence's context as fits is put before its first part. An empty sentence has no part.

    Returns:
      The pieces of each part, with prefix and end mark, and the index of the sentence that each part belongs to.
    """
    parts: list[list[str]] = []
    owners: list[int] = []
    prefix = vocabulary.source_prefix
    room = MAX_POSITIONS - len(prefix)
    for i, sentence in enumerate(sentences):
        context = [vocabulary.source_pieces(vocabulary.source_text(s)) for s in contexts[i]] if contexts else []
        todo = [tuple(sentence)] if sentence else []
        while todo:
            part = todo.pop()
            pieces = vocabulary.source_pieces(vocabulary.source_text(part))
            if len(pieces) < room:  # < leaves room for the end mark
                first = not owners or owners[-1] != i
                parts.append([*prefix, *with_context([*pieces, EOS], context if first else [], EOS, room)])
                owners.append(i)
            elif len(part) > 1:
                todo += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:  # a single huge word, which an untrained recogniser may write
                todo += [(part[0][len(part[0]) // 2 :],), (part[0][: len(part[0]) // 2],)]
    num_cut = len(parts) - len(set(owners))
    if num_cut:
        logger.warning("sentences of more than %d pieces were translated in parts: %d extra parts", room - 1, num_cut)
    return parts, owners


def _joined(parts: Sequence[Translation], owners: Sequence[int], num_sentences: int) -> list[Translation]:
    """Join the parts of each sentence to one translation, with the mean of their scores."""
    by_sentence: list[list[Translation]] = [[] for _ in range(num_sentences)]
    for part, owner in zip(parts, owners, strict=True):
        by_sentence[owner].append(part)
    return [Translation(" ".join(t.text for t in s), sum(t.score for t in s) / max(1, len(s))) for s in by_sentence]
