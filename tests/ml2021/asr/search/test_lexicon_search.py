"""Units to words: against all word sequences on tiny log-probs, with and without a language model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import sentencepiece as spm
import torch
from torch import Tensor

from lhotse_prep.tokens.bpe import train_bpe
from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.fusion.lexicon import Lexicon
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.fusion.ngram_scorer import NgramScorer
from ml2021.asr.fusion.scorer import Fusion, Scorer
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.lexicon_search import LexiconSearchConfig, lexicon_search

NUM_UNITS = 4  # with blank
# two words of the same sound, two readings of a word, a word that begins another, English, and one without a token
READINGS = {"一": [(1,)], "二": [(1,)], "三": [(2,), (1, 2)], "四": [(2, 3)], "ab": [(3, 3)], "光": [(3,)]}
WHOLE = 10**6


@pytest.fixture(scope="module")
def tokens() -> TokenTable:
    bpe: spm.SentencePieceProcessor = train_bpe({"ab": 3, "ba": 2}, 4)
    pieces = [bpe.id_to_piece(i) for i in range(bpe.get_piece_size()) if not bpe.is_unknown(i)]
    table = TokenTable(["<blk>", "<sos/eos>", "<unk>", *"一二三四", *pieces], bpe)
    assert len(table.encode("ba")) > 0
    return table


@pytest.fixture(scope="module")
def lexicon(tokens: TokenTable) -> Lexicon:
    return Lexicon(READINGS, tokens)


def language_model(tokens: TokenTable, scale: float, seed: int) -> Scorer:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(["一", "二", "三", "四", "ab", "ba", "光"], 4)) for _ in range(20)]
    symbols = tokens.symbols
    spelled = [[symbols[i] for i in tokens.encode(text)] for text in texts]
    return Fusion([NgramScorer(train_ngram(spelled, symbols[2:], 3), symbols, scale, torch.device("cpu"))])


def sentences(num_frames: int) -> Iterator[tuple[int, ...]]:
    for length in range(num_frames + 1):
        yield from itertools.product(range(len(READINGS)), repeat=length)


def log_prob_of_units(log_probs: Tensor, units: Sequence[int]) -> float:
    """The log-probability of units, summed over all alignments."""
    lens = torch.tensor([len(log_probs)]), torch.tensor([len(units)])
    target = torch.tensor([units], dtype=torch.int64).reshape(1, -1)
    return -float(torch.nn.functional.ctc_loss(log_probs[:, None], target, *lens, reduction="sum"))


def brute_force(
    log_probs: Tensor, lexicon: Lexicon, config: LexiconSearchConfig, fusion: Scorer | None
) -> dict[tuple[int, ...], float]:
    """The score of each sequence of words, by their numbers."""
    readings, known, scores = list(READINGS.values()), dict[tuple[int, ...], float](), {}
    for sentence in sentences(len(log_probs)):
        total = -math.inf
        for chosen in itertools.product(*(readings[w] for w in sentence)):
            units = tuple(u for reading in chosen for u in reading)
            if len(units) <= len(log_probs):
                if units not in known:
                    known[units] = log_prob_of_units(log_probs, units)
                total = float(np.logaddexp(total, known[units]))
        if total > -math.inf:
            scores[sentence] = total + config.word_score * len(sentence)
    if fusion is None:
        return scores
    ids = [torch.tensor([i for w in s for i in lexicon.lm_tokens[w]], dtype=torch.int64) for s in scores]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)  # with 0, which is no token
    states, more = fusion.start(len(ids)), torch.zeros(len(ids), dtype=torch.float64)
    for tokens in padded.T:
        more += fusion.scores(states).gather(1, tokens[:, None])[:, 0]
        states = fusion.advance(states, tokens)
    return {s: score + x for (s, score), x in zip(scores.items(), (more + fusion.final(states)).tolist())}


def random_log_probs(seed: int, num_frames: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(num_frames, NUM_UNITS, generator=rng, dtype=torch.float64).mul(2).log_softmax(dim=1)


def search(log_probs: Tensor, *args) -> Hypothesis:  # type: ignore[no-untyped-def]
    return lexicon_search(log_probs[None], torch.tensor([len(log_probs)]), args[0], args[1], fusion=args[2])[0]


@pytest.mark.parametrize("seed", range(24))
def test_the_best_of_all_word_sequences(tokens: TokenTable, lexicon: Lexicon, seed: int) -> None:
    scale = (0.0, 0.4, 1.0)[seed % 3]
    fusion = language_model(tokens, scale, seed) if scale else None
    config = LexiconSearchConfig(4000, (0.0, 0.7)[seed % 2], scale, WHOLE)
    log_probs = random_log_probs(seed, 4)
    scores = brute_force(log_probs, lexicon, config, fusion)
    best = max(scores.values())
    hypothesis = search(log_probs, lexicon, config, fusion)
    words = list(READINGS)
    ids = tuple(words.index(w) for w in lexicon.table.decode(hypothesis.tokens).split())
    assert scores[ids] == pytest.approx(best, abs=1e-5)  # words of the same sound may be equal
    assert list(hypothesis.frames) == sorted(hypothesis.frames) and all(0 < s <= 1 for s in hypothesis.scores)
    narrow = search(log_probs, lexicon, LexiconSearchConfig(12, config.word_score, scale, 1), fusion)
    ids = tuple(words.index(w) for w in lexicon.table.decode(narrow.tokens).split())
    assert scores[ids] >= best - 1.0
