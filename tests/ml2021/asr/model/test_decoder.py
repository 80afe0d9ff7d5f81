"""Dropout of the prediction network."""

from __future__ import annotations

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.decoder import Decoder
from ml2021.asr.model.recogniser import AsrModel
from tests.ml2021.asr.zipformers import TWO_STACKS

TOKENS = torch.randint(1, 9, (50, 40), generator=torch.Generator().manual_seed(0))


def decoder_of(context_size: int, dropout: float) -> Decoder:
    torch.manual_seed(0)
    return Decoder(9, 32, 0, context_size, dropout)


@pytest.mark.parametrize("context_size", [1, 2])
def test_dropout_changes_training_only(context_size: int) -> None:
    plain, dropping = decoder_of(context_size, 0.0), decoder_of(context_size, 0.4)
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    x = torch.ones(3)
    state = torch.get_rng_state()
    assert plain.train()._dropped(x) is x and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(plain(TOKENS), plain.eval()(TOKENS))
    assert torch.equal(dropping.eval()(TOKENS), plain(TOKENS))
    assert not torch.equal(dropping.train()(TOKENS), plain(TOKENS))


def test_tokens_are_hidden_as_often_as_wanted_and_means_are_kept() -> None:
    """With one token of context, an output without any value belongs to a hidden token (or to 32 dropped values)."""
    decoder = decoder_of(1, 0.4).train()
    torch.nn.init.ones_(decoder.embedding.weight)
    torch.manual_seed(1)
    outputs = torch.cat([decoder(TOKENS) for _ in range(10)])
    is_hidden = (outputs == 0).all(dim=2)
    assert is_hidden.double().mean().item() == pytest.approx(0.4, abs=0.02)
    assert (outputs[~is_hidden] == 0).double().mean().item() == pytest.approx(0.4, abs=0.02)
    assert outputs.double().mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.unique(outputs.detach()).tolist() == pytest.approx([0.0, 1 / 0.36])


def test_the_option_reaches_the_decoder() -> None:
    config = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, decoder_dropout=0.3)
    assert AsrModel(config, 7).decoder.dropout == 0.3 and TransducerConfig().decoder_dropout == 0
    for value in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="decoder_dropout must be"):
            TransducerConfig(decoder_dropout=value)
