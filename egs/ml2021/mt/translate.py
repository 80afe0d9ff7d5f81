"""Translation by CTranslate2 (a folder that export.convert made) or by transformers: the same beam, the same text."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.config import MAX_POSITIONS, TranslateConfig
from ml2021.mt.data import collate, with_context
from ml2021.mt.load import load_model, load_vocabulary, wrong_vocabulary
from ml2021.mt.vocabulary import EOS, Vocabulary

logger = logging.getLogger(__name__)
# Translations that end early are short and often wrong; the search goes on until twice as many as beams have ended.
PATIENCE = 2.0


Sentences = Sequence[Sequence[str]]  # each as spaced tokens


@dataclass(frozen=True)
class Translation:
    """English of a sentence, and the mean log-probability of its pieces (0 where there is none)."""

    text: str
    score: float


class Translator(Protocol):
    """Translates sentences given as spaced tokens; `contexts` has the sentences before each, oldest first."""

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]: ...


def previous_sentences(sentences: Sentences, count: int) -> list[Sentences]:
    """For each sentence of a lecture the `count` before it, fewer at the beginning."""
    return [sentences[max(0, i - count) : i] for i in range(len(sentences))]


def load_translator(folder: Path, config: TranslateConfig) -> Translator:
    """The translator of config.engine from its folder (CTranslate2's or transformers')."""
    return (CTranslate2Translator if config.engine == "ctranslate2" else TransformersTranslator)(folder, config)


class CTranslate2Translator:
    """From a folder with model.bin, shared_vocabulary.json and the vocabulary.

    Raises:
      DataError: a file is missing, or the vocabulary is not the model's.
    """

    def __init__(self, folder: Path, config: TranslateConfig) -> None:
        import ctranslate2

        if not (folder / "model.bin").is_file() or not (folder / "shared_vocabulary.json").is_file():
            raise DataError(f"no CTranslate2 model in {folder}: convert one with stage 11 or ml2021.mt.export.convert")
        self.vocabulary, self.config = load_vocabulary(folder), config
        pieces = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
        if not self.vocabulary.in_ctranslate2(pieces):
            raise wrong_vocabulary(folder)
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self.engine = ctranslate2.Translator(str(folder), device=device, compute_type=config.compute_type)

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """English of each sentence (a sequence of spaced tokens); an empty sentence gives an empty string.

        A sentence of more than MAX_POSITIONS pieces is translated in parts, and that is logged.
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
    """From a folder that save_pretrained wrote (stage 8's marian/). Raises as CTranslate2Translator does."""

    def __init__(self, folder: Path, config: TranslateConfig) -> None:
        import torch
        from transformers.utils.logging import disable_progress_bar

        if not (folder / "config.json").is_file():
            raise DataError(f"no translation model in {folder}: stage 8 writes one to exp/CORPUS/mt/marian")
        self.vocabulary, self.config = load_vocabulary(folder), config
        disable_progress_bar()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = load_model(folder, self.vocabulary).eval().to(self.device)

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        """As CTranslate2Translator.translate."""
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
            written = output.sequences[:, 1:] != self.model.config.pad_token_id
            scores = [float(row[own].mean()) for row, own in zip(steps, written)]
        rows = output.sequences.tolist()
        return [Translation(self.vocabulary.decode_ids(row), score) for row, score in zip(rows, scores, strict=True)]


def _fitting(
    sentences: Sentences, contexts: Sequence[Sentences] | None, vocabulary: Vocabulary
) -> tuple[list[list[str]], list[int]]:
    """Pieces, with prefix and end mark, of parts that a translator can read, and the sentence that each is of.

    Empty sentences have none. Of a sentence's context as much as fits goes before its first part.
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
            if len(pieces) < room:  # one is for the end mark
                first = not owners or owners[-1] != i
                parts.append([*prefix, *with_context([*pieces, EOS], context if first else [], EOS, room)])
                owners.append(i)
            elif len(part) > 1:
                todo += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:  # one endless word, as a recogniser that has learned nothing writes
                todo += [(part[0][len(part[0]) // 2 :],), (part[0][: len(part[0]) // 2],)]
    num_cut = len(parts) - len(set(owners))
    if num_cut:
        logger.warning("sentences of more than %d pieces were translated in parts: %d cuts", room - 1, num_cut)
    return parts, owners


def _joined(parts: Sequence[Translation], owners: Sequence[int], num_sentences: int) -> list[Translation]:
    """One translation a sentence: its parts in a row, their mean score."""
    joined: list[list[Translation]] = [[] for _ in range(num_sentences)]
    for part, owner in zip(parts, owners, strict=True):
        joined[owner].append(part)
    return [Translation(" ".join(p.text for p in own), sum(p.score for p in own) / max(1, len(own))) for own in joined]
