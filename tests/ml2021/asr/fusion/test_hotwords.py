"""Hotwords: the bonus of random texts equals that of the terms in them, reading files, effect in a search."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.hotwords import Hotwords, read_hotwords
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.search.ctc_prefix_beam import ctc_prefix_beam_search

CPU = torch.device("cpu")


def bonus(hotwords: Hotwords, text: tuple[int, ...]) -> float:
    """The total bonus of a text, with a blank after each token, including the final score."""
    states, total = hotwords.start(1), 0.0
    for token in (t for pair in zip(text, itertools.repeat(0)) for t in pair):
        scores = hotwords.scores(states)[0]
        assert scores[0] == 0
        total += float(scores[token])
        states = hotwords.advance(states, torch.tensor([token]))
    return total + float(hotwords.final(states)[0])


@pytest.mark.parametrize("seed", range(30))
def test_text_gets_the_bonus_of_the_terms_in_it(seed: int) -> None:
    """With three letters only, terms overlap, and some are prefixes or substrings of others."""
    rng = random.Random(seed)
    terms = {tuple(rng.choices((1, 2, 3), k=rng.randint(1, 4))): float(rng.randint(1, 3)) for _ in range(5)}
    hotwords = Hotwords(terms, 4, CPU)
    for _ in range(20):
        text = tuple(rng.choices((1, 2, 3), k=rng.randint(0, 9)))
        expected = sum(
            score * len(term)
            for term, score in terms.items()
            for i in range(len(text) - len(term) + 1)
            if text[i : i + len(term)] == term
        )
        assert bonus(hotwords, text) == pytest.approx(expected)


def test_bonus_of_an_incomplete_term_is_taken_back() -> None:
    hotwords = Hotwords({(1, 2, 3): 2.0}, 5, CPU)
    states = hotwords.start(1)
    for token, score in ((1, 2.0), (2, 2.0), (4, -4.0)):
        assert float(hotwords.scores(states)[0, token]) == score
        states = hotwords.advance(states, torch.tensor([token]))


def test_search_prefers_a_term_where_acoustic_scores_are_close() -> None:
    log_probs = torch.tensor([[[0.02, 0.9, 0.04, 0.04], [0.02, 0.04, 0.5, 0.44], [0.9, 0.04, 0.03, 0.03]]]).log()
    lens = torch.tensor([3])
    results = [
        ctc_prefix_beam_search(log_probs, lens, 4, fusion=fusion)[0].tokens
        for fusion in (None, Hotwords({(1, 3): 1.0}, 4, CPU), Hotwords({(3, 2): 1.0}, 4, CPU))
    ]
    assert results == [(1, 2), (1, 3), (1, 2)]


def test_file_has_terms_and_their_scores(tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    path = tmp_path / "hotwords.txt"
    path.write_text("一二三\n\nModel data :2.5\n")
    terms = read_hotwords(path, tokens, 1.5)
    assert terms == {tuple(tokens.encode("一 二 三")): 1.5, tuple(tokens.encode("model data")): 2.5}
    for content, message in (("一\n二 :x\n", "line 2.*'x'"), ("一\n九\n", "line 2.*九")):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            read_hotwords(path, tokens, 1.5)
    for score in ("nan", "inf", "-inf", "1e999"):
        path.write_text(f"一二三\nmodel :{score}\n")
        with pytest.raises(DataError, match=f"line 2: the score '{score}' is not a finite number; write one such"):
            read_hotwords(path, tokens, 1.5)
    for line in ("model:2.5", "model : 2.5", "一二三：２.５", "model :2.5 # a comment", "model :2.5 :3", ":2.5"):
        path.write_text(f"一二三\n{line}\n", encoding="utf-8")
        with pytest.raises(
            DataError, match="line 2: .* seems to have a score that would be read as a part of the term"
        ):
            read_hotwords(path, tokens, 1.5)
    with pytest.raises(DataError, match="no hotwords file"):
        read_hotwords(tmp_path / "none.txt", tokens, 1.5)


def test_configuration_loads_them(tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tokens = load_lang(tone_corpus.lang)
    path = tmp_path / "hotwords.txt"
    path.write_text("一二\n")
    with pytest.raises(ConfigError, match="hotwords_score must be a finite number"):
        DecodeConfig("ctc_prefix_beam_search", hotwords_file=str(path), hotwords_score=float("inf"))
    fusion = load_fusion(DecodeConfig("ctc_prefix_beam_search", hotwords_file=str(path)), tokens, CPU)
    assert fusion is not None
    scores = fusion.scores(fusion.start(1))[0]
    assert scores.sum() == scores[tokens.ids["一"]] == 1.5
    with pytest.raises(ConfigError, match="hotwords_file need one of"):
        DecodeConfig("greedy_search", hotwords_file=str(path))


def test_more_terms_than_the_table_holds_are_refused() -> None:
    terms = {(i, j, k): 1.0 for i in range(1, 20) for j in range(20) for k in range(20)}
    with pytest.raises(DataError, match="fewer terms"):
        Hotwords(terms, 20_000, CPU)
