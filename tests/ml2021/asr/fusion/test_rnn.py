"""The LSTM language model: its scorer agrees with the model on whole sequences; training of both kinds of models."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import LmConfig, RnnLmConfig
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.fusion.rnn import RnnLm, RnnScorer
from ml2021.asr.fusion.scorer import select
from ml2021.asr.fusion.task import LmTask
from ml2021.asr.fusion.train import main
from ml2021.asr.fusion.train_lm import train_lm
from ml2021.training.config import TrainConfig

BOS_ID = 7
CPU = torch.device("cpu")


@torch.no_grad()
def test_scorer_gives_the_probabilities_of_the_model() -> None:
    torch.manual_seed(0)
    model = RnnLm(RnnLmConfig(dim=12, num_layers=2), vocab_size=9)
    scorer = RnnScorer(model, 0.5, BOS_ID)
    rng = random.Random(1)
    histories = [[BOS_ID], [BOS_ID], [BOS_ID]]
    states = scorer.start(3)
    for _ in range(12):
        for row, history in zip(scorer.scores(states), histories):
            expected = model(torch.tensor([history]))[0][0, -1].log_softmax(dim=0) * 0.5
            assert row[0] == 0 and torch.allclose(row[1:], expected[1:], atol=1e-5)
        parents = [rng.randrange(3) for _ in range(3)]
        tokens = [rng.choice([0, 3, 4, 5]) for _ in range(3)]
        states = scorer.advance(select(states, torch.tensor(parents)), torch.tensor(tokens))
        histories = [histories[p] + [t] * (t > 0) for p, t in zip(parents, tokens)]


@pytest.mark.parametrize("seed", range(5))
def test_every_token_is_in_one_sequence_of_an_epoch(seed: int) -> None:
    rng = random.Random(seed)
    texts = [[rng.randrange(3, 1000) for _ in range(rng.choice([1, 7, 8, 9, 50]))] for _ in range(20)]
    task = LmTask(texts, [], RnnLmConfig(max_tokens=8, batch_size=3), seed, "", BOS_ID)
    for epoch in (1, 2):
        batches = list(task.train_batches(epoch))
        tokens = sorted(int(t) for b in batches for t in b[:, 1:].flatten() if t)
        assert tokens == sorted(t for text in texts for t in text)
        assert all(b.shape[0] <= 3 and b.shape[1] <= 9 and bool((b[:, 0] == BOS_ID).all()) for b in batches)
    assert [b.tolist() for b in task.train_batches(1)] == [b.tolist() for b in task.train_batches(1)]


@pytest.mark.parametrize("kind", ["ngram", "rnn"])
def test_trained_model_scores_its_tokens_and_refuses_others(tone_corpus, other_lang, tmp_path: Path, kind: str) -> None:  # type: ignore[no-untyped-def]
    train = TrainConfig(num_epochs=2, warmup_steps=2, average_epochs=1, keep_epochs=2, average_period=2)
    config = LmConfig(kind, 2, RnnLmConfig(dim=16, batch_size=4), train)
    train_lm(tone_corpus.cuts, None, tone_corpus.lang, tmp_path, config)
    tokens = load_lang(tone_corpus.lang)
    decode = DecodeConfig("modified_beam_search", lm_scale=1.0, lm_dir=str(tmp_path))
    fusion = load_fusion(decode, tokens, CPU)
    assert fusion is not None
    scores = fusion.scores(fusion.start(1))[0]
    assert scores[3:].exp().sum() <= 1.001 and scores[tokens.ids["三"]] > scores[tokens.ids["▁"]]
    with pytest.raises(DataError, match="recogniser"):
        load_fusion(decode, load_lang(other_lang), CPU)
    with pytest.raises(ConfigError, match="lm_dir"):
        load_fusion(replace(decode, lm_dir=None), tokens, CPU)
    assert load_fusion(DecodeConfig(), tokens, CPU) is None


def test_malformed_texts_are_named(tone_corpus, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "texts.jsonl").write_text('{"txt": "a"}\n')
    with pytest.raises(DataError, match=r"texts\.jsonl: each line must be"):
        train_lm(tone_corpus.cuts, tmp_path / "texts.jsonl", tone_corpus.lang, tmp_path / "lm", LmConfig("ngram", 2))
    assert not (tmp_path / "lm").exists()


def test_missing_language_model_is_reported_with_what_to_do(other_lang, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    decode = DecodeConfig("modified_beam_search", lm_scale=0.1, lm_dir=str(tmp_path / "lm"))
    with pytest.raises(DataError, match=r"no language model in .*/lm, and lm_scale is 0\.1: stage 6 .*--lm-scale 0"):
        load_fusion(decode, load_lang(other_lang), CPU)


def test_kind_must_be_given_without_a_configuration(
    tone_corpus,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ["--cuts", str(tone_corpus.cuts), "--lang-dir", str(tone_corpus.lang), "--lm-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as exit_info:
        main(folders)
    assert exit_info.value.code == 2
    assert "error: --kind must be given without --conf: ngram or rnn" in capsys.readouterr().err
    main([*folders, "--kind", "ngram"])
    assert from_mapping(json.loads((tmp_path / "config.json").read_text()), LmConfig, "") == LmConfig("ngram")
