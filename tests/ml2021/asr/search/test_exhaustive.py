"""The searches compared with an enumeration of all paths of a small transducer or of CTC outputs."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.scorer import Fusion, Scorer, States
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.beam_search import UtteranceSearch, beam_search, search_frames
from ml2021.asr.search.config import FUSION_METHODS
from ml2021.asr.search.ctc_greedy import ctc_greedy_search, penalised
from ml2021.asr.search.ctc_prefix_beam import PrefixBeam, ctc_prefix_beam_search
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.methods import search_encoder_out
from ml2021.asr.search.modified_beam_search import ModifiedBeam, modified_beam_search
from tests.ml2021.asr.zipformers import TWO_STACKS

DIM = 32  # dimension of encoder_out


def small_model(seed: int, vocab_size: int) -> AsrModel:
    """A model with random weights, far enough from uniform that tokens depend on the history."""
    torch.manual_seed(seed)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), vocab_size).eval()
    with torch.no_grad():
        for p in model.joiner.parameters():
            p.mul_(3)
    return model


def joint_log_probs(model: AsrModel, frame: Tensor, tokens: tuple[int, ...], blank_penalty: float) -> Tensor:
    """Log-probs (V,) of the next symbol after `tokens` at a frame (D,) of encoder_out."""
    history = (-1, 0, *tokens)[-2:]
    lm = model.joiner.decoder_proj(model.decoder(torch.tensor([history]), need_pad=False))[0, 0]
    logits = model.joiner(model.joiner.encoder_proj(frame), lm)
    logits[0] -= blank_penalty
    return logits.log_softmax(dim=0)


@torch.no_grad()
def modified_totals(model: AsrModel, encoder_out: Tensor, blank_penalty: float) -> dict[tuple[int, ...], float]:
    """log P of each token sequence over all paths with one symbol (or blank) per frame; encoder_out (T, D)."""
    totals = {(): 0.0}
    for frame in encoder_out:
        new: dict[tuple[int, ...], float] = defaultdict(lambda: -np.inf)
        for tokens, total in totals.items():
            for symbol, value in enumerate(joint_log_probs(model, frame, tokens, blank_penalty).tolist()):
                key = (*tokens, symbol) if symbol else tokens
                new[key] = np.logaddexp(new[key], total + value)
        totals = dict(new)
    return totals


@torch.no_grad()
def regular_total(model: AsrModel, encoder_out: Tensor, tokens: tuple[int, ...], blank_penalty: float) -> float:
    """log P of a token sequence over all paths with any number of tokens per frame (Graves, 2012, eq. 16)."""
    alpha = np.full(len(tokens) + 1, -np.inf)
    alpha[0] = 0.0
    for frame in encoder_out:
        rows = [joint_log_probs(model, frame, tokens[:u], blank_penalty) for u in range(len(tokens) + 1)]
        for u, token in enumerate(tokens):
            alpha[u + 1] = np.logaddexp(alpha[u + 1], alpha[u] + float(rows[u][token]))
        alpha += [float(row[0]) for row in rows]
    return float(alpha[-1])


def ctc_totals(log_probs: Tensor) -> dict[tuple[int, ...], float]:
    """log P of each token sequence over all CTC alignments; log_probs (T, V)."""
    totals: dict[tuple[int, ...], float] = defaultdict(lambda: -np.inf)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        tokens = tuple(k for k, _ in itertools.groupby(path) if k)
        totals[tokens] = np.logaddexp(totals[tokens], sum(float(log_probs[t, s]) for t, s in enumerate(path)))
    return dict(totals)


class PairScorer(Scorer):
    """Adds table[last token, token] for each token, and end[last token] at the end."""

    def __init__(self, seed: int, vocab_size: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(vocab_size, vocab_size, generator=generator)
        self.table[:, 0] = 0.0
        self.end = torch.randn(vocab_size, generator=generator)

    def start(self, num: int) -> States:
        return (torch.zeros(num, dtype=torch.int64),)

    def scores(self, states: States) -> Tensor:
        return self.table[states[0]]

    def advance(self, states: States, tokens: Tensor) -> States:
        return (torch.where(tokens == 0, states[0], tokens),)

    def final(self, states: States) -> Tensor:
        return self.end[states[0]]

    def total(self, tokens: tuple[int, ...]) -> float:
        """The total score of a token sequence."""
        pairs = zip((0, *tokens), tokens)
        return sum(float(self.table[a, b]) for a, b in pairs) + float(self.end[(0, *tokens)[-1]])


def best_by_length(totals: dict[tuple[int, ...], float]) -> tuple[int, ...]:
    """icefall's choice: the highest log P per token, counting the two tokens of the start context."""
    return max(totals, key=lambda tokens: totals[tokens] / (len(tokens) + 2))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("blank_penalty", [0.0, 1.5])
