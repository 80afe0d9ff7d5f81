"""k2's fast beam search (best path, n-best, with an LG) compared with an enumeration of all paths of a transducer."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.arpa import BOS, EOS, ArpaModel, write_arpa
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.fast_beam_search import FastBeam, fast_beam_search, fast_beam_search_nbest
from ml2021.asr.search.lg import build_lg, load_lg, spell
from ml2021.asr.search.lg_graph import main

SMALL = ZipformerConfig(
    num_encoder_layers=(1,),
    downsampling_factor=(1,),
    encoder_dim=(16,),
    encoder_unmasked_dim=(16,),
    feedforward_dim=(16,),
    num_heads=(1,),
    query_head_dim=(8,),
    cnn_module_kernel=(7,),
    embed_channels=(4, 8, 16),
)
EVERYTHING = FastBeam(beam=100.0, max_contexts=500, max_states=5000, num_paths=3000)
TEXTS = ["一 二 一 二 三", "一 二 三", "三 一 二", "ab 一", "abc 二", "一 abc ab"]


def model_and_frames(seed: int, vocab_size: int, num_frames: int) -> tuple[AsrModel, Tensor]:
    """A model with random weights, far from uniform, and encoder_out (1, T, 16)."""
    torch.manual_seed(seed)
    model = AsrModel(TransducerConfig(SMALL, decoder_dim=16, joiner_dim=16), vocab_size).eval()
    with torch.no_grad():
        for p in model.joiner.parameters():
            p.mul_(4)
    return model, torch.randn(1, num_frames, 16)


@torch.no_grad()
def all_paths(model: AsrModel, frames: Tensor, allowed: list[int]) -> dict[tuple[int, ...], float]:
    """Log-probability of every path of blanks and allowed tokens over frames (T, D)."""
    am = model.joiner.encoder_proj(frames)
    log_probs = {}
    for path in itertools.product([0, *allowed], repeat=len(frames)):
        history, total = (0, 0), 0.0  # k2 starts with two blanks, the other searches with -1 and a blank
        for t, symbol in enumerate(path):
            total += rows_of(model, am, history)[t, symbol].item()
            history = (history[1], symbol) if symbol else history
        log_probs[path] = total
    rows_of.cache.clear()
    return log_probs


class _Rows:
    """Log-probabilities (T, V) after a history, computed once."""

    def __init__(self) -> None:
        self.cache: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, model: AsrModel, am: Tensor, history: tuple[int, ...]) -> Tensor:
        if history not in self.cache:
            lm = model.joiner.decoder_proj(model.decoder(torch.tensor([history]), need_pad=False))[0]
            self.cache[history] = model.joiner(am, lm).log_softmax(dim=1)
        return self.cache[history]


rows_of = _Rows()


def sequence_totals(paths: dict[tuple[int, ...], float]) -> dict[tuple[int, ...], float]:
    totals: dict[tuple[int, ...], float] = {}
    for path, total in paths.items():
        key = tuple(x for x in path if x)
        totals[key] = np.logaddexp(totals.get(key, -np.inf), total)
    return totals


@pytest.mark.needs_k2
@pytest.mark.parametrize("seed", range(10))
def test_best_path_and_best_sequence(seed: int) -> None:
    model, encoder_out = model_and_frames(seed, 4, 6)
    paths = all_paths(model, encoder_out[0, :-1], [1, 2, 3])  # k2 ignores the last frame
    lens = torch.tensor([6])
    best = max(paths, key=lambda p: paths[p])
    one = fast_beam_search(model, encoder_out, lens, EVERYTHING)[0]
    assert [(t, f) for f, t in enumerate(best) if t] == list(zip(one.tokens, one.frames))
    totals = sequence_totals(paths)
    nbest = fast_beam_search_nbest(model, encoder_out, lens, EVERYTHING)[0]
    assert nbest.tokens == max(totals, key=lambda s: totals[s])
    same = {p: v for p, v in paths.items() if tuple(x for x in p if x) == nbest.tokens}
    assert nbest.frames == tuple(t for t, x in enumerate(max(same, key=lambda p: same[p])) if x)


@pytest.mark.needs_k2
def test_batch_and_single_utterances_give_the_same() -> None:
    model, encoder_out = model_and_frames(1, 6, 12)
    both = torch.cat([encoder_out, encoder_out.flip(1)])
    lens = torch.tensor([12, 7])
    for search in (fast_beam_search, fast_beam_search_nbest):
        together = search(model, both, lens)
        alone = [search(model, both[n : n + 1, : lens[n]], lens[n : n + 1])[0] for n in range(2)]
        assert [h.tokens for h in together] == [h.tokens for h in alone] and any(h.tokens for h in together)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenTable:
    """Tokens for three characters and two English words, of which "ab" is a prefix of "abc"."""
    return make_lang(
        TEXTS, ["ab", "abc", "ab"], tmp_path_factory.mktemp("lang") / "lang", LangConfig(num_english_pieces=5)
    )


@pytest.fixture(scope="module")
def words() -> ArpaModel:
    sentences = [t.split() for t in TEXTS]
    return train_ngram(sentences, {w for s in sentences for w in s}, order=3)


def sentence_log_prob(model: ArpaModel, sentence: list[str]) -> float:
    """The natural logarithm of a sentence's probability."""
    whole = (BOS, *sentence, EOS)
    return math.log(10) * sum(model.log10_prob(whole[:i], whole[i]) for i in range(1, len(whole)))


