"""A recogniser of this project that is exported to sherpa-onnx gives the words of its own search, also as streams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.export.offline import export_onnx
from ml2021.asr.export.streaming import export_streaming
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.streaming import StreamingRecogniser
from ml2021.asr.sherpa.recogniser import SherpaRecogniser
from ml2021.asr.words.options import RecogniserOptions
from tests.ml2021.asr.zipformers import TWO_STACKS

# sherpa-onnx takes 128 channels of the embedding in streams
CAUSAL = replace(TWO_STACKS, causal=True, chunk_size=(16,), left_context_frames=(32,), embed_channels=(4, 8, 128))


def random_model(tmp_path: Path, encoder: ZipformerConfig) -> tuple[AsrModel, TokenTable]:
    """A model that emits tokens of all kinds."""
    tokens = make_lang(
        ["我 們 用 attention 來 做 a generator"], [], tmp_path / "lang", LangConfig(num_english_pieces=30)
    )
    torch.manual_seed(5)
    model = AsrModel(TransducerConfig(encoder=encoder, decoder_dim=24, joiner_dim=20), len(tokens))
    with torch.no_grad():
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
        model.joiner.output_linear.bias[tokens.special.unk] = -1e6  # sherpa-onnx omits <unk>
    return model.eval(), tokens


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_words_are_those_of_our_search(tmp_path: Path, streaming: bool) -> None:
    model, tokens = random_model(tmp_path, CAUSAL if streaming else replace(CAUSAL, causal=False))
    export = export_streaming if streaming else export_onnx
    export(model, tokens, tmp_path / "export")
    rng = np.random.default_rng(3)
    windows = [(rng.normal(0, 0.1, int(s * 16000))).astype(np.float32) for s in (3.0, 1.2, 2.0)]
    recogniser = SherpaRecogniser(tmp_path / "export", RecogniserOptions(beam_size=1, num_threads=1))
    for window, words in zip(windows, recogniser.words_of_windows(windows)):
        features = torch.from_numpy(fbank(window))
        if streaming:
            stream = StreamingRecogniser(model)
            stream.accept(features)
            ids = stream.finish().tokens
        else:
            lens = torch.tensor([len(features)])
            with torch.no_grad():
                ids = greedy_search(model, *model.forward_encoder(features[None], lens))[0].tokens
        expected, spoken = tokens.decode(ids).replace(" ", ""), "".join(w.text for w in words)
        assert len(spoken) > 20
        if streaming:  # the silence behind the window may add some, and the last chunk has another look-ahead
            expected = expected[: len(expected) * 2 // 3]
            spoken = spoken[: len(expected)]
        assert spoken == expected
    recogniser.close()
