"""BPE-dropout: at a rate of 0 the pieces of sentencepiece, else the same text, broken as often as by its sampling."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from statistics import fmean

import pytest
import sentencepiece

from ml2021.mt.bpe_dropout import BpeDropout
from ml2021.mt.vocabulary import train_vocabulary

SOURCES = ["我 們 訓 練 transformer 的 時 候", "那 self-attention 是 什 麼 呢", "這 個 transform 的 training loss"] * 4
TARGETS = ["When we train the Transformer,", "So what is self-attention?", "The training loss of this transform."] * 4
ODD = ["鑫", "鑫淼", "\U0001f600", "é", "\t", "\0", "▁", " ", "  ", "-", "--", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> sentencepiece.SentencePieceProcessor:
    return train_vocabulary(SOURCES, TARGETS, 120, tmp_path_factory.mktemp("vocabulary")).spm


def random_text(spm: sentencepiece.SentencePieceProcessor, rng: random.Random) -> str:
    """Pieces in random order, with spaces and with what the model does not have."""
    ordinary = [spm.id_to_piece(i).replace("▁", " ") for i in range(3, len(spm))]
    return "".join(rng.choice(ODD if rng.random() < 0.1 else ordinary) for _ in range(rng.randint(0, 25)))


def test_without_dropout_the_pieces_are_those_of_sentencepiece(spm) -> None:
    rng, dropout = random.Random(0), BpeDropout(spm)
    for text in [*SOURCES, *TARGETS, *(random_text(spm, rng) for _ in range(1000))]:
        assert dropout.split(text, 0.0, rng) == spm.encode(text, out_type=str), repr(text)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.999])
def test_dropout_keeps_the_text_and_makes_pieces_of_the_model(spm, rate: float) -> None:
    rng, dropout = random.Random(1), BpeDropout(spm)
    for _ in range(500):
        text = random_text(spm, rng)
        pieces = dropout.split(text, rate, rng)
        assert "".join(pieces) == spm.normalize(text)
        known = [spm.piece_to_id(piece) != spm.unk_id() for piece in pieces]
        assert not any(c in dropout.ranks for piece, is_known in zip(pieces, known) if not is_known for c in piece)
        assert all(a or b for a, b in zip(known, known[1:]))  # no two unknown pieces in a row


def test_all_merges_are_skipped_near_a_rate_of_one(spm) -> None:
    text = "transformer 的 training"
    assert BpeDropout(spm).split(text, 1 - 1e-12, random.Random(0)) == list("▁transformer▁的▁training")


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.6])
def test_each_merge_is_skipped_at_the_given_rate_whatever_the_others(spm, rate: float) -> None:
    """▁我 is one merge of two characters: four of them, with 16 outcomes."""
    rng, dropout, num_draws = random.Random(2), BpeDropout(spm), 6000
    assert dropout.split("我 我 我 我", 0.0, rng) == ["▁我"] * 4
    counts = Counter(" ".join(dropout.split("我 我 我 我", rate, rng)) for _ in range(num_draws))
    for skipped in itertools.product((True, False), repeat=4):
        probability = math.prod(rate if s else 1 - rate for s in skipped)
        count = counts[" ".join("▁ 我" if s else "▁我" for s in skipped)]
        assert count == pytest.approx(num_draws * probability, abs=5 * (num_draws * probability) ** 0.5 + 3)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_words_break_as_often_as_with_sentencepiece(spm, rate: float) -> None:
    rng, dropout, text = random.Random(3), BpeDropout(spm), SOURCES[0]
    ours = fmean(len(dropout.split(text, rate, rng)) for _ in range(2000))
    options = {"enable_sampling": True, "alpha": rate, "nbest_size": -1}
    peer = fmean(len(spm.encode(text, out_type=str, **options)) for _ in range(2000))
    assert ours == pytest.approx(peer, rel=0.02) and ours > len(spm.encode(text, out_type=str)) + 0.5


def test_the_same_random_numbers_give_the_same_pieces_whatever_came_before(spm) -> None:
    rng, fresh, used = random.Random(4), BpeDropout(spm), BpeDropout(spm)
    texts = [random_text(spm, rng) for _ in range(300)]
    for text in texts:
        used.split(text, 0.3, rng)
    assert [fresh.split(t, 0.3, random.Random(i)) for i, t in enumerate(texts)] == [
        used.split(t, 0.3, random.Random(i)) for i, t in enumerate(texts)
    ]
