"""Units to words: against all word sequences on tiny log-probs, with and without a language model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece as spm
import torch
from torch import Tensor

from lhotse_prep.tokens.bpe import train_bpe
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.windows import decode_parts
from ml2021.asr.fusion.lexicon import Lexicon, load_lexicon, main, texts_of_corpus
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.fusion.ngram_scorer import NgramScorer
from ml2021.asr.fusion.scorer import Fusion, Scorer
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel, encoder_out_lens
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.lexicon_search import FLOOR, NEAR, LexiconSearchConfig, WordsAlike, lexicon_search
from ml2021.asr.search.methods import search as search_batch
from ml2021.asr.search.methods import token_table
from tests.ml2021.asr.with_units import make_with_units

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


def near(log_probs: Tensor, frame: int, token: int) -> float:
    """The largest log-prob of a token within NEAR frames, at least FLOOR."""
    if token >= log_probs.shape[1]:
        return FLOOR
    return max(FLOOR, float(log_probs[max(0, frame - NEAR) : frame + NEAR + 1, token].max()))


@pytest.mark.parametrize("seed", range(12))
def test_the_head_on_tokens_chooses_among_words_that_sound_alike(tokens: TokenTable, seed: int) -> None:
    """With a scale, each word of clear sounds is the best by language model and tokens near it, of all combinations."""
    readings = {"一": [(1,)], "二": [(1,)], "三": [(2,)], "四": [(2,)], "光": [(1,)]}
    lexicon = Lexicon(readings, tokens)
    rng = np.random.default_rng(seed)
    fusion, scale = language_model(tokens, 0.5, seed), (0.3, 1.0, 3.0)[seed % 3]
    units = [1, 2, 1, 1]
    log_probs = peaks(units, NUM_UNITS, 12)
    token_log_probs = torch.from_numpy(rng.normal(0, 3, (12, len(tokens)))).log_softmax(dim=1)
    frames = [2 + 2 * i for i in range(len(units))]
    alike = {unit: [w for w, of_word in readings.items() if of_word == [(unit,)]] for unit in (1, 2)}
    scores = dict[tuple[str, ...], float]()
    for words in itertools.product(*(alike[u] for u in units)):
        total, states = 0.0, fusion.start(1)
        for word, unit, frame in zip(words, units, frames):
            ids = {w: lexicon.tokens[lexicon.words.index(w)][0] for w in alike[unit]}
            rows = {w: near(token_log_probs, frame, i) for w, i in ids.items()}
            total += scale * (rows[word] - max(rows.values()))
            token = torch.tensor(lexicon.lm_tokens[lexicon.words.index(word)])
            total += float(fusion.scores(states)[0, token])
            states = fusion.advance(states, token)
        scores[words] = total + float(fusion.final(states))
    best = max(scores, key=lambda words: scores[words])
    config = LexiconSearchConfig(2000, lm_scale=0.5, token_scale=scale, alike=WHOLE)
    given = (log_probs[None], torch.tensor([12]), lexicon, config, 0.0, fusion, token_log_probs[None])
    (hypothesis,) = lexicon_search(*given)
    assert tuple(lexicon.table.decode(hypothesis.tokens).split()) == best
    (alone,) = lexicon_search(*given[:3], replace(config, token_scale=0.0), 0.0, fusion, token_log_probs[None])
    assert alone == search(log_probs, lexicon, replace(config, token_scale=0.0), fusion)


def test_words_that_the_tokens_cannot_write_or_that_sound_like_no_other(tokens: TokenTable) -> None:
    lexicon = Lexicon({"一": [(1,)], "光": [(1,), (2, 3)], "ab": [(2,)], "二": [(3, 1)], "三": [(3, 1)]}, tokens)
    log_probs = torch.full((30, len(tokens)), -9.0)
    log_probs[:, tokens.ids["二"]] = -1.0
    log_probs[10, tokens.ids["一"]] = log_probs[10, tokens.ids["三"]] = -0.5
    alike = WordsAlike(lexicon)
    evidence, trie = alike.evidence(log_probs), lexicon.trie
    assert evidence.shape == (30, 4)
    at = {
        (node, lexicon.words[trie.word[p]]): alike.column[p]
        for node in range(len(trie.first_word) - 1)
        for p in range(trie.first_word[node], trie.first_word[node + 1])
    }
    column = {word: [c for (_, w), c in at.items() if w == word] for word in lexicon.words}
    assert column["ab"] == [-1] and sorted(column["光"])[0] == -1 and len(column["光"]) == 2
    near = np.abs(np.arange(30) - 10) <= NEAR
    assert evidence[:, column["一"][0]] == pytest.approx(0.0)  # FLOOR for both elsewhere
    assert evidence[:, max(column["光"])] == pytest.approx(np.where(near, FLOOR + 0.5, 0.0))
    assert evidence[:, column["二"][0]] == pytest.approx(np.where(near, -0.5, 0.0))
    assert evidence[:, column["三"][0]] == pytest.approx(np.where(near, 0.0, FLOOR + 1.0))


def test_thousands_of_hypotheses_with_new_words_at_once(tokens: TokenTable) -> None:
    lexicon = Lexicon({"一": [(1,)], "二": [(1,)], "三": [(2,)], "四": [(2,)], "光": [(1,)]}, tokens)
    log_probs = random_log_probs(0, 8)
    many = search(log_probs, lexicon, LexiconSearchConfig(3000, alike=WHOLE), None)
    units = {"一": 1, "二": 1, "光": 1, "三": 2, "四": 2}
    few = search(log_probs, lexicon, LexiconSearchConfig(50, alike=WHOLE), None)
    spelled = [[units[w] for w in lexicon.table.decode(h.tokens).split()] for h in (many, few)]
    assert spelled[0] == spelled[1]


def peaks(units: Sequence[int], num_units: int, num_frames: int) -> Tensor:
    """(T, U) log-probs with a unit in every second frame from the third on, and blanks."""
    logits = torch.zeros(num_frames, num_units)
    logits[:, 0] = 6.0
    for i, unit in enumerate(units):
        logits[2 + 2 * i, unit] = 14.0
    return logits.log_softmax(dim=1)


def test_tokens_have_the_times_of_their_units(lexicon: Lexicon) -> None:
    """Here 光 is 3, 四 is 2 3, and ab is 3 3 of two tokens or more; a peak of a unit is later than its first frame."""
    log_probs = peaks([3, 2, 3], NUM_UNITS, 12)
    hypothesis = search(log_probs, lexicon, LexiconSearchConfig(8), None)
    assert lexicon.table.decode(hypothesis.tokens) == "光 四" and hypothesis.frames == (2, 4)
    assert min(hypothesis.scores) > 0.9
    log_probs = peaks([3, 3], NUM_UNITS, 12)
    only = Lexicon({"ab": READINGS["ab"]}, lexicon.table)
    hypothesis = search(log_probs, only, LexiconSearchConfig(8), None)
    assert only.table.decode(hypothesis.tokens) == "ab"
    assert hypothesis.frames[0] == 2 and (len(hypothesis.frames) == 1 or hypothesis.frames[-1] == 4)
    assert search(peaks([], NUM_UNITS, 5), lexicon, LexiconSearchConfig(8), None) == Hypothesis((), (), ())


@pytest.fixture(scope="module")
def exp_dir(tone_corpus, config, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A recogniser with a head on the lower stack, not trained."""
    folder = tmp_path_factory.mktemp("with-units")
    return make_with_units(folder, tone_corpus.lang, config, ["一 二 三 四 五 六 七 八 光 新", "model data"])