def graph_log_prob(model: ArpaModel, sentence: list[str], scale: float) -> float:
    """Log of the sum over all paths of a sentence, including those that back off without need."""

    def known(context: tuple[str, ...]) -> tuple[str, ...]:
        context = context[max(0, len(context) - model.order + 1) :]
        while context and context not in model.tables[len(context) - 1]:
            context = context[1:]
        return context

    def walk(context: tuple[str, ...], i: int) -> list[float]:  # base 10
        ngram = (*context, (*sentence, EOS)[i])
        scores = [model.tables[len(context)][ngram][0]] if ngram in model.tables[len(context)] else []
        if scores and i < len(sentence):
            scores = [scores[0] + rest for rest in walk(known(ngram), i + 1)]
        if context:
            backoff = model.tables[len(context) - 1][context][1]
            scores += [backoff + rest for rest in walk(known(context[1:]), i)]
        return scores

    return float(np.logaddexp.reduce(scale * math.log(10) * np.array(walk(known((BOS,)), 0))))


def test_words_are_spelled_like_text(tokens: TokenTable, words: ArpaModel) -> None:
    lexicon = spell(words, tokens)
    assert lexicon == {w: tokens.encode(w) for w in ("一", "二", "三", "ab", "abc")}
    of_tokens = train_ngram([["一", tokens.symbols[lexicon["ab"][0]]]], ["二"], order=2)
    assert spell(of_tokens, tokens)[tokens.symbols[lexicon["ab"][0]]] == lexicon["ab"][:1]
    with pytest.raises(DataError, match="none of the language model's words"):
        spell(train_ngram([["龍", "鳳"]], [], order=1), tokens)


@pytest.mark.needs_k2
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_lg_finds_the_best_sentence_of_both_models(
    seed: int, scale: float, tokens: TokenTable, words: ArpaModel, tmp_path: Path
) -> None:
    """The end of the sentence is scored, except in an empty sentence."""
    write_arpa(tmp_path / "lm.arpa", words)
    lang = tmp_path / "lang"
    make_lang(TEXTS, ["ab", "abc", "ab"], lang, LangConfig(num_english_pieces=5))
    main(["--lang-dir", str(lang), "--arpa", str(tmp_path / "lm.arpa"), "--out", str(tmp_path / "LG.pt")])
    graph = load_lg(str(tmp_path / "LG.pt"), scale, torch.device("cpu"))
    lexicon = spell(words, tokens)
    allowed = sorted({i for ids in lexicon.values() for i in ids})
    model, encoder_out = model_and_frames(seed, len(tokens), 5)
    totals = sequence_totals(all_paths(model, encoder_out[0, :-1], allowed))
    scores = {}
    for sequence, total in totals.items():
        text = tokens.decode(sequence).split()
        if all(w in lexicon for w in text) and tuple(tokens.encode(" ".join(text))) == sequence:
            scores[sequence] = total + (graph_log_prob(words, text, scale) if text else 0.0)
    assert 30 < len(scores) < len(totals)
    best = fast_beam_search_nbest(model, encoder_out, torch.tensor([5]), EVERYTHING, graph)[0]
    assert best.tokens == max(scores, key=lambda s: scores[s])


@pytest.mark.needs_k2
def test_silence_alone_gives_no_tokens() -> None:
    model, encoder_out = model_and_frames(0, 4, 6)
    with torch.no_grad():
        model.joiner.output_linear.bias[0] = 200.0
    for search in (fast_beam_search, fast_beam_search_nbest):
        assert [h.tokens for h in search(model, encoder_out, torch.tensor([6]))] == [()]


@pytest.mark.needs_k2
def test_graph_scores_sentences_like_the_language_model(tokens: TokenTable, words: ArpaModel) -> None:
    import k2

    graph = build_lg(words, tokens)
    for text in (*TEXTS, "三 三 ab abc", "ab ab 二 一 一"):
        linear = k2.linear_fsa([tokens.encode(text)])
        path = k2.intersect_device(k2.create_fsa_vec([graph]), linear, torch.zeros(1, dtype=torch.int32))
        value = float(path.get_tot_scores(use_double_scores=True, log_semiring=False)[0])
        assert value == pytest.approx(sentence_log_prob(words, text.split()), abs=1e-3)


def test_missing_graph_is_reported_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="lg_graph, name it lg_file"):
        DecodeConfig("fast_beam_search_nbest_LG")
