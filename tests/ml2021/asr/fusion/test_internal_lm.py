"""Subtraction of the internal language model, by the transducer without its encoder and by an n-gram of transcripts."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode.config import DecodeConfig, file_digests, with_lm_dir
from ml2021.asr.fusion.arpa import BOS, read_arpa, write_arpa
from ml2021.asr.fusion.internal_lm import InternalLm
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.fusion.scorer import Fusion, select
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.beam_search import beam_search
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.ctc_prefix_score import CtcGuide
from ml2021.asr.search.methods import search_encoder_out
from ml2021.asr.search.modified_beam_search import ModifiedBeam, modified_beam_search
from tests.ml2021.asr.search.test_exhaustive import DIM, PairScorer, best_by_length, modified_totals, small_model
from tests.ml2021.asr.zipformers import TWO_STACKS

CPU = torch.device("cpu")


@torch.no_grad()
def internal_log_probs(model: AsrModel, tokens: tuple[int, ...]) -> Tensor:
    """log P of tokens 1.. after `tokens`, (V - 1,): the decoder's projection through tanh and the joiner's output."""
    lm = model.joiner.decoder_proj(model.decoder(torch.tensor([(-1, 0, *tokens)[-2:]]), need_pad=False))[0, 0]
    output = model.joiner.output_linear
    return (output.weight[1:] @ torch.tanh(lm) + output.bias[1:]).log_softmax(dim=0)


def internal_total(model: AsrModel, tokens: tuple[int, ...]) -> float:
    return sum(float(internal_log_probs(model, tokens[:u])[token - 1]) for u, token in enumerate(tokens))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("with_fusion", [False, True])
def test_search_with_a_wide_beam_finds_the_best_of_all_sequences(seed: int, with_fusion: bool) -> None:
    """With 3 symbols and 4 frames there are 2^5 - 1 token sequences; the second utterance is shorter."""
    model, scale = small_model(seed, 3), 0.7
    fusion = PairScorer(seed, 3) if with_fusion else None
    encoder_out, lens = torch.randn(2, 4, DIM), torch.tensor([4, 3])
    config = SearchConfig("modified_beam_search", blank_penalty=0.5, beam_size=64, ilm_scale=scale)
    results = search_encoder_out(model, encoder_out, lens, config, fusion)
    internal = InternalLm(model, scale)
    state = ModifiedBeam(model, 2, 64, 0.5, Fusion([fusion, internal]) if fusion else internal)
    state.advance(encoder_out, lens)
    for n, (result, x) in enumerate(zip(results, (encoder_out[0], encoder_out[1, :3]))):
        totals = {t: v - scale * internal_total(model, t) for t, v in modified_totals(model, x, 0.5).items()}
        if fusion is not None:
            totals = {tokens: value + fusion.total(tokens) for tokens, value in totals.items()}
        kept = state.totals()[n]
        assert kept[kept > -torch.inf].sort().values.tolist() == pytest.approx(sorted(totals.values()), abs=1e-4)
        assert result.tokens == best_by_length(totals)


def test_states_follow_their_hypotheses() -> None:
    model, rng = small_model(1, 7), random.Random(1)
    scorer = InternalLm(model, 0.3)
    states = scorer.start(3)
    histories: list[tuple[int, ...]] = [()] * 3
    for _ in range(20):
        for row, history in zip(scorer.scores(states), histories):
            assert row[0] == 0
            torch.testing.assert_close(row[1:], -0.3 * internal_log_probs(model, history))
        parents, tokens = [rng.randrange(3) for _ in range(3)], [rng.choice([0, 0, *range(1, 7)]) for _ in range(3)]
        states = scorer.advance(select(states, torch.tensor(parents)), torch.tensor(tokens))
        histories = [histories[p] + ((t,) if t else ()) for p, t in zip(parents, tokens)]
    assert max(map(len, histories)) > 5


def test_every_method_subtracts_and_scale_0_changes_nothing() -> None:
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, rnnt_type="regular"), 7).eval()
    with torch.no_grad():
        for p in model.joiner.parameters():  # far from uniform
            p.mul_(3)
    x, lens = torch.randn(2, 12, DIM), torch.tensor([12, 5])
    plain = search_encoder_out(model, x, lens, SearchConfig("modified_beam_search"))
    off = SearchConfig("modified_beam_search", lodr_dir="nowhere")
    assert plain == search_encoder_out(model, x, lens, off) == modified_beam_search(model, x, lens)
    internal = InternalLm(model, 0.5)
    subtracted = search_encoder_out(model, x, lens, SearchConfig("modified_beam_search", ilm_scale=0.5))
    assert subtracted == modified_beam_search(model, x, lens, fusion=internal) != plain
    guide = CtcGuide(model.ctc_output(x).float(), lens, 4, 0.4, 10)
    config = SearchConfig("modified_beam_search", ctc_scale=0.4, ilm_scale=0.5)
    expected = modified_beam_search(model, x, lens, fusion=internal, guide=guide)
    assert search_encoder_out(model, x, lens, config) == expected
    x, lens = x[:, :3], torch.tensor([3, 2])  # beam_search emits many tokens a frame
    subtracted = search_encoder_out(model, x, lens, SearchConfig("beam_search", ilm_scale=0.5))
    assert subtracted == beam_search(model, x, lens, fusion=internal) != beam_search(model, x, lens)


@pytest.fixture
def folders(tone_corpus, tmp_path: Path) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Two n-gram models over the tokens of the tone corpus: `lm` of order 3, and `lodr` of order 2."""
    rng = np.random.default_rng(0)
    for name, order in (("lm", 3), ("lodr", 2)):
        sentences = [rng.choice(list("一二三四"), 8).tolist() for _ in range(20)]
        model = train_ngram(sentences, [*"一二三四五六七八", "<unk>"], order)
        (tmp_path / name).mkdir()
        write_arpa(tmp_path / name / "lm.arpa", model)
    return {"lm_dir": str(tmp_path / "lm"), "lodr_dir": str(tmp_path / "lodr")}


