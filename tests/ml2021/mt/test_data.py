"""Batches of sentence pairs: nothing is lost or duplicated, and they are reproducible."""

from __future__ import annotations

import random

import pytest
import torch

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.mt.config import MtDataConfig
from ml2021.mt.data import IGNORED, SentencePair, TranslationBatches, bucketed, joined, read_bitext
from ml2021.mt.vocabulary import train_vocabulary

HAN = "天地人你我他山水火木金土"
WORDS = ["sky", "earth", "man", "you", "I", "he", "hill", "water", "fire", "wood", "gold", "soil"]


def random_pairs(seed: int, num: int = 60) -> list[SentencePair]:
    """Pairs of a few lectures, some with a gap before the next pair."""
    rng = random.Random(seed)
    pairs = []
    lecture = at = 0
    for number in range(num):
        if rng.random() < 0.1:
            lecture, at = lecture + 1, 0
        at += rng.choice((0, 0, 0, 7))
        indices = rng.choices(range(len(HAN)), k=rng.randint(1, 15))
        target = " ".join(WORDS[i] for i in indices)
        pairs.append(SentencePair(f"{number:04d}", f"week{lecture}", tuple(HAN[i] for i in indices), target, at))
        at += len(indices)
    return pairs


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    pairs = random_pairs(0)
    sources, targets = [" ".join(p.tokens) for p in pairs], [p.target for p in pairs]
    return train_vocabulary(sources, targets, 100, tmp_path_factory.mktemp("vocabulary"))


@pytest.mark.parametrize("seed", range(20))
def test_joining_keeps_all_pairs_in_order_and_joins_only_neighbours(seed):
    pairs = random_pairs(seed)
    config = MtDataConfig(join_probability=0.6, max_join=3)
    result = joined(pairs, config, random.Random(seed))
    assert [t for p in result for t in p.tokens] == [t for p in pairs for t in p.tokens]
    assert " ".join(p.target for p in result) == " ".join(p.target for p in pairs)
    assert len(result) < len(pairs)
    by_start = {(p.lecture, p.first_token): i for i, p in enumerate(pairs)}
    for p in result:
        i = by_start[p.lecture, p.first_token]
        length = 0
        for number in range(3):
            length += len(pairs[i + number].tokens)
            if length == len(p.tokens):
                break
            following = pairs[i + number + 1]
            assert (following.lecture, following.first_token) == (p.lecture, p.first_token + length)
        assert length == len(p.tokens)


def test_no_joining_if_it_is_off():
    pairs = random_pairs(1)
    assert joined(pairs, MtDataConfig(join_probability=0.0), random.Random(0)) == pairs
    assert joined(pairs, MtDataConfig(join_probability=1.0, max_join=1), random.Random(0)) == pairs


@pytest.mark.parametrize("seed", range(10))
def test_batches_hold_each_pair_once_within_the_limit(seed):
    rng = random.Random(seed)
    pairs = [([n] * rng.randint(1, 30), [n] * rng.randint(1, 30)) for n in range(100)]
    batches = bucketed(pairs, 120, rng)
    seen = []
    for batch in batches:
        assert batch.source.numel() <= 120 and batch.labels.numel() <= 120
        for source, mask, labels in zip(batch.source, batch.source_mask, batch.labels):
            seen.append((source[mask.bool()].tolist(), labels[labels != IGNORED].tolist()))
    assert sorted(seen) == sorted(pairs)


def as_lists(batches):
    return [(b.source.tolist(), b.source_mask.tolist(), b.labels.tolist()) for b in batches]


def test_batches_depend_only_on_seed_and_epoch(vocabulary):
    pairs = random_pairs(0)
    config = MtDataConfig(max_tokens=200, bpe_dropout=0.2)
    batches = TranslationBatches(pairs, pairs[:5], vocabulary, config, seed=1)
    first = as_lists(batches.train_batches(1))
    assert as_lists(batches.train_batches(2)) != first
    again = TranslationBatches(pairs, pairs[:5], vocabulary, config, seed=1)
    assert as_lists(again.train_batches(1)) == first
    assert as_lists(TranslationBatches(pairs, [], vocabulary, config, seed=2).train_batches(1)) != first


def test_clean_epochs_have_the_unchanged_pairs(vocabulary):
    pairs = random_pairs(0)
    config = MtDataConfig(clean_epochs=2, join_probability=1.0, bpe_dropout=0.5)
    batches = TranslationBatches(pairs, [], vocabulary, config, seed=1)
    expected = sorted(vocabulary.encode_source(" ".join(p.tokens)) for p in pairs)
    for epoch, clean in ((1, True), (2, True), (3, False)):
        rows = [r[m.bool()].tolist() for b in batches.train_batches(epoch) for r, m in zip(b.source, b.source_mask)]
        assert (sorted(rows) == expected) == clean


def test_long_sentences_are_left_out(vocabulary):
    pairs = random_pairs(0)
    config = MtDataConfig(max_pieces=10, join_probability=0.0)
    batches = TranslationBatches(pairs, [], vocabulary, config, seed=1)
    assert all(max(b.source.shape[1], b.labels.shape[1]) <= 10 for b in batches.train_batches(1))


def test_errors_of_a_bitext_name_the_cause(tmp_path):
    with pytest.raises(DataError, match="stage 7 makes it"):
        read_bitext(tmp_path / "train.jsonl")
    write_jsonl(tmp_path / "train.jsonl", [{"id": "a", "lecture": "a", "source": "天"}])
    with pytest.raises(DataError, match="line 1: no key 'target'"):
        read_bitext(tmp_path / "train.jsonl")
    row = {"id": "a-0000", "lecture": "a", "source": "天 地", "target": "sky", "first_token": 4, "score": 1.0}
    write_jsonl(tmp_path / "train.jsonl", [row])
    assert read_bitext(tmp_path / "train.jsonl") == [SentencePair("a-0000", "a", ("天", "地"), "sky", 4)]


def test_ids_are_integers(vocabulary):
    batch = next(TranslationBatches(random_pairs(0), [], vocabulary, MtDataConfig(), 1).train_batches(1))
    assert batch.source.dtype == batch.labels.dtype == torch.int64
