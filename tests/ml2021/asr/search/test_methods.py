"""Every search through the common interface."""

from __future__ import annotations

import pytest
import torch

from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.config import DECODING_METHODS
from ml2021.asr.search.methods import search
from tests.ml2021.asr.zipformers import TWO_STACKS


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, marks=[pytest.mark.needs_k2] if m.startswith("fast_beam") else [])
        for m in DECODING_METHODS
        if not m.endswith("LG") and m != "lexicon_search"  # see test_lexicon_search
    ],
)
def test_callers_may_be_in_inference_mode_or_track_gradients(method: str) -> None:
    torch.manual_seed(0)
    model = AsrModel(
        TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, rnnt_type="regular"), vocab_size=7
    ).eval()
    features, lens = 4 * torch.randn(2, 150, 80) - 8, torch.tensor([150, 90])
    hypotheses = search(model, features, lens, DecodeConfig(method))
    with torch.inference_mode():
        again = search(model, features, lens, DecodeConfig(method))
    assert len(hypotheses) == 2 and any(h.tokens for h in hypotheses)
    if method != "fast_beam_search_nbest":  # which samples paths
        assert again == hypotheses
