"""The word table learns a known dictionary, and keeps terms that both sides share."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lhotse_prep.bitext.stems import stem
from lhotse_prep.bitext.word_table import RARE, WordTable, units_of

LEXICON = {"甲": "apple", "乙": "boy", "丙": "cat", "丁": "dog", "戊": "egg", "己": "fox"}


@pytest.mark.parametrize(
    "token, units",
    [
        ("self-supervised", ["self", "supervis"]),
        ("Models,", ["model"]),
        ("model's", ["model"]),
        ("loss", ["loss"]),
        ("0.64", ["0.64"]),
        ("98%", ["98"]),
        ("l(x)", ["l", "x"]),
        ("=>", []),
        ("的", ["的"]),
    ],
)
def test_units(token, units):
    assert units_of(token) == units


@pytest.mark.parametrize("seed", range(5))
def test_learns_a_dictionary_from_pairs(seed):
    rng = random.Random(seed)
    pairs = []
    for _ in range(200):
        source = rng.sample(list(LEXICON), 3)
        target = [LEXICON[t] for t in source] + ["the"]
        rng.shuffle(target)
        pairs.append((source, target))
    table = WordTable([s for s, _ in pairs], [t for _, t in pairs])
    encoded = [(table.encode_source(s)[0], table.encode_target(t)[0]) for s, t in pairs]
    table.train(encoded, 10, 0.3)
    for token, word in LEXICON.items():
        row = table.probs[table.source_ids[token]]
        assert row.argmax() == table.target_ids[stem(word)] and row.max() > 0.8
    assert (table.probs.sum(axis=0) <= 1 + 1e-4).all() and (table.probs[:, RARE] == 0).all()


def test_shared_terms_have_their_probability_before_training():
    table = WordTable([["bert", "甲"]], [["BERT", "x", "x"]])
    assert table.probs[table.source_ids["bert"], table.target_ids["bert"]] >= 0.5


def test_a_shared_term_translates_only_itself_even_if_another_word_often_occurs_with_it():
    pairs = [(["0.1", "甲"], ["line", "0.1"]), (["0.1", "甲"], ["line", "step"]), (["0.1"], ["line"])] * 10
    table = WordTable([s for s, _ in pairs], [t for _, t in pairs])
    table.train([(table.encode_source(s)[0], table.encode_target(t)[0]) for s, t in pairs], 5, 0.3)
    term, character = table.source_ids["0.1"], table.source_ids["甲"]
    assert table.probs[term, table.target_ids["0.1"]] >= 0.5
    assert table.probs[term, table.target_ids[stem("line")]] == 0
    assert table.probs[character, table.target_ids[stem("line")]] > 0


def test_a_term_that_no_translation_contains_is_learned_like_any_token():
    pairs = [(["gpu", "甲"], ["card", "apple"]), (["gpu"], ["card"]), (["甲"], ["apple"])] * 10
    table = WordTable([s for s, _ in pairs], [t for _, t in pairs])
    table.train([(table.encode_source(s)[0], table.encode_target(t)[0]) for s, t in pairs], 5, 0.3)
    assert table.probs[table.source_ids["gpu"]].argmax() == table.target_ids["card"]


def test_a_pair_seen_once_gets_no_probability():
    table = WordTable([["甲"], ["乙", "乙"]], [["apple", "apple"], ["boy", "boy"]])
    table.train([(table.encode_source(["甲"])[0], table.encode_target(["apple"])[0])], 3, 1.0)
    assert table.probs[table.source_ids["甲"], table.target_ids[stem("apple")]] == 0


def test_encoding_counts_units_of_each_token():
    table = WordTable([["self-supervised", "=>", "甲"]], [["a", "a"]])
    ids, starts = table.encode_source(["甲", "=>", "self-supervised"])
    assert len(ids) == 3 and starts.tolist() == [0, 1, 1, 3]
    assert table.encode_target(["unseen"])[0].tolist() == [RARE]
    assert np.issubdtype(ids.dtype, np.integer)
