"""The recogniser: padding changes nothing, utterances without a path are left out, and it can overfit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers.encoder_frames import frame_mask
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import AsrModel, CtcModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.greedy import greedy_search
from ml2021.training.optimizers import ScaledAdam

ENCODER = ZipformerConfig(
    num_encoder_layers=(1, 1),
    downsampling_factor=(1, 2),
    encoder_dim=(48, 64),
    encoder_unmasked_dim=(32,),
    feedforward_dim=(96,),
    num_heads=(2,),
    query_head_dim=(16,),
    cnn_module_kernel=(7,),
    embed_channels=(4, 8, 16),
)
CONFIG = TransducerConfig(encoder=ENCODER, decoder_dim=48, joiner_dim=48)
VOCAB = 20


def log_mels(lens: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random features (N, T, 80), with random padding, and their lengths."""
    g = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(len(lens), max(lens), 80, generator=g) - 8, torch.tensor(lens)


@pytest.fixture
def model() -> AsrModel:
    torch.manual_seed(0)
    return AsrModel(CONFIG, VOCAB)


def test_lens_are_those_of_icefall(model: AsrModel) -> None:
    model.eval()
    for num_frames in (1, 2, 3, 4, 5, 8, 9, 101):
        out, lens = model.forward_encoder(*log_mels([num_frames]))
        assert out.shape[1] == lens.item() == max(1, ((num_frames - 7) // 2 + 1) // 2)


def test_padding_changes_no_output(model: AsrModel) -> None:
    model.eval()
    lens = [150, 33, 2, 97]
    features, feature_lens = log_mels(lens)
    with torch.no_grad():
        together, out_lens = model.forward_encoder(features, feature_lens)
        for i, n in enumerate(lens):
            alone, alone_lens = model.forward_encoder(features[i : i + 1, :n], torch.tensor([n]))
            assert alone_lens.item() == out_lens[i]
            torch.testing.assert_close(together[i : i + 1, : out_lens[i]], alone, atol=1e-5, rtol=1e-4)


def test_padding_changes_no_loss_and_no_gradient_in_training() -> None:
    features, lens = log_mels([160, 80])
    tokens = [[3, 4, 5, 6, 7], [8, 9]]

    def losses_and_gradient(padding: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        model = AsrModel(CONFIG, VOCAB).train()
        padded = features.clone()
        padded[1, 80:] = padding
        losses = transducer_losses(model, padded, lens, tokens)
        (losses.simple + losses.pruned + losses.ctc).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return torch.stack([losses.simple, losses.pruned, losses.ctc]).detach(), gradient

    for a, b in zip(losses_and_gradient(0.0), losses_and_gradient(100.0), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_losses_of_a_batch_are_sums_over_its_utterances(model: AsrModel) -> None:
    model.eval()
    features, lens = log_mels([160, 80, 120])
    tokens = [[3, 4, 5, 6, 7], [8, 9], [10, 10, 11]]
    together = transducer_losses(model, features, lens, tokens)
    alone = [
        transducer_losses(model, features[i : i + 1, : lens[i]], lens[i : i + 1], tokens[i : i + 1]) for i in range(3)
    ]
    for name in ("simple", "pruned", "ctc"):
        torch.testing.assert_close(getattr(together, name), sum(getattr(a, name) for a in alone))


@pytest.mark.parametrize("tokens", [[3] * 40, [3, 3, 3, 3], list(range(3, 19))])
def test_utterance_with_too_many_tokens_is_left_out_and_the_others_learn(model: AsrModel, tokens: list[int]) -> None:
    features, lens = log_mels([100, 16])
    model.train()
    losses = transducer_losses(model, features, lens, [[5, 6, 7], tokens])
    assert losses.num_left_out == 1
    (losses.simple + losses.pruned + losses.ctc).backward()
    for name, p in model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name
    features[1], lens[1] = features[0], 100
    assert transducer_losses(model, features, lens, [[5, 6, 7], [5]]).num_left_out == 0


def test_empty_transcript_is_all_blanks(model: AsrModel) -> None:
    losses = transducer_losses(model, *log_mels([60, 40]), [[], [4, 5]])
    assert losses.num_left_out == 0 and torch.isfinite(losses.pruned)
    only_empty = transducer_losses(model, *log_mels([60]), [[]])
    assert only_empty.num_left_out == 0 and torch.isfinite(only_empty.pruned)


def test_decoder_sees_only_its_context(model: AsrModel) -> None:
    model.eval()
    y = torch.tensor([[0, 3, 4, 5, 6]])
    whole = model.decoder(y)
    assert whole.shape == (1, 5, CONFIG.decoder_dim)
    for i in range(1, 5):
        one = model.decoder(y[:, i - 1 : i + 1], need_pad=False)
        torch.testing.assert_close(whole[:, i : i + 1], one)
    torch.testing.assert_close(whole[:, :1], model.decoder(torch.tensor([[-1, 0]]), need_pad=False))


def test_ctc_log_probs_are_normalised() -> None:
    log_probs, lens = CtcModel(ENCODER, VOCAB).eval()(*log_mels([50, 20]))
    torch.testing.assert_close(log_probs.exp().sum(dim=2)[frame_mask(lens, log_probs.shape[1])], torch.ones(11 + 3))


def test_one_token_in_one_frame_has_a_path(model: AsrModel) -> None:
    assert transducer_losses(model, *log_mels([4, 60]), [[3], [4, 5]]).num_left_out == 0


def test_nan_losses_are_not_left_out(model: AsrModel) -> None:
    """Otherwise a model that has diverged would look like one whose utterances are all too short."""
    with torch.no_grad():
        model.encoder_embed.out.bias[0] = float("nan")
    losses = transducer_losses(model, *log_mels([60]), [[3, 4]])
    assert torch.isnan(losses.simple) and torch.isnan(losses.pruned) and losses.num_left_out == 0


@pytest.mark.slow
def test_overfits_a_few_utterances() -> None:
    """Each token is a frequency band; after some steps greedy search outputs the tokens."""
    torch.manual_seed(0)
    tokens = [[3, 4, 5, 3], [6, 7, 7, 8, 3], [9, 10, 4]]
    lens = torch.tensor([15 * len(ids) + 5 for ids in tokens])
    features = torch.full((3, 80, 80), -10.0)
    for i, ids in enumerate(tokens):
        for j, token in enumerate(ids):
            features[i, 15 * j + 4 : 15 * j + 14, 8 * (token - 3) : 8 * (token - 2)] = 0.0
    features += 0.5 * torch.randn(features.shape)
    small = replace(ENCODER, encoder_dim=(32, 48), feedforward_dim=(64,), warmup_batches=400.0)
    model = AsrModel(TransducerConfig(encoder=small, decoder_dim=32, joiner_dim=32), VOCAB).train()
    optimizer = ScaledAdam(model.parameters(), lr=0.03)
    history = []
    for step in range(300):
        set_batch_count(model, 400 * step)
        losses = transducer_losses(model, features, lens, tokens)
        optimizer.zero_grad()
        (losses.simple + losses.pruned + 0.2 * losses.ctc).backward()
        optimizer.step()
        history.append(float(losses.pruned.detach()))
    assert history[-1] < history[0] / 10
    model.eval()
    hypotheses = greedy_search(model, *model.forward_encoder(features, lens))
    assert [list(h.tokens) for h in hypotheses] == tokens
