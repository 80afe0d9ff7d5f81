"""Translate with CTranslate2 (a folder written by export.convert) or with transformers; both give the same texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.ctranslate2_device import ctranslate2_device
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.mt.config import MAX_POSITIONS, TranslateConfig
from ml2021.mt.data import collate, with_context
from ml2021.mt.load import load_model, load_vocabulary, read_ctranslate2, wrong_vocabulary
from ml2021.mt.terms.translation import Sentences, Translation, Translator, previous_sentences, translate_lectures
from ml2021.mt.vocabulary import EOS, Vocabulary

logger = logging.getLogger(__name__)
# Translations that end early are short and often wrong: search until 2 * beam_size hypotheses have ended.
PATIENCE = 2.0
__all__ = ["Sentences", "Translation", "Translator", "previous_sentences", "translate_lectures"]  # also taken from here


def load_translator(folder: Path, config: TranslateConfig) -> Translator:
    """Load the translator of config.engine from a folder in the format of that engine."""
    return (CTranslate2Translator if config.engine == "ctranslate2" else TransformersTranslator)(folder, config)


class CTranslate2Translator:
    """Translates with CTranslate2, from a folder with model.bin, shared_vocabulary.json and the vocabulary.

    Raises:
      DataError: a file is missing, or the vocabulary does not belong to the model.
      ConfigError: the model was not trained with the context in config.
    """

    def __init__(self, folder: Path, config: TranslateConfig, vocabulary: Vocabulary | None = None) -> None:
        """
        Args:
          vocabulary: that of the model, if folder does not have it.
        """
        import ctranslate2

        if not (folder / "model.bin").is_file():
            raise DataError(f"no CTranslate2 model in {folder}: convert one with stage 11 or ml2021.mt.export.convert")
        files = read_ctranslate2(folder)
        if vocabulary is None:
            vocabulary = load_vocabulary(folder, config.source_lang, config.target_lang, files.pieces)
        self.vocabulary, self.config, self._adds_end = vocabulary, config, files.adds_end
        if not self.vocabulary.in_ctranslate2(files.pieces):
            raise wrong_vocabulary(folder)
        self.context = _trained_context(self.vocabulary, config)
        self.num_positions = min(MAX_POSITIONS, files.num_positions or MAX_POSITIONS)
        try:
            self.engine = ctranslate2.Translator(
                str(folder), device=ctranslate2_device(), compute_type=config.compute_type
            )
        except (RuntimeError, ValueError) as e:
            reason = str(e).splitlines()[0]
            if "compute type" in reason:
                raise ConfigError(f"translate.compute_type is {config.compute_type}: {reason}") from e
            raise DataError(f"the CTranslate2 model in {folder} cannot be loaded: {reason}") from e

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """Translate each sentence to English; an empty sentence gives an empty text.

        A sentence that does not fit into the model is translated in parts, with a warning in the log.
        """
        parts, owners = _fitting(sentences, contexts, self.vocabulary, self.num_positions)
        return _joined([texts[0] for texts in self._translate(parts, 1)], owners, len(sentences))

    def alternatives(self, sentence: Sequence[str], context: Sentences) -> list[Translation]:
        """The hypotheses of the search for a sentence, best first; one only if it is translated in parts."""
        parts, owners = _fitting([sentence], [context], self.vocabulary, self.num_positions)
        texts = self._translate(parts, self.config.beam_size)
        return texts[0] if len(texts) == 1 else _joined([t[0] for t in texts], owners, 1)

    def _translate(self, parts: Sequence[list[str]], num_hypotheses: int) -> list[list[Translation]]:
        c = self.config
        prefix = list(self.vocabulary.target_prefix)
        results = self.engine.translate_batch(
            [part[:-1] for part in parts] if self._adds_end else parts,
            target_prefix=[prefix] * len(parts),
            beam_size=c.beam_size,
            num_hypotheses=num_hypotheses,
            patience=PATIENCE,
            max_batch_size=c.max_batch_tokens,
            batch_type="tokens",
            max_input_length=0,
            max_decoding_length=min(c.max_length, self.num_positions - 1 - len(prefix)) + len(prefix),
            return_scores=True,
        )
        return [
            [Translation(self.vocabulary.decode(h), score) for h, score in zip(r.hypotheses, r.scores, strict=True)]
            for r in results
        ]


class TransformersTranslator:
    """Translates with transformers, from a folder like stage 8's marian/.

    Raises:
      DataError: there is no model, or the vocabulary does not belong to it.
      ConfigError: the model was not trained with the context in config.
    """

    def __init__(self, folder: Path, config: TranslateConfig, vocabulary: Vocabulary | None = None) -> None:
        import torch
        from transformers.utils.logging import disable_progress_bar

        from ml2021.mt.model import use_plain_search

        if not (folder / "config.json").is_file():
            raise DataError(f"no translation model in {folder}: stage 8 writes one to exp/CORPUS/mt/marian")
        self.vocabulary, self.config = vocabulary or load_vocabulary(folder), config
        self.context = _trained_context(self.vocabulary, config)
        disable_progress_bar()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = load_model(folder, self.vocabulary).eval().to(self.device)
        use_plain_search(self.model)
        self.num_positions = min(MAX_POSITIONS, self.model.config.max_position_embeddings)

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """See CTranslate2Translator.translate."""
        parts, owners = _fitting(sentences, contexts, self.vocabulary, self.num_positions)
        encoded = [[self.vocabulary.ids[p] for p in part] for part in parts]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        texts = [Translation("", 0.0)] * len(parts)
        while order:
            batch = [order.pop()]
            size = max(1, self.config.max_batch_tokens // len(encoded[batch[0]]))
            while order and len(batch) < size:
                batch.append(order.pop())
            for i, hypotheses in zip(batch, self._translate_batch([encoded[i] for i in batch], 1), strict=True):
                texts[i] = hypotheses[0]
        return _joined(texts, owners, len(sentences))

    def alternatives(self, sentence: Sequence[str], context: Sentences) -> list[Translation]:
        """See CTranslate2Translator.alternatives."""
        parts, owners = _fitting([sentence], [context], self.vocabulary, self.num_positions)
        encoded = [[self.vocabulary.ids[p] for p in part] for part in parts]
        texts = [self._translate_batch([ids], self.config.beam_size)[0] for ids in encoded]
        return texts[0] if len(texts) == 1 else _joined([t[0] for t in texts], owners, 1)

    def _translate_batch(self, ids: Sequence[list[int]], num_hypotheses: int) -> list[list[Translation]]:
        import torch

        batch, prefix = collate([(s, [0]) for s in ids]), len(self.vocabulary.target_prefix)
        with torch.inference_mode():
            output = self.model.generate(
                batch.source.to(self.device),
                attention_mask=batch.source_mask.to(self.device),
                forced_bos_token_id=self.vocabulary.first_id,
                num_beams=self.config.beam_size,
                num_return_sequences=num_hypotheses,
                max_new_tokens=min(self.config.max_length, self.num_positions - 1 - prefix) + prefix,
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
        texts = [Translation(self.vocabulary.decode_ids(row), score) for row, score in zip(rows, scores, strict=True)]
        return [texts[i : i + num_hypotheses] for i in range(0, len(texts), num_hypotheses)]


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
    sentences: Sentences, contexts: Sequence[Sentences] | None, vocabulary: Vocabulary, num_positions: int
) -> tuple[list[list[str]], list[int]]:
    """Split sentences into parts that fit into a translator.

    As much of a sentence's context as fits is put before its first part. An empty sentence has no part.

    Returns:
      The pieces of each part, with prefix and end mark, and the index of the sentence that each part belongs to.
    """
    parts: list[list[str]] = []
    owners: list[int] = []
    prefix = vocabulary.source_prefix
    room = num_positions - len(prefix)
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
