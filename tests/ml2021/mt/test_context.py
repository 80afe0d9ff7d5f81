"""The context of a sentence: only whole sentences of the same lecture, and only as many as fit."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.mt.config import MtDataConfig, NoiseConfig, TranslateConfig
from ml2021.mt.data import SentencePair, TranslationBatches, contexts_of, with_context
from ml2021.mt.translate import previous_sentences
from ml2021.mt.vocabulary import train_vocabulary

PAIRS = [
    SentencePair("a-0", "a", ("一", "二"), "one two", 0),
    SentencePair("a-1", "a", ("三",), "three", 2),
    SentencePair("a-2", "a", ("四", "五"), "four five", 3),
    SentencePair("a-4", "a", ("八",), "eight", 9),  # the pair before it was rejected
    SentencePair("b-0", "b", ("九",), "nine", 0),
]


def test_context_is_the_preceding_sentences_of_the_same_lecture():
    assert contexts_of(PAIRS, 2) == [[], [("一", "二")], [("一", "二"), ("三",)], [], []]
    assert contexts_of(PAIRS, 1)[2] == [("三",)]
    assert contexts_of(PAIRS, 0) == [[]] * 5
    sentences = [p.tokens for p in PAIRS[:3]]
    assert previous_sentences(sentences, 1) == [[], [("一", "二")], [("三",)]]
    assert previous_sentences(sentences, 0) == [[]] * 3


def test_only_the_latest_sentences_that_fit_are_used():
    context = [["a", "b"], ["c"]]
    assert with_context(["x", "."], context, ".", 7) == ["a", "b", ".", "c", ".", "x", "."]
    assert with_context(["x", "."], context, ".", 6) == ["c", ".", "x", "."]
    assert with_context(["x", "."], context, ".", 3) == ["x", "."]


@pytest.mark.parametrize("count", [0, 1])
def test_context_is_in_the_source_and_not_in_the_target(tmp_path, count):
    sources, targets = [" ".join(p.tokens) for p in PAIRS], [p.target for p in PAIRS]
    vocabulary = train_vocabulary(sources, targets, 60, tmp_path)
    config = MtDataConfig(
        vocab_size=60, context=count, join_probability=0.0, noise=NoiseConfig(0.0, filler_drop=0.0), bpe_dropout=0.0
    )
    batches = TranslationBatches(PAIRS, PAIRS, vocabulary, config, seed=1)
    end = vocabulary.ids["</s>"]
    sources_by_target = {}
    for batch in batches.train_batches(1):
        for source, mask, labels in zip(batch.source, batch.source_mask, batch.labels):
            target = vocabulary.decode_ids([i for i in labels.tolist() if i >= 0])
            sources_by_target[target] = source[: int(mask.sum())].tolist()
    assert sources_by_target.keys() == set(targets)
    three, eight, nine = (sources_by_target[target] for target in ("three", "eight", "nine"))
    assert three.count(end) == 1 + count and eight.count(end) == nine.count(end) == 1
    assert three[-len(vocabulary.encode_source("三")) :] == vocabulary.encode_source("三")
    before = vocabulary.encode_source("一 二")
    assert (three[: len(before)] == before) == bool(count)


def test_config_refuses_a_negative_context():
    for config in (MtDataConfig, TranslateConfig):
        with pytest.raises(ConfigError, match="context"):
            config(context=-random.randint(1, 3))
