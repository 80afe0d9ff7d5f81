"""Batches of ids from the sentence pairs of a bitext, augmented to make the translator robust to recognition errors.

Legend: N sentences, S source pieces, T target pieces.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lhotse_prep.bitext.files import read_pairs
from lhotse_prep.workflow.errors import DataError
from ml2021.mt.config import MtDataConfig
from ml2021.mt.noise import RecognitionNoise
from ml2021.mt.vocabulary import Vocabulary

IGNORED = -100  # label of padding, without a loss
Piece = TypeVar("Piece", int, str)


@dataclass(frozen=True)
class SentencePair:
    """A line of bitext/{part}.jsonl."""

    id: str
    lecture: str
    tokens: tuple[str, ...]  # tokens of the transcript: Chinese characters and English words
    target: str  # English translation
    first_token: int  # index of the first token in the lecture's transcript


@dataclass(frozen=True)
class MtBatch:
    """Padded ids: source (N, S), source_mask (N, S), labels (N, T) with IGNORED where padded."""

    source: Tensor
    source_mask: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> MtBatch:
        """Some of the pairs."""
        return MtBatch(self.source[rows], self.source_mask[rows], self.labels[rows])


def read_bitext(path: Path) -> list[SentencePair]:
    """Read the sentence pairs of a part.

    Raises:
      DataError: a key is missing; there is no such file in a folder that stage 7 did not write.
    """
    pairs = []
    for number, row in enumerate(read_pairs(path), 1):
        try:
            tokens = tuple(row["source"].split())
            pairs.append(SentencePair(row["id"], row["lecture"], tokens, row["target"], row["first_token"]))
        except KeyError as e:
            raise DataError(f"{path}, line {number}: no key {e}; make the file again with stage 7") from e
    return pairs


def with_context(sentence: list[Piece], context: Sequence[Sequence[Piece]], end: Piece, max_pieces: int) -> list[Piece]:
    """Prepend the preceding sentences to a sentence, each followed by the end mark.

    Of the context (oldest sentence first), the latest sentences are used, as many as fit into max_pieces.
    """
    used, first = len(sentence), len(context)
    while first > 0 and used + len(context[first - 1]) + 1 <= max_pieces:
        first -= 1
        used += len(context[first]) + 1
    pieces: list[Piece] = []
    for earlier in context[first:]:
        pieces.extend(earlier)
        pieces.append(end)
    return pieces + sentence


def contexts_of(pairs: Sequence[SentencePair], count: int) -> list[list[tuple[str, ...]]]:
    """For each pair, the sources of up to `count` pairs directly before it in its lecture, oldest first."""
    contexts: list[list[tuple[str, ...]]] = []
    for i in range(len(pairs)):
        begin = i
        while begin > 0 and i - begin < count and _follows(pairs[begin], pairs[begin - 1]):
            begin -= 1
        contexts.append([p.tokens for p in pairs[begin:i]])
    return contexts


def joined(pairs: Sequence[SentencePair], config: MtDataConfig, rng: random.Random) -> list[SentencePair]:
    """Join some pairs with the next pairs of their lecture; every pair stays in the result exactly once."""
    result = []
    i = 0
    while i < len(pairs):
        num_joined = rng.randint(2, max(2, config.max_join)) if rng.random() < config.join_probability else 1
        end = i + 1
        while end < min(len(pairs), i + min(num_joined, config.max_join)) and _follows(pairs[end], pairs[end - 1]):
            end += 1
        group = pairs[i:end]
        tokens = tuple(t for p in group for t in p.tokens)
        first = group[0]
        target = " ".join(p.target for p in group)
        result.append(SentencePair(first.id, first.lecture, tokens, target, first.first_token))
        i = end
    return result


def bucketed(pairs: Sequence[tuple[list[int], list[int]]], max_tokens: int, rng: random.Random) -> list[MtBatch]:
    """Group pairs of similar length into batches of at most max_tokens ids per side with padding, in random order."""
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][1]), len(pairs[i][0]), rng.random()))
    batches: list[list[int]] = [[]]
    longest = 0
    for i in order:
        size = max(len(pairs[i][0]), len(pairs[i][1]))
        if batches[-1] and max(longest, size) * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
            longest = 0
        longest = max(longest, size)
        batches[-1].append(i)
    rng.shuffle(batches)
    return [collate([pairs[i] for i in batch]) for batch in batches if batch]


def collate(pairs: Sequence[tuple[list[int], list[int]]]) -> MtBatch:
    """Pad encoded pairs. The id of source padding does not matter, since the mask hides it."""
    source = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s, _ in pairs], batch_first=True, padding_value=0)
    lengths = torch.tensor([len(s) for s, _ in pairs])
    mask = (torch.arange(source.size(1))[None] < lengths[:, None]).long()
    labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for _, t in pairs], True, IGNORED)
    return MtBatch(source, mask, labels)


class TranslationBatches:
    """Batches of the train and dev parts. The batches of an epoch depend only on seed and epoch."""

    def __init__(
        self,
        train: Sequence[SentencePair],
        valid: Sequence[SentencePair],
        vocabulary: Vocabulary,
        config: MtDataConfig,
        seed: int,
    ) -> None:
        self.train_pairs, self.vocabulary, self.config, self.seed = train, vocabulary, config, seed
        self._targets = {p.target: vocabulary.encode_target(p.target) for p in train}  # for all epochs
        self.noise = RecognitionNoise([t for p in train for t in p.tokens], config.noise)
        self.contexts = dict(zip((p.id for p in train), contexts_of(train, config.context)))
        self.contexts |= dict(zip((p.id for p in valid), contexts_of(valid, config.context)))
        self.valid = bucketed([self._encode(p) for p in valid], config.max_tokens, random.Random(seed))

    def train_batches(self, epoch: int) -> Iterator[MtBatch]:
        rng = random.Random(1_000_003 * self.seed + epoch)
        if epoch <= self.config.clean_epochs:
            encoded = [self._encode(p) for p in self.train_pairs]
        else:
            encoded = [self._encode_augmented(p, rng) for p in joined(self.train_pairs, self.config, rng)]
        fitting = [e for e in encoded if max(len(e[0]), len(e[1])) <= self.config.max_pieces]
        yield from bucketed(fitting, self.config.max_tokens, rng)

    def _encode(self, pair: SentencePair) -> tuple[list[int], list[int]]:
        source = self.vocabulary.encode_source(self.vocabulary.source_text(pair.tokens))
        return self._after_context(pair, source), self._encode_target(pair)

    def _encode_augmented(self, pair: SentencePair, rng: random.Random) -> tuple[list[int], list[int]]:
        text = self.vocabulary.source_text(self.noise(pair.tokens, rng))
        source = self.vocabulary.sample_source(text, self.config.bpe_dropout, rng)
        return self._after_context(pair, source), self._encode_target(pair)

    def _encode_target(self, pair: SentencePair) -> list[int]:
        return self._targets.get(pair.target) or self.vocabulary.encode_target(pair.target)  # of a joined pair: anew

    def _after_context(self, pair: SentencePair, source: list[int]) -> list[int]:
        """Prepend the context, without noise: it is read, not translated."""
        before = [self.vocabulary.encode_source(self.vocabulary.source_text(s)) for s in self.contexts[pair.id]]
        prefix = self.vocabulary.prefix_ids
        room = self.config.max_pieces - len(prefix)
        return [*prefix, *with_context(source, [ids[:-1] for ids in before], source[-1], room)]


def _follows(pair: SentencePair, before: SentencePair) -> bool:
    return pair.lecture == before.lecture and pair.first_token == before.first_token + len(before.tokens)