def test_lodr_scores_are_log_probs_times_minus_the_scale(tone_corpus, folders: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    config = DecodeConfig("modified_beam_search", lm_scale=0.4, lodr_scale=0.25, **folders)
    scorer = load_fusion(config, tokens, CPU)
    assert scorer is not None
    lm, lodr = (read_arpa(Path(folder) / "lm.arpa") for folder in folders.values())
    states, history = scorer.start(1), [BOS]
    for text in ("", "一", "四", "", "八", "三", "二"):
        states = scorer.advance(states, torch.tensor([tokens.ids[text] if text else 0]))
        history += [text] * bool(text)
        row = scorer.scores(states)[0]
        for symbol in "一二三四五六七八":
            log10 = 0.4 * lm.log10_prob(tuple(history), symbol) - 0.25 * lodr.log10_prob(tuple(history), symbol)
            assert float(row[tokens.ids[symbol]]) == pytest.approx(log10 * math.log(10), abs=1e-4)
        assert row[0] == 0
    without = load_fusion(DecodeConfig("modified_beam_search", lm_scale=0.4, **folders), tokens, CPU)
    alone = load_fusion(DecodeConfig("modified_beam_search", lm_scale=0.4, lm_dir=folders["lm_dir"]), tokens, CPU)
    assert without is not None and alone is not None
    assert torch.equal(without.scores(without.start(2)), alone.scores(alone.start(2)))
    assert {"lm_dir/lm.arpa", "lodr_dir/lm.arpa"} <= file_digests(config).keys()


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("modified_beam_search", {"ilm_scale": -0.1}, "ilm_scale must be >= 0"),
        ("modified_beam_search", {"lodr_scale": -0.1}, "lodr_scale must be >= 0"),
        ("modified_beam_search", {"lodr_scale": 0.1}, "lodr_scale goes with a language model.*set lm_scale too"),
        ("ctc_prefix_beam_search", {"ilm_scale": 0.1}, "ilm_scale needs one of modified.*, not ctc_prefix_beam_search"),
        ("lexicon_search", {"ilm_scale": 0.1}, "ilm_scale needs one of .*, not lexicon_search"),
        ("lexicon_search", {"lm_scale": 0.5, "lodr_scale": 0.1}, "lodr_scale needs one of .*, not lexicon_search"),
        ("greedy_search", {"ilm_scale": 0.1}, "ilm_scale needs one of .*, not greedy_search"),
    ],
)
def test_what_cannot_be_subtracted_is_refused(method: str, values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(method, **values)  # type: ignore[arg-type]


def test_missing_model_of_transcripts_is_named(tone_corpus, folders: dict[str, str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    config = DecodeConfig("ctc_prefix_beam_search", lm_scale=0.4, lodr_scale=0.2, lm_dir=folders["lm_dir"])
    with pytest.raises(ConfigError, match=r"lodr_dir \(--lodr-dir\)"):
        load_fusion(config, tokens, CPU)
    config = with_lm_dir(config, tmp_path / "exp")
    with pytest.raises(DataError, match=r"no language model in .*/exp/lodr, and lodr_scale is 0\.2: .*--lodr-scale 0"):
        load_fusion(config, tokens, CPU)