@pytest.mark.parametrize("with_fusion", [False, True])
def test_modified_beam_search_with_a_wide_beam_is_exact(seed: int, blank_penalty: float, with_fusion: bool) -> None:
    """With 3 symbols and 4 frames there are 2^5 - 1 token sequences; the second utterance is shorter."""
    model = small_model(seed, 3)
    fusion = PairScorer(seed, 3) if with_fusion else None
    encoder_out, lens = torch.randn(2, 4, DIM), torch.tensor([4, 3])
    state = ModifiedBeam(model, 2, 64, blank_penalty, fusion)
    state.advance(encoder_out, lens)
    for n, (hypothesis, x) in enumerate(zip(state.best(), (encoder_out[0], encoder_out[1, :3]))):
        totals = modified_totals(model, x, blank_penalty)
        if fusion is not None:
            totals = {tokens: value + fusion.total(tokens) for tokens, value in totals.items()}
        kept = state.totals()[n]
        kept = kept[kept > -torch.inf]
        assert kept.sort().values.tolist() == pytest.approx(sorted(totals.values()), abs=1e-4)
        assert hypothesis.tokens == best_by_length(totals)


@pytest.mark.parametrize("seed", range(10))
def test_modified_beam_search_of_one_is_greedy_search(seed: int) -> None:
    model = small_model(seed, 7)
    encoder_out, lens = torch.randn(3, 20, DIM), torch.tensor([20, 1, 13])
    assert modified_beam_search(model, encoder_out, lens, 1) == greedy_search(model, encoder_out, lens)


@pytest.mark.parametrize("seed", range(5))
def test_frames_in_pieces_and_utterances_alone_give_the_same(seed: int) -> None:
    model = small_model(seed, 7)
    fusion = PairScorer(seed, 7)
    encoder_out, lens = torch.randn(3, 20, DIM), torch.tensor([20, 5, 13])
    whole = modified_beam_search(model, encoder_out, lens, 4, 0.5, fusion)
    pieces = ModifiedBeam(model, 3, 4, 0.5, fusion)
    for begin in range(0, 20, 6):
        pieces.advance(encoder_out[:, begin : begin + 6], lens - begin)
    assert pieces.best() == whole
    alone = [modified_beam_search(model, x[None, :n], n[None], 4, 0.5, fusion)[0] for x, n in zip(encoder_out, lens)]
    assert [h.tokens for h in alone] == [h.tokens for h in whole]
    assert sum(len(h.tokens) for h in whole) > 10
    assert all(sorted(h.frames) == list(h.frames) and len(set(h.frames)) == len(h.frames) for h in whole)


@pytest.mark.parametrize(("seed", "blank_penalty"), [(0, 0.0), (1, 0.7), (2, 0.0)])
@pytest.mark.parametrize("with_fusion", [False, True])
def test_beam_search_sums_over_all_paths_to_a_sequence(seed: int, blank_penalty: float, with_fusion: bool) -> None:
    """With a wide beam, log-probs of the best hypotheses are those of the forward algorithm, plus fusion."""
    model = small_model(seed, 3)
    fusion = PairScorer(seed, 3) if with_fusion else None
    with torch.no_grad():
        model.joiner.output_linear.bias[0] += 2.0  # otherwise long token sequences have most of the probability
        if fusion is not None:
            fusion.table[:, 1:] -= 1.0  # likewise
        encoder_out = torch.randn(1, 3, DIM)
        am = model.joiner.encoder_proj(encoder_out[0])
        pool = search_frames(UtteranceSearch(model, blank_penalty, fusion), am, 150, max_symbols=20)
        short = [t for n in range(6) for t in itertools.product((1, 2), repeat=n)]
        totals = {t: regular_total(model, encoder_out[0], t, blank_penalty) for t in short}
        ends = dict.fromkeys(short, 0.0)
        if fusion is not None:
            ends = {t: float(fusion.end[(0, *t)[-1]]) for t in short}
            totals = {t: totals[t] + fusion.total(t) - ends[t] for t in short}
        likeliest = sorted(totals, key=lambda t: -totals[t])[:8]
        for tokens in likeliest:
            assert pool[tokens].log_prob == pytest.approx(totals[tokens], abs=2e-3)
        (best,) = beam_search(model, encoder_out, torch.tensor([3]), 150, blank_penalty, 20, fusion)
    expected = best_by_length({t: totals[t] + ends[t] for t in short})
    if len(expected) < 5:
        assert best.tokens == expected


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_beam_search_chooses_tokens_by_fusion_too(beam: int) -> None:
    """The model gives both tokens the same score and emits one token per frame, so only the scorer decides."""
    model = small_model(0, 3)
    scorer = PairScorer(0, 3)
    scorer.table, scorer.end = torch.tensor([[0.0, -1.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, -1.0]]), torch.zeros(3)
    with torch.no_grad():
        for p in model.joiner.output_linear.parameters():
            p.zero_()
        model.joiner.output_linear.bias[0] = -50.0
        for length, tokens in ((1, (2,)), (2, (2, 1)), (3, (2, 1, 1))):
            lens = torch.tensor([length])
            (best,) = beam_search(model, torch.randn(1, length, DIM), lens, beam, max_symbols=1, fusion=scorer)
            assert best.tokens == tokens and best.frames == tuple(range(length))
            assert best.scores == (0.5,) * length  # those of the model alone


