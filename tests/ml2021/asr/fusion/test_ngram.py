"""N-gram models: probabilities sum to 1, a value computed by hand, ARPA files; the scorer agrees with the model."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion import ngram_scorer
from ml2021.asr.fusion.arpa import BOS, EOS, ArpaModel, read_arpa, write_arpa
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.fusion.ngram import perplexity, train_ngram
from ml2021.asr.fusion.ngram_scorer import NgramScorer
from ml2021.asr.fusion.scorer import select

SYMBOLS = ["<blk>", "<sos/eos>", "<unk>", "a", "b", "c", "d", "e"]
VOCABULARY = SYMBOLS[2:]


def random_sentences(seed: int, count: int = 40) -> list[list[str]]:
    """Sentences of a, b, c and d, in which most tokens are followed by the next letter; none has an e."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        sentence = [rng.choice("abcd")]
        while rng.random() < 0.8:
            sentence.append("abcd"[(ord(sentence[-1]) - 96) % 4] if rng.random() < 0.7 else rng.choice("abcd"))
        sentences.append(sentence)
    return sentences


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 40, 400])
def test_probabilities_sum_to_one_after_any_context(order: int, count: int) -> None:
    model = train_ngram(random_sentences(count, count), VOCABULARY, order)
    for context in ((), (BOS,), ("a",), ("a", "b"), ("e", "a"), (BOS, "a", "b"), ("d", "d", "d"), ("e", "e", "e")):
        probs = [10 ** model.log10_prob(context, w) for w in (*VOCABULARY, EOS)]
        assert sum(probs) == pytest.approx(1, abs=1e-9)
        assert min(probs) > 0


def test_bigrams_by_hand() -> None:
    """The sentences "a b" and "a" are too few to estimate discounts: they are 0.5 for one occurrence, 1.0 for two.

    Unigrams count the tokens that precede them: a 1 (<s>), b 1, </s> 2, 4 in total. With V = 3, P(b) = 0.5 / 4 +
    (2 * 0.5 + 1.0) / 4 / 3. After a there are b and </s>, once each: P(b | a) = 0.5 / 2 + (0.5 + 0.5) / 2 * P(b).
    """
    model = train_ngram([["a", "b"], ["a"]], ["a", "b"], 2)
    p_b = 0.5 / 4 + 0.5 / 3
    assert 10 ** model.log10_prob((), "b") == pytest.approx(p_b)
    assert 10 ** model.log10_prob(("a",), "b") == pytest.approx(0.25 + 0.5 * p_b)
    p_a = p_b  # only </s> occurs after b, so a backs off with weight 0.5 / 1
    assert 10 ** model.log10_prob(("b",), "a") == pytest.approx(0.5 * p_a)


def test_longer_ngrams_predict_unseen_text_better() -> None:
    train, unseen = random_sentences(1, 800), random_sentences(2, 200)
    unigram, bigram = (perplexity(train_ngram(train, VOCABULARY, n), unseen) for n in (1, 2))
    assert bigram < 0.8 * unigram


def test_model_read_from_a_file_is_the_same(tmp_path: Path) -> None:
    model = train_ngram(random_sentences(0), VOCABULARY, 3)
    write_arpa(tmp_path / "lm.arpa", model)
    read = read_arpa(tmp_path / "lm.arpa")
    assert read.order == 3
    for table, expected in zip(read.tables, model.tables):
        assert table.keys() == expected.keys()
        assert all(table[k] == pytest.approx(expected[k], abs=1e-6) for k in expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("\\end\\", "", "not whole"), ("ngram 1=", "ngram 1=9", "not whole"), ("\ta\t", "\ta b c\t", "not a line")],
)
def test_damaged_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(path, train_ngram(random_sentences(0), VOCABULARY, 2))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_arpa(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.3\ta", "0.3\ta", r"line 7: log-probability 0\.3 is above 0; write base-10 logarithms"),
        ("-0.3\ta", "nan\ta", "line 7: not a line of an ARPA file"),
        ("-0.3\ta", "inf\ta", "line 7: not a line of an ARPA file"),
        ("-1.0\tb", "-0.1\tb", r"the probabilities of its unigrams sum to 1\.4, more than 1"),
    ],
)
def test_numbers_that_are_no_log_probabilities_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "lm.arpa"
    content = "\\data\\\nngram 1=4\n\n\\1-grams:\n-99\t<s>\n-1.0\t</s>\n-0.3\ta\n-1.0\tb\n\n\\end\\\n"
    path.write_text(content)
    assert read_arpa(path).log10_prob((), "a") == -0.3
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_arpa(path)


