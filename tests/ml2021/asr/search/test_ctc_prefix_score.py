"""Search guided by CTC's prefix scores, compared with an enumeration of all alignments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.ctc_prefix_score import CtcGuide, CtcPrefixes
from ml2021.asr.search.methods import search, search_encoder_out
from ml2021.asr.search.modified_beam_search import ModifiedBeam, modified_beam_search
from tests.ml2021.asr.search.test_exhaustive import DIM, PairScorer, ctc_totals, modified_totals, small_model
from tests.ml2021.asr.zipformers import TWO_STACKS

Tokens = tuple[int, ...]


def random_log_probs(seed: int, *shape: int) -> Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).log_softmax(dim=-1)


def collapsed(path: Tokens) -> Tokens:
    return tuple(k for k, _ in itertools.groupby(path) if k)


def enumerated_score(log_probs: Tensor, tokens: Tokens, begin: int, end: int) -> float:
    """See CtcPrefixes.scores; log_probs (T, V)."""
    total = -np.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        early, late = collapsed(path[:begin]), collapsed(path[:end])
        if early == tokens[: len(early)] and late[: len(tokens)] == tokens:
            total = np.logaddexp(total, sum(float(log_probs[t, s]) for t, s in enumerate(path)))
    return float(total)


def possible(scores: Tensor) -> list[float]:
    """Tokens in the padding have e^-1000 instead of 0."""
    return torch.where(scores < -500, -torch.inf, scores).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_prefix_scores_are_those_of_all_alignments(seed: int) -> None:
    """Two utterances, of 5 and 3 frames; the hypotheses of a beam are all sequences of up to three tokens."""
    log_probs, lens = random_log_probs(seed, 2, 5, 3), [5, 3]
    sequences = [t for n in range(4) for t in itertools.product((1, 2), repeat=n)]
    prefixes = CtcPrefixes(log_probs, torch.tensor(lens), len(sequences))
    rows = torch.arange(2 * len(sequences))
    for i in range(3):
        step = [t[i] if i < len(t) else 0 for t in sequences]
        prefixes.follow(rows, torch.tensor(step * 2))
    next_tokens = torch.tensor([[1, 2]]).expand(len(rows), -1)
    for begin, end in ((0, 9), (0, 2), (1, 3), (2, 4), (3, 3), (4, 5)):
        scores = prefixes.scores(begin, end).view(2, -1)
        after = prefixes.scores_of_next(next_tokens, begin, end).view(2, -1, 2)
        by_sums = prefixes.scores_by_sums(next_tokens, begin, end).view_as(after)
        assert possible(by_sums.flatten()) == pytest.approx(possible(after.flatten()), abs=1e-5)
        for n, length in enumerate(lens):
            x = log_probs[n, :length]
            expected = [enumerated_score(x, t, begin, end) for t in sequences]
            assert possible(scores[n]) == pytest.approx(expected, abs=1e-5)
            some = [(k, c) for k in range(0, len(sequences), 3) for c in (1, 2)]
            expected = [enumerated_score(x, (*sequences[k], c), begin, end) for k, c in some]
            assert possible(torch.stack([after[n, k, c - 1] for k, c in some])) == pytest.approx(expected, abs=1e-5)
    for n, length in enumerate(lens):
        totals = ctc_totals(log_probs[n, :length])
        expected = [totals.get(t, -np.inf) for t in sequences]
        assert possible(prefixes.totals().view(2, -1)[n]) == pytest.approx(expected, abs=1e-5)


def test_the_loop_on_a_cpu_equals_cumulative_sums_over_long_utterances() -> None:
    log_probs, lens = random_log_probs(0, 3, 400, 9).mul(4).log_softmax(dim=2), torch.tensor([400, 210, 30])
    prefixes, rows = CtcPrefixes(log_probs, lens, 5), torch.arange(15)
    tokens = torch.randint(1, 9, (15, 6), generator=torch.Generator().manual_seed(0))
    num_possible = 0
    for i in range(60):
        prefixes.follow(rows, tokens[:, i % 6])
        for begin, end in ((0, 5), (6 * i, 6 * i + 8), (398, 405)):
            actual, expected = (f(tokens, begin, end) for f in (prefixes.scores_of_next, prefixes.scores_by_sums))
            is_possible = actual > -torch.inf
            torch.testing.assert_close(actual[is_possible], expected[is_possible], rtol=1e-6, atol=1e-4)
            assert bool((expected[~is_possible] < -900).all())
            num_possible += int(is_possible.sum())
    assert num_possible > 5000


def joint_totals(model: AsrModel, x: Tensor, log_probs: Tensor, w: float, penalty: float) -> dict[Tokens, float]:
    by_ctc = ctc_totals(log_probs)
    totals = modified_totals(model, x, penalty)
    return {t: (1 - w) * totals[t] + w * by_ctc[t] for t in totals.keys() & by_ctc.keys()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.3, 0.8])
@pytest.mark.parametrize("with_fusion", [False, True])
def test_joint_search_with_a_wide_beam_is_exact(seed: int, scale: float, with_fusion: bool) -> None:
    model, lens = small_model(seed, 3), torch.tensor([4, 3])
    fusion = PairScorer(seed, 3) if with_fusion else None
    encoder_out, log_probs = torch.randn(2, 4, DIM), random_log_probs(seed, 2, 4, 3)
    state = ModifiedBeam(model, 2, 64, 0.5, fusion, CtcGuide(log_probs, lens, 64, scale, lag=2))
    state.advance(encoder_out, lens)
    for n, (hypothesis, length) in enumerate(zip(state.best(), lens.tolist())):
        totals = joint_totals(model, encoder_out[n, :length], log_probs[n, :length], scale, 0.5)
        if fusion is not None:
            totals = {tokens: value + fusion.total(tokens) for tokens, value in totals.items()}
        kept = state.totals()[n] * (1 - scale)
        kept = kept[kept > -100]
        assert kept.sort().values.tolist() == pytest.approx(sorted(totals.values()), abs=1e-4)
        assert hypothesis.tokens == max(totals, key=lambda tokens: totals[tokens])


@pytest.mark.parametrize("seed", range(8))
def test_with_nearly_all_of_the_weight_the_result_is_that_of_ctc(seed: int) -> None:
    model, lens = small_model(seed, 3), torch.tensor([5])
    encoder_out, log_probs = torch.randn(1, 5, DIM), random_log_probs(seed, 1, 5, 3)
    guide = CtcGuide(log_probs, lens, 64, 1 - 1e-6, lag=1)
    totals = ctc_totals(log_probs[0])
    (best,) = modified_beam_search(model, encoder_out, lens, 64, guide=guide)
    assert best.tokens == max(totals, key=lambda tokens: totals[tokens])


@pytest.mark.parametrize("lag", [1, 4])
def test_tokens_that_the_transducer_would_leave_out_are_recognised(lag: int) -> None:
    """Its blank has nearly all of the probability; CTC is sure of a token at every fourth frame."""
    model, lens = small_model(0, 9), torch.tensor([40, 30])
    with torch.no_grad():
        model.joiner.output_linear.bias[0] += 12.0
    encoder_out, log_probs = torch.randn(2, 40, DIM), random_log_probs(0, 2, 40, 9)
    expected = tuple(1 + k % 8 for k in range(10))
    log_probs[..., 0] += 20
    for k, token in enumerate(expected):
        log_probs[:, 4 * k + 1, token] += 60
    log_probs = log_probs.log_softmax(dim=2)
    assert all(h.tokens == () for h in modified_beam_search(model, encoder_out, lens, 4))
    guide = CtcGuide(log_probs, lens, 4, 0.5, lag)
    long, short = modified_beam_search(model, encoder_out, lens, 4, guide=guide)
    assert long.tokens == expected and short.tokens == expected[:8]
    times = np.array([4 * k + 1 for k in range(10)])
    assert (np.abs(np.array(long.frames) - times) <= lag + 1).all()


def test_utterances_alone_give_the_same_as_in_a_batch() -> None:
    model, lens = small_model(1, 7), torch.tensor([20, 5, 13])
    encoder_out, log_probs, fusion = torch.randn(3, 20, DIM), random_log_probs(1, 3, 20, 7), PairScorer(1, 7)

    def searched(rows: slice, width: int) -> list[Tokens]:
        guide = CtcGuide(log_probs[rows, :width], lens[rows], 4, 0.4, 2)
        beams = modified_beam_search(model, encoder_out[rows, :width], lens[rows], 4, 0.5, fusion, guide)
        return [h.tokens for h in beams]

    whole = searched(slice(3), 20)
    assert whole == [searched(slice(n, n + 1), int(length))[0] for n, length in enumerate(lens)]
    assert sum(map(len, whole)) > 5


def test_long_silence_and_impossible_frames_give_no_nan() -> None:
    log_probs = torch.full((1, 900, 4), -torch.inf)
    log_probs[..., 0] = 0.0
    log_probs[0, 800, :] = torch.tensor([-torch.inf, -torch.inf, 0.0, -torch.inf])
    prefixes = CtcPrefixes(log_probs, torch.tensor([900]), 1)
    scores = possible(prefixes.scores_of_next(torch.tensor([[1, 2]]), 0, 900)[0])
    assert scores == pytest.approx([-np.inf, 0.0], abs=1e-6)
    prefixes.follow(torch.tensor([0]), torch.tensor([2]))
    assert float(prefixes.totals()) == pytest.approx(0.0, abs=1e-6)
    assert float(prefixes.scores_of_next(torch.tensor([[2]]), 900, 900)) < -500


def test_the_option_guides_the_search_and_off_it_changes_nothing() -> None:
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), 7).eval()
    features, lens = 4 * torch.randn(2, 150, 80) - 8, torch.tensor([150, 90])
    encoder_out, out_lens = model.forward_encoder(features, lens)
    plain = search_encoder_out(model, encoder_out, out_lens, SearchConfig("modified_beam_search"))
    assert plain == modified_beam_search(model, encoder_out, out_lens)
    config = DecodeConfig("modified_beam_search", ctc_scale=0.5, ctc_lag=3)
    guided = search(model, features, lens, config)
    guide = CtcGuide(model.ctc_output(encoder_out), out_lens, 4, 0.5, 3)
    assert guided == modified_beam_search(model, encoder_out, out_lens, guide=guide) and guided != plain
    without = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, ctc_loss_scale=0.0), 7).eval()
    with pytest.raises(ConfigError, match="ctc_scale needs a CTC head"):
        search(without, features, lens, config)
    for values in ({"ctc_scale": 1.0}, {"ctc_scale": -0.1}, {"ctc_lag": -1}):
        with pytest.raises(ConfigError, match="ctc_"):
            SearchConfig("modified_beam_search", **values)
    with pytest.raises(ConfigError, match="ctc_scale needs modified_beam_search, not greedy_search"):
        SearchConfig(ctc_scale=0.5)