@pytest.mark.parametrize("method", sorted({*FUSION_METHODS} - {"lexicon_search"}))  # which has its own brute force
def test_every_fusion_method_uses_the_scorer(method: str) -> None:
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, rnnt_type="regular"), 7).eval()
    encoder_out, lens = torch.randn(2, 9, DIM), torch.tensor([9, 4])
    scorer = PairScorer(0, 7)
    scorer.table[:, 5] = 100.0
    config = DecodeConfig(method, hotwords_file="terms.txt", max_sym_per_frame=2)
    fused = search_encoder_out(model, encoder_out, lens, config, scorer)
    plain = search_encoder_out(model, encoder_out, lens, DecodeConfig(method, max_sym_per_frame=2))
    for with_scorer, without in zip(fused, plain):
        assert with_scorer.tokens.count(5) >= max(2, 2 * without.tokens.count(5))


@torch.no_grad()
def test_beam_search_emits_several_tokens_per_frame_up_to_a_limit() -> None:
    model = small_model(0, 3)
    am = model.joiner.encoder_proj(torch.randn(2, DIM))
    pool = search_frames(UtteranceSearch(model, 0.0, None), am, 1000, max_symbols=3)
    assert pool.keys() == {t for n in range(7) for t in itertools.product((1, 2), repeat=n)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("blank_penalty", [0.0, 1.0])
@pytest.mark.parametrize("with_fusion", [False, True])
def test_prefix_beam_search_with_a_wide_beam_is_exact(seed: int, blank_penalty: float, with_fusion: bool) -> None:
    """Enumerates all 3^5 alignments of three symbols and five frames; the second utterance is shorter."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = (2 * torch.randn(2, 5, 3, generator=generator)).log_softmax(dim=2)
    lens = torch.tensor([5, 3])
    fusion = Fusion([PairScorer(seed, 3), PairScorer(seed + 100, 3)]) if with_fusion else None
    state = PrefixBeam(2, 64, log_probs.device, fusion)
    state.advance(penalised(log_probs, blank_penalty), lens)
    hypotheses = ctc_prefix_beam_search(log_probs, lens, 64, blank_penalty, fusion)
    for n, length in enumerate(lens.tolist()):
        totals = ctc_totals(penalised(log_probs, blank_penalty)[n, :length])
        if fusion is not None:
            for scorer in fusion.scorers:
                totals = {tokens: value + scorer.total(tokens) for tokens, value in totals.items()}
        kept = state.totals()[n]
        kept = kept[kept > -torch.inf]
        assert kept.sort().values.tolist() == pytest.approx(sorted(totals.values()), abs=1e-4)
        assert hypotheses[n].tokens == max(totals, key=lambda tokens: totals[tokens])


def test_prefix_beam_search_sums_paths_where_greedy_search_does_not() -> None:
    """The best path is two blanks (0.36); token 1 has three paths (0.64)."""
    log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    lens = torch.tensor([2])
    assert ctc_greedy_search(log_probs, lens)[0].tokens == ()
    assert ctc_prefix_beam_search(log_probs, lens, 2)[0].tokens == (1,)


@pytest.mark.parametrize("seed", range(10))
def test_ctc_greedy_search_is_the_best_path(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = (3 * torch.randn(2, 5, 3, generator=generator)).log_softmax(dim=2)
    for n, (hypothesis, length) in enumerate(zip(ctc_greedy_search(log_probs, torch.tensor([5, 4])), (5, 4))):
        paths = itertools.product(range(3), repeat=length)
        best = max(paths, key=lambda p: sum(float(log_probs[n, t, s]) for t, s in enumerate(p)))
        assert hypothesis.tokens == tuple(k for k, _ in itertools.groupby(best) if k)
        assert [best[t] for t in hypothesis.frames] == list(hypothesis.tokens)
        assert all(t == 0 or best[t - 1] != best[t] for t in hypothesis.frames)


def test_blank_penalty_gives_ctc_searches_more_tokens() -> None:
    log_probs = torch.tensor([[[0.6, 0.3, 0.1]] * 3]).log()
    for search in (ctc_greedy_search, ctc_prefix_beam_search):
        lengths = [len(search(log_probs, torch.tensor([3]), blank_penalty=x)[0].tokens) for x in (-9.0, 9.0)]
        assert lengths == [0, 1]


def test_repeated_token_needs_a_blank_between() -> None:
    same = torch.tensor([[[0.01, 0.99], [0.01, 0.99], [0.01, 0.99]]]).log()
    between = torch.tensor([[[0.01, 0.99], [0.99, 0.01], [0.01, 0.99]]]).log()
    for log_probs, tokens in ((same, (1,)), (between, (1, 1))):
        assert ctc_prefix_beam_search(log_probs, torch.tensor([3]), 4)[0].tokens == tokens
        assert ctc_greedy_search(log_probs, torch.tensor([3]))[0].tokens == tokens
