"""Fast beam search gives icefall's tokens and scores on the same weights, frames and graph."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from ml2021.asr.fusion.ngram import train_ngram
from ml2021.asr.icefall.checkout import RECIPE
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.fast_beam_search import (
    FastBeam,
    decoding_lattice,
    fast_beam_search,
    fast_beam_search_nbest,
    import_k2,
)
from ml2021.asr.search.lg import build_lg

pytestmark = [
    pytest.mark.needs_k2,
    pytest.mark.skipif("ICEFALL_ROOT" not in os.environ, reason="ICEFALL_ROOT is not set"),
]
SMALL = ZipformerConfig(
    num_encoder_layers=(1,),
    downsampling_factor=(1,),
    encoder_dim=(16,),
    encoder_unmasked_dim=(16,),
    feedforward_dim=(16,),
    num_heads=(1,),
    query_head_dim=(8,),
    cnn_module_kernel=(7,),
)
TEXTS = ["一 二 一 二 三", "一 二 三", "三 一 二", "ab 一", "abc 二", "一 abc ab"]
LENS = torch.tensor([9, 5, 7])
BEAM = FastBeam(beam=20.0, max_contexts=16, max_states=64, num_paths=3000)
SIZES = {k: v for k, v in asdict(BEAM).items() if k in ("beam", "max_contexts", "max_states", "blank_penalty")}
DRAWS = {"num_paths": BEAM.num_paths, "nbest_scale": BEAM.nbest_scale}


@pytest.fixture(scope="module")
def icefall() -> Iterator[SimpleNamespace]:
    """Modules of icefall's zipformer recipe."""
    root = Path(os.environ["ICEFALL_ROOT"])
    names = ("beam_search", "decoder", "joiner", "scaling")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        patch.syspath_prepend(str(root / RECIPE))
        modules = SimpleNamespace(**{name: importlib.import_module(name) for name in names})
        search = functools.partial(modules.beam_search.fast_beam_search, ilme_scale=0.0)
        patch.setattr(modules.beam_search, "fast_beam_search", search)  # the default in its n-best search is 0.1
        yield modules
    for name in names:
        del sys.modules[name]


def both_models(icefall: SimpleNamespace, seed: int, vocab_size: int) -> tuple[AsrModel, Any, Tensor]:
    """Our model with random weights, icefall's decoder and joiner with the same weights, encoder_out (3, 9, 16)."""
    torch.manual_seed(seed)
    ours = AsrModel(TransducerConfig(SMALL, decoder_dim=16, joiner_dim=16), vocab_size).eval()
    with torch.no_grad():
        for p in ours.joiner.parameters():
            p.mul_(4)
    theirs = SimpleNamespace(
        decoder=icefall.decoder.Decoder(vocab_size, 16, 0, 2), joiner=icefall.joiner.Joiner(16, 16, 16, vocab_size)
    )
    for name in ("decoder", "joiner"):
        getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
        getattr(theirs, name).eval()
    return ours, theirs, torch.randn(len(LENS), int(LENS.max()), 16)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [None, 0.01, 0.1, 0.5])
@torch.no_grad()
def test_tokens_and_scores_are_those_of_icefall(
    seed: int, scale: float | None, icefall: SimpleNamespace, tmp_path: Path
) -> None:
    """Searches over any sequence (scale None) or over an LG with scaled scores.

    Without a language model, icefall's n-best search chooses the sequence with the best path, not with the best sum.
    """
    k2 = import_k2()
    tokens = make_lang(TEXTS, ["ab", "abc", "ab"], tmp_path / "lang", LangConfig(num_english_pieces=5))
    ours, theirs, encoder_out = both_models(icefall, seed, len(tokens))
    if scale is None:
        graph = k2.trivial_graph(len(tokens) - 1)
    else:
        sentences = [t.split() for t in TEXTS]
        graph = build_lg(train_ngram(sentences, {w for s in sentences for w in s}, order=3), tokens)
        graph.scores = (graph.scores * scale).contiguous()
        graph.aux_labels = graph.labels.clone()  # icefall returns these as words; here they are tokens
    inputs = (encoder_out, LENS)
    lattice = icefall.beam_search.fast_beam_search(theirs, graph, *inputs, **SIZES)
    our_lattice = decoding_lattice(k2, ours, *inputs, BEAM, graph)
    for log_semiring in (False, True):
        scores = lattice.get_tot_scores(True, log_semiring)
        torch.testing.assert_close(our_lattice.get_tot_scores(True, log_semiring), scores)
    best = [list(h.tokens) for h in fast_beam_search(ours, *inputs, BEAM, graph)]
    assert best == icefall.beam_search.fast_beam_search_one_best(theirs, graph, *inputs, **SIZES) and any(best)
    assert best == icefall.beam_search.fast_beam_search_nbest(theirs, graph, *inputs, **SIZES, **DRAWS)
    summed = [list(h.tokens) for h in fast_beam_search_nbest(ours, *inputs, BEAM, graph)]
    assert summed == icefall.beam_search.fast_beam_search_nbest_LG(theirs, graph, *inputs, **SIZES, **DRAWS)