def test_logarithm_of_zero_may_be_minus_infinity(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-inf\t<s>\n-0.3\ta\n\n\\end\\\n")
    assert read_arpa(path).log10_prob((), BOS) == -99


def test_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    write_arpa(tmp_path / "lm.arpa", train_ngram([["我", "們"]], ["我", "們"], 2))
    text = (tmp_path / "lm.arpa").read_text(encoding="utf-8")
    (tmp_path / "lm.arpa").write_bytes(text.encode("big5"))
    with pytest.raises(DataError, match=r"lm\.arpa is not UTF-8"):
        read_arpa(tmp_path / "lm.arpa")


@pytest.mark.parametrize("order", [1, 2, 4])
def test_scorer_gives_the_probabilities_of_the_model(order: int) -> None:
    model = train_ngram(random_sentences(3), VOCABULARY, order)
    scorer = NgramScorer(model, SYMBOLS, 0.5, torch.device("cpu"))
    rng = random.Random(0)
    histories: list[tuple[str, ...]] = [(BOS,), (BOS,)]
    states = scorer.start(2)
    for _ in range(30):
        scores = scorer.scores(states)
        assert scores[:, 0].tolist() == [0, 0]
        for row, history in zip(scores, histories):
            expected = [0.5 * math.log(10) * model.log10_prob(history, w) for w in VOCABULARY]
            assert row[2:].tolist() == pytest.approx(expected, abs=1e-4)
        parents = [rng.randrange(2) for _ in range(2)]
        tokens = [rng.choice([0, 3, 4, 5, 6, 7]) for _ in range(2)]
        states = scorer.advance(select(states, torch.tensor(parents)), torch.tensor(tokens))
        histories = [histories[p] + ((SYMBOLS[t],) if t else ()) for p, t in zip(parents, tokens)]


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("rows_kept", [3, 10_000])
def test_batches_are_scored_as_by_the_model_also_if_it_was_pruned(
    order: int, rows_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the long n-grams are gone, with those that begin with them. _scores is the way of a GPU."""
    monkeypatch.setattr(ngram_scorer, "ROWS_KEPT", rows_kept)
    rng = random.Random(order)
    whole = train_ngram(random_sentences(5), VOCABULARY, order)
    tables = [dict(whole.tables[0])]
    for table in whole.tables[1:]:
        kept = {k: v for k, v in table.items() if len(k) == 1 or (k[:-1] in tables[-1] and rng.random() < 0.5)}
        tables.append(kept)
    model = ArpaModel(tuple(tables))
    scorer = NgramScorer(model, SYMBOLS, 0.5, torch.device("cpu"))
    histories: list[tuple[str, ...]] = [(BOS,)] * 20
    states = scorer.start(20)
    for _ in range(12):
        scores = scorer.scores(states)
        torch.testing.assert_close(scores, scorer._scores(states[0]), rtol=0, atol=1e-5)
        for row, history in zip(scores, histories):
            expected = [0.5 * math.log(10) * model.log10_prob(history, w) for w in VOCABULARY]
            assert [0.0, *row[2:].tolist()] == pytest.approx([float(row[0]), *expected], abs=1e-4)
        tokens = torch.tensor([rng.choice([0, 3, 4, 5, 6, 7]) for _ in range(20)])
        following = torch.where(tokens == 0, states[0], scorer._following(states[0], tokens))
        states = scorer.advance(states, tokens)
        assert torch.equal(states[0], following)
        histories = [h + ((SYMBOLS[t],) if t else ()) for h, t in zip(histories, tokens.tolist())]
    assert len({h[-order:] for h in histories}) > 10


@pytest.mark.parametrize("words", [["一", "model"], ["deep", "data"], ["一", "modelling"]])
def test_model_of_other_units_than_tokens_is_refused(tone_corpus, tmp_path: Path, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    others = [word for word in words if word not in tokens.ids]
    assert others
    write_arpa(tmp_path / "lm.arpa", train_ngram([words], [*words, "<unk>"], 2))
    config = DecodeConfig("modified_beam_search", lm_scale=0.2, lm_dir=str(tmp_path))
    with pytest.raises(DataError, match=f"{len(others)} of 2 units.*{others[0]}.*must be tokens, not words. Train it"):
        load_fusion(config, tokens, torch.device("cpu"))
    pieces = [tokens.symbols[i] for i in tokens.encode("一 二 model data")]
    write_arpa(tmp_path / "lm.arpa", train_ngram([pieces], [*pieces, "<unk>"], 2))
    assert load_fusion(config, tokens, torch.device("cpu")) is not None


def test_scorer_accepts_a_model_that_lacks_tokens() -> None:
    tables = ({("<unk>",): (-3.0, 0.0), (BOS,): (-99.0, 0.0), (EOS,): (-1.0, 0.0), ("a",): (-0.1, 0.0)},)
    scorer = NgramScorer(ArpaModel(tables), SYMBOLS, 1.0, torch.device("cpu"))
    row = scorer.scores(scorer.start(1))[0] / math.log(10)
    assert row.tolist() == pytest.approx([0, -3, -3, -0.1, -3, -3, -3, -3])


def test_subtracted_model_pays_no_more_for_unknown_tokens_than_for_the_rarest_known_one() -> None:
    """LODR: the floor of a token that the model lacks would be a reward of 20 nats times the scale."""
    known = {(SYMBOLS[3],): (-0.5, 0.0), (SYMBOLS[4],): (-2.0, 0.0), (BOS,): (-99.0, 0.0), (EOS,): (-1.0, 0.0)}
    for table in (known, known | {("<unk>",): (-99.0, 0.0)}):
        scorer = NgramScorer(ArpaModel((table,)), SYMBOLS, -0.5, torch.device("cpu"))
        scores = scorer.scores(scorer.start(1))[0]
        others = [i for i in range(1, len(SYMBOLS)) if i != 3]
        assert scores[others].tolist() == pytest.approx([scores[4].item()] * len(others))
        assert 0 < scores[3] < scores[4]