@pytest.fixture(scope="module")
def lexicon_file(exp_dir: Path, tone_corpus, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """Of the train windows and of a text with a character that no transcript has."""
    folder = tmp_path_factory.mktemp("lexicon")
    (folder / "slides.txt").write_text("光，Model!\n", encoding="utf-8")
    options = ["--exp-dir", exp_dir, "--cuts", tone_corpus.cuts, "--texts", folder / "slides.txt"]
    main([*map(str, options), "--out", str(folder / "lexicon.txt")])
    return folder / "lexicon.txt"


def test_texts_of_a_corpus_are_those_of_its_language_model(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "我 們"}\n', encoding="utf-8")
    (tmp_path / "untranslated.jsonl").write_text('{"id": "b", "text": "model"}\n', encoding="utf-8")
    (tmp_path / "slides.txt").write_text("光，Model!\n", encoding="utf-8")
    files = [tmp_path / name for name in ("texts.jsonl", "slides.txt")]
    assert list(texts_of_corpus(None, files)) == ["我 們", "model", "光 model"]
    with pytest.raises(DataError, match=r"no file .*lost\.txt"):
        list(texts_of_corpus(None, [tmp_path / "lost.txt"]))


def test_a_word_that_only_a_text_has_is_recognised_in_windows(  # type: ignore[no-untyped-def]
    exp_dir, lexicon_file, tone_corpus, tmp_path, monkeypatch
) -> None:
    """The character 光 is no token of the recogniser. The head is replaced by one that is sure of these units."""
    model, tokens = load_model(exp_dir)
    assert "光" not in tokens.symbols
    units = [u for word in model.spelling.units.encode_words(["光", "二"]) for u in word]
    monkeypatch.setattr(
        AsrModel,
        "units_log_probs",
        lambda self, below: peaks(units, self.num_units, below.shape[1]).repeat(len(below), 1, 1),
    )
    config = DecodeConfig("lexicon_search", lexicon_file=str(lexicon_file))
    rates = decode_parts(exp_dir, tone_corpus.cuts, ["dev"], tmp_path, config, None, "x")
    recogs = (tmp_path / "recogs-dev-x.txt").read_text(encoding="utf-8")
    assert recogs.count("hyp=['光', '二']") == 4
    refs = [line.split("\t")[1] for line in recogs.splitlines() if "ref=" in line]
    words = [word for ref in refs for word in ref if word in "一二三四五六七八"]
    assert rates["dev"].units.num_ref == sum(map(len, model.spelling.units.encode_words(words)))
    assert rates["dev"].units.errors > 0


def test_units_choose_among_the_hypotheses_of_a_beam(exp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = load_model(exp_dir)
    features, lens = torch.randn(2, 200, 80), torch.tensor([200, 150])
    plain = SearchConfig("modified_beam_search", beam_size=6)
    before = search_batch(model, features, lens, plain)
    assert search_batch(model, features, lens, replace(plain, units_rescore_scale=1e-9)) == before
    spelled = list[list[int]]()

    def sure(self: AsrModel, below: Tensor) -> Tensor:
        return peaks(spelled[0], self.num_units, below.shape[1]).repeat(len(below), 1, 1)

    monkeypatch.setattr(AsrModel, "units_log_probs", sure)
    assert model.spelling is not None
    for text in ("", "三"):
        spelled[:] = [[u for word in model.spelling.units.encode_words(text.split()) for u in word]]
        chosen = search_batch(model, features, lens, replace(plain, units_rescore_scale=1000.0))
        errors = [len(model.spelling.units.encode_words(_words(model, h))) for h in chosen]
        assert errors <= [len(model.spelling.units.encode_words(_words(model, h))) for h in before] or text


def _words(model: AsrModel, hypothesis: Hypothesis) -> list[str]:
    assert model.spelling is not None
    return model.spelling.tokens.decode(hypothesis.tokens).split()


def test_audio_shorter_than_the_receptive_field_is_decoded(exp_dir: Path, lexicon_file: Path) -> None:
    model, _ = load_model(exp_dir)
    torch.manual_seed(0)
    features, lens = torch.randn(6, 12, 80), torch.tensor([1, 2, 5, 8, 9, 12])
    config = SearchConfig("lexicon_search", beam_size=64, lexicon_file=str(lexicon_file), blank_penalty=8.0)
    hypotheses = search_batch(model, features, lens, config)
    assert any(h.tokens for h in hypotheses)
    with torch.inference_mode():
        assert search_batch(model, features, lens, config) == hypotheses
    for hypothesis, num_frames in zip(hypotheses, encoder_out_lens(lens).tolist()):
        assert all(0 <= f < num_frames for f in hypothesis.frames) and all(0 < s <= 1 for s in hypothesis.scores)


def test_a_model_without_the_head_or_a_lexicon_is_refused(trained, exp_dir, tmp_path):  # type: ignore[no-untyped-def]
    model, tokens = load_model(trained)
    batch = torch.randn(1, 100, 80), torch.tensor([100])
    for name, value in (
        ("units_rescore_scale", 0.5),
        ("word_score", 1.0),
        ("token_scale", 0.3),
        ("lexicon_texts", ("a.txt",)),
    ):
        with pytest.raises(ConfigError, match=name):
            SearchConfig("greedy_search", **{name: value})
    for config in (SearchConfig("lexicon_search"), SearchConfig("modified_beam_search", units_rescore_scale=0.5)):
        with pytest.raises(ConfigError, match="needs a CTC head on units"):
            search_batch(model, *batch, config)
    assert token_table(model, tokens, SearchConfig("lexicon_search")) is tokens
    model, _ = load_model(exp_dir)
    model.config = replace(model.config, ctc_loss_scale=0.0)
    (tmp_path / "one.txt").write_text(f"一 {model.spelling.units.symbols[0]}\n", encoding="utf-8")
    asks = SearchConfig("lexicon_search", lexicon_file=str(tmp_path / "one.txt"), token_scale=0.3)
    with pytest.raises(ConfigError, match="token_scale needs a CTC head"):
        search_batch(model, *batch, asks)
    assert len(search_batch(model, *batch, replace(asks, token_scale=0.0))) == len(batch[1])
    with pytest.raises(DataError, match="no lexicon"):
        search_batch(model, *batch, SearchConfig("lexicon_search", lexicon_file=str(tmp_path / "lexicon.txt")))
    for content, message in (("二 er\n三 qq\n", "line 2: .*'qq' is no unit"), ("二\n", "no units"), ("\n", "no words")):
        (tmp_path / "lexicon.txt").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            load_lexicon(tmp_path / "lexicon.txt", model.spelling)
