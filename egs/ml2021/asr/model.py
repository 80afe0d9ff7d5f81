"""The recogniser: Zipformer, stateless decoder, joiner, a CTC head, and their losses in training.

Legend: N batch, T input frames, T' encoder frames, F mel bins, S tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml2021.asr.decoder import Decoder
from ml2021.asr.joiner import Joiner
from ml2021.asr.parts import only_decodes, parts_by_length
from ml2021.asr.rnnt_loss import rnnt_functions
from ml2021.asr.scaling import scaled_linear
from ml2021.asr.schedule import Schedule
from ml2021.asr.subsampling import frame_mask
from ml2021.asr.zipformer import Zipformer
from ml2021.asr.zipformer_embed import Conv2dSubsampling
from ml2021.config import TransducerConfig, ZipformerConfig

NUM_FEATURES = 80
BLANK_ID = 0
MIN_FRAMES = 9  # input frames that give one encoder frame; shorter utterances are lengthened with silence
SILENCE = -15.9  # log-mel of no sound
DECODED_FRAMES = 2000  # input frames, with padding, that are encoded at a time on a CPU
CTC_DROPOUT = 0.1
EMBED_DROPOUT = Schedule(((0.0, 0.3), (20000.0, 0.1)))


@dataclass(frozen=True)
class TransducerLosses:
    """Sums over the utterances that have a path; the others are counted."""

    simple: Tensor
    pruned: Tensor
    ctc: Tensor
    num_left_out: int


class EncoderModel(nn.Module):
    """Embedding, Zipformer and CTC head, their parameters named as icefall's."""

    def __init__(self, config: ZipformerConfig, vocab_size: int) -> None:
        super().__init__()
        self.encoder_config, self.vocab_size = config, vocab_size
        self.encoder_embed = Conv2dSubsampling(NUM_FEATURES, config.stacks()[0].dim, EMBED_DROPOUT)
        self.encoder = Zipformer(config)
        self.ctc_output = nn.Sequential(
            nn.Dropout(CTC_DROPOUT), nn.Linear(config.output_dim, vocab_size), nn.LogSoftmax(dim=2)
        )

    def forward_encoder(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, F), (N,) -> encoder_out (N, T', D), encoder_out_lens (N,), each at least 1."""
        if self.encoder_config.mask_padding:
            features = features.masked_fill(~frame_mask(feature_lens, features.shape[1])[..., None], SILENCE)
        features = nn.functional.pad(features, (0, 0, 0, MIN_FRAMES - 1), value=SILENCE)
        num_frames = feature_lens.clamp(min=MIN_FRAMES)
        features = features[:, : num_frames.max()]
        if not self.training and only_decodes(features):
            return self._encode_in_parts(features, num_frames)
        return self._encode(features, num_frames)

    def _encode_in_parts(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """As _encode. The outputs are the same: padding is left out of a part only where it is masked."""
        outputs, out_lens, rows = list[Tensor](), list[Tensor](), list[int]()
        for part in parts_by_length(feature_lens.tolist(), DECODED_FRAMES):
            lens = feature_lens[part]
            width = int(lens.max()) if self.encoder_config.mask_padding else features.shape[1]
            part_out, part_lens = self._encode(features[part, :width], lens)
            outputs += part_out.unbind()
            out_lens.append(part_lens)
            rows += part
        order = torch.tensor(rows).argsort()
        return nn.utils.rnn.pad_sequence(outputs, batch_first=True)[order], torch.cat(out_lens)[order]

    def _encode(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        embedded, lens = self.encoder_embed(features, feature_lens, self.encoder_config.mask_padding)
        return self.encoder(embedded, lens)

    def ctc_log_probs(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, F), (N,) -> log-probs of the CTC head (N, T', V) in float32, lengths (N,)."""
        encoder_out, lens = self.forward_encoder(features, feature_lens)
        return self.ctc_output(encoder_out).float(), lens


class CtcModel(EncoderModel):
    """What the aligner trains."""

    def forward(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """As ctc_log_probs."""
        return self.ctc_log_probs(features, feature_lens)


class AsrModel(EncoderModel):
    """The transducer: stateless decoder and joiner beside the encoder and its CTC head."""

    def __init__(self, config: TransducerConfig, vocab_size: int) -> None:
        super().__init__(config.encoder, vocab_size)
        self.config = config
        dim = config.encoder.output_dim
        self.decoder = Decoder(vocab_size, config.decoder_dim, BLANK_ID, config.context_size)
        self.joiner = Joiner(dim, config.decoder_dim, config.joiner_dim, vocab_size)
        self.simple_am_proj = scaled_linear(dim, vocab_size, 0.25)
        self.simple_lm_proj = scaled_linear(config.decoder_dim, vocab_size, 0.25)

    def initial_states(self, batch_size: int = 1) -> list[Tensor]:
        """What streaming_forward wants with the first chunk: states of the layers, left frames of the embedding
        (N, 128, 3, F'), and the number of embedding frames seen (N,)."""
        device = self.simple_am_proj.weight.device
        return [
            *self.encoder.initial_states(batch_size, device),
            self.encoder_embed.initial_left(batch_size, device),
            torch.zeros(batch_size, dtype=torch.int64, device=device),
        ]

    def streaming_forward(
        self, features: Tensor, feature_lens: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """One chunk of a stream; the model must be causal.

        Args:
          features: (N, 2 * chunk + 13, F), of which the next chunk begins 2 * chunk frames later; chunk is the first
            chunk_size of the configuration.
          feature_lens: (N,); fewer where the stream ends.
          states: from initial_states or from the chunk before.
        Returns:
          encoder_out (N, chunk / 2, D), its lengths (N,), next states.
        """
        *layer_states, embed_left, num_seen = states
        x, lens, embed_left = self.encoder_embed.streaming_forward(features, feature_lens, embed_left)
        left = self.config.encoder.left_context_frames[0]
        frames = torch.arange(left, device=x.device)
        not_yet = num_seen[:, None] <= left - 1 - frames  # left context before the stream began
        mask = torch.cat([not_yet, ~frame_mask(lens, x.shape[1])], dim=1)
        x, layer_states = self.encoder.streaming_forward(x, mask, layer_states)
        return x, (lens + 1) // 2, [*layer_states, embed_left, num_seen + lens]

    def forward(self, features: Tensor, feature_lens: Tensor, tokens: list[list[int]]) -> TransducerLosses:
        """The losses of a batch: features (N, T, F), lengths (N,), token ids of each utterance."""
        return self.losses(*self.forward_encoder(features, feature_lens), tokens)

    def losses(self, encoder_out: Tensor, lens: Tensor, tokens: list[list[int]]) -> TransducerLosses:
        """The losses of encoder_out (N, T', D), its lengths (N,), token ids of each utterance."""
        token_lens = torch.tensor([len(t) for t in tokens], device=lens.device)
        padded = [torch.tensor(t or [BLANK_ID], dtype=torch.int64) for t in tokens]  # at least one column
        symbols = nn.utils.rnn.pad_sequence(padded, batch_first=True).to(lens.device)
        ctc = nn.functional.ctc_loss(
            self.ctc_output(encoder_out).float().transpose(0, 1), symbols, lens, token_lens, reduction="none",
            zero_infinity=True,  # else the gradient is NaN for the whole batch
        )  # fmt: skip
        zeros = torch.zeros_like(lens)
        boundary = torch.stack([zeros, zeros, token_lens, lens], dim=1)
        simple, pruned = self._transducer_losses(encoder_out, symbols, boundary)
        good = ~torch.isinf(simple) & ~torch.isinf(pruned) & _has_ctc_path(symbols, token_lens, lens)  # NaN stays NaN
        simple, pruned, ctc = (torch.where(good, x, torch.zeros_like(x)).sum() for x in (simple, pruned, ctc))
        return TransducerLosses(simple, pruned, ctc, num_left_out=int((~good).sum()))

    def _transducer_losses(self, encoder_out: Tensor, symbols: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor]:
        """Simple and pruned loss of each utterance, (N,) each."""
        c = self.config
        rnnt = rnnt_functions(c.loss_backend)
        start = torch.full_like(symbols[:, :1], BLANK_ID)
        decoder_out = self.decoder(torch.cat([start, symbols], dim=1))  # (N, S + 1, decoder_dim)
        simple, (px_grad, py_grad) = rnnt.smoothed(
            self.simple_lm_proj(decoder_out).float(), self.simple_am_proj(encoder_out).float(), symbols, BLANK_ID,
            boundary, c.lm_scale, c.am_scale, c.rnnt_type,
        )  # fmt: skip
        ranges = rnnt.prune_ranges(px_grad, py_grad, boundary, c.prune_range)
        am, lm = rnnt.prune(self.joiner.encoder_proj(encoder_out), self.joiner.decoder_proj(decoder_out), ranges)
        pruned = rnnt.pruned(self.joiner(am, lm).float(), symbols, ranges, BLANK_ID, boundary, c.rnnt_type)
        return simple, pruned


def _has_ctc_path(symbols: Tensor, token_lens: Tensor, frame_lens: Tensor) -> Tensor:
    """(N,) bool: is there a frame for each token, and for a blank between equal ones?"""
    pairs = torch.arange(1, symbols.shape[1], device=symbols.device) < token_lens[:, None]
    repeats = ((symbols[:, 1:] == symbols[:, :-1]) & pairs).sum(dim=1)
    return token_lens + repeats <= frame_lens


def num_parameters(model: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
