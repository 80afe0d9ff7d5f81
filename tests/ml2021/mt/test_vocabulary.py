"""Pieces and ids, compared with the tokenizer of transformers."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.load import load_vocabulary
from ml2021.mt.vocabulary import EOS, PAD, UNK, train_vocabulary

SOURCES = ["我 們 訓 練 bert", "那 self-attention 是 什 麼", "準 確 率 是 98% 3×3 => η"] * 4
TARGETS = ["We train BERT.", "So what is self-attention?", "The accuracy is 98%, “3×3” => η"] * 4


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return train_vocabulary(SOURCES, TARGETS, 150, tmp_path_factory.mktemp("vocabulary"))


@pytest.mark.parametrize("seed", range(20))
def test_decoding_restores_the_text(vocabulary, seed):
    rng = random.Random(seed)
    words = [w for t in TARGETS for w in t.split()]
    text = " ".join(rng.choices(words, k=rng.randint(1, 20)))
    assert vocabulary.decode_ids(vocabulary.encode_target(text)) == text
    letters = "".join(rng.choices([c for w in words for c in w], k=9))  # a word that is not in the training texts
    assert vocabulary.decode_ids(vocabulary.encode_target(letters)) == letters


def test_each_han_character_is_one_piece(vocabulary):
    assert vocabulary.source_pieces("我 們 是 bert")[:3] == ["▁我", "▁們", "▁是"]


def test_hyphen_is_a_separate_piece(vocabulary):
    assert "-" in vocabulary.source_pieces("self-attention")


def test_special_ids_are_those_of_marian(vocabulary):
    assert vocabulary.ids[EOS] == 0 and vocabulary.ids[UNK] == 1 and vocabulary.start_id == len(vocabulary) - 1
    assert sorted(vocabulary.ids.values()) == list(range(len(vocabulary)))
    assert vocabulary.encode_source("我")[-1] == 0


def test_unknown_character(vocabulary):
    assert UNK in vocabulary.source_pieces("鑫") and 1 in vocabulary.encode_source("鑫")
    assert vocabulary.decode([UNK, "▁We", EOS, PAD]) == "We"


def test_dropout_changes_the_pieces_and_not_the_text(vocabulary):
    text = SOURCES[0]
    rng = random.Random(0)
    samples = {tuple(vocabulary.sample_source(text, 0.5, rng)) for _ in range(50)}
    assert len(samples) > 10
    assert vocabulary.sample_source(text, 0.0, rng) == vocabulary.encode_source(text)
    for ids in samples:
        assert vocabulary.spm.decode_pieces([vocabulary.pieces[i] for i in ids[:-1]]) == text


def test_marian_tokenizer_gives_the_same_ids(vocabulary, tmp_path):
    from transformers import MarianTokenizer

    tokenizer = MarianTokenizer(*(str(vocabulary.folder / f) for f in ("source.spm", "target.spm", "vocab.json")))
    tokenizer.save_pretrained(tmp_path)
    loaded = MarianTokenizer.from_pretrained(tmp_path)
    for source, target in zip(SOURCES, TARGETS):
        assert loaded(source)["input_ids"] == vocabulary.encode_source(source)
        assert loaded(text_target=target)["input_ids"] == vocabulary.encode_target(target)
    assert loaded.pad_token_id == vocabulary.start_id
    assert load_vocabulary(tmp_path).ids == vocabulary.ids


@pytest.mark.parametrize("size", [50, 100, 5000])
def test_any_size_is_adjusted_to_the_texts(tmp_path, size):
    vocabulary = train_vocabulary(SOURCES, TARGETS, size, tmp_path)
    characters = {c for text in SOURCES + TARGETS for c in text} - {" "}
    assert characters <= {c for piece in vocabulary.ids for c in piece}


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="no source.spm"):
        load_vocabulary(tmp_path)
    with pytest.raises(DataError, match="pairs are empty"):
        train_vocabulary([], [], 100, tmp_path)
