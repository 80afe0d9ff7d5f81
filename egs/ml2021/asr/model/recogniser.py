"""The recogniser: Zipformer, stateless decoder, joiner, a CTC head, and optionally one on units of pronunciation.

Legend: N batch, T input frames, T' encoder frames, F mel bins, S tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.adapter import add_adapters
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.decoder import Decoder
from ml2021.asr.model.joiner import Joiner
from ml2021.asr.model.layers.activations import scaled_linear
from ml2021.asr.model.layers.cpu_batches import batches_by_length, only_decodes
from ml2021.asr.model.layers.encoder_frames import frame_mask
from ml2021.asr.model.layers.precision import at_least_float32, float32_on_cpu, without_autocast
from ml2021.asr.model.layers.schedule import Schedule
from ml2021.asr.model.spelling import Spelling
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.model.zipformer.embedding import Conv2dSubsampling, embedded_lens
from ml2021.asr.model.zipformer.encoder import Zipformer

NUM_FEATURES = 80

BLANK_ID = 0

MIN_FRAMES = 9  # input frames needed for one encoder frame; shorter utterances are padded with silence

SILENCE = -15.9  # log-mel energy of digital silence

DECODED_FRAMES = 2000  # input frames, including padding, that are encoded at once on a CPU

CTC_DROPOUT = 0.1

EMBED_DROPOUT = Schedule(((0.0, 0.3), (20000.0, 0.1)))


def encoder_out_lens(feature_lens: Tensor) -> Tensor:
    """The lengths that forward_encoder returns for feature_lens (N,), on their own device."""
    return (embedded_lens(feature_lens.clamp(min=MIN_FRAMES)) + 1) // 2


class EncoderModel(nn.Module):
    """Embedding, Zipformer and CTC head; the parameters have icefall's names."""

    def __init__(self, config: ZipformerConfig, vocab_size: int) -> None:
        super().__init__()
        self.encoder_config, self.vocab_size = config, vocab_size
        self.encoder_embed = Conv2dSubsampling(
            NUM_FEATURES, config.embed_channels, config.stacks()[0].dim, EMBED_DROPOUT
        )
        self.encoder = Zipformer(config)
        self.ctc_output = nn.Sequential(
            nn.Dropout(CTC_DROPOUT), nn.Linear(config.output_dim, vocab_size), nn.LogSoftmax(dim=2)
        )

    def forward_encoder(self, features: Tensor, feature_lens: Tensor, num_lower: int = 0) -> tuple[Tensor, Tensor]:
        """
        Args:
          features: (N, T, F).
          feature_lens: (N,); on the CPU, or else the process waits for the device of the features.
          num_lower: if not 0, the output of the first num_lower stacks is appended to encoder_out, see Zipformer.
        Returns:
          encoder_out (N, T', D) and its lengths (N,), each at least 1, on the device of the features.
        """
        longest = feature_lens.max().clamp(min=MIN_FRAMES)
        feature_lens = feature_lens.to(features.device, non_blocking=True)
        if self.encoder_config.mask_padding:
            features = features.masked_fill(~frame_mask(feature_lens, features.shape[1])[..., None], SILENCE)
        features = nn.functional.pad(features, (0, 0, 0, MIN_FRAMES - 1), value=SILENCE)
        num_frames = feature_lens.clamp(min=MIN_FRAMES)
        features = features[:, :longest]
        if not self.training and only_decodes(features):
            return self._encode_in_batches(features, num_frames, num_lower)
        return self._encode(features, num_frames, num_lower)

    def _encode_in_batches(self, features: Tensor, feature_lens: Tensor, num_lower: int) -> tuple[Tensor, Tensor]:
        """As _encode, in smaller batches. The outputs are equal, since padding is trimmed only where it is masked."""
        outputs, out_lens, rows = list[Tensor](), list[Tensor](), list[int]()
        for batch in batches_by_length(feature_lens.tolist(), DECODED_FRAMES):
            lens = feature_lens[batch]
            width = int(lens.max()) if self.encoder_config.mask_padding else features.shape[1]
            batch_out, batch_lens = self._encode(features[batch, :width], lens, num_lower)
            outputs += batch_out.unbind()
            out_lens.append(batch_lens)
            rows += batch
        order = torch.tensor(rows).argsort()
        return nn.utils.rnn.pad_sequence(outputs, batch_first=True)[order], torch.cat(out_lens)[order]

    def _encode(self, features: Tensor, feature_lens: Tensor, num_lower: int) -> tuple[Tensor, Tensor]:
        embedded, lens = self.encoder_embed(features, feature_lens, self.encoder_config.mask_padding)
        with float32_on_cpu(embedded):
            encoder_out, encoder_out_lens = self.encoder(embedded, lens, num_lower)
        return encoder_out, encoder_out_lens

    def ctc_log_probs(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """features (N, T, F), lengths (N,) -> log-probs of the CTC head (N, T', V) in float32, lengths (N,)."""
        encoder_out, lens = self.forward_encoder(features, feature_lens)
        with without_autocast(encoder_out):
            return self.ctc_output(at_least_float32(encoder_out)), lens


class CtcModel(EncoderModel):
    """Encoder and CTC head only: the model that the aligner trains."""

    def forward(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """See ctc_log_probs."""
        return self.ctc_log_probs(features, feature_lens)


class AsrModel(EncoderModel):
    """The transducer: encoder, CTC head, stateless decoder and joiner, and maybe a CTC head on units."""

    def __init__(self, config: TransducerConfig, vocab_size: int, num_units: int = 0) -> None:
        """
        Args:
          config: layout of the model.
          vocab_size: tokens, with blank.
          num_units: units of pronunciation with blank, if the configuration has a head on them.
        """
        super().__init__(config.encoder, vocab_size)
        self.config, self.num_units = config, num_units
        self.spelling: Spelling | None = None  # of a model with a head on units, if it is loaded for decoding
        dim = config.encoder.output_dim
        self.decoder = Decoder(vocab_size, config.decoder_dim, BLANK_ID, config.context_size, config.decoder_dropout)
        self.joiner = Joiner(dim, config.decoder_dim, config.joiner_dim, vocab_size)
        self.simple_am_proj = scaled_linear(dim, vocab_size, 0.25)
        self.simple_lm_proj = scaled_linear(config.decoder_dim, vocab_size, 0.25)
        if config.adapter_dim:
            add_adapters(self.encoder, config.adapter_dim)
        if config.has_units_head:
            assert num_units > 1
            below = self.encoder.output_dim(config.units_stacks or len(self.encoder.stacks))
            self.units_output = nn.Sequential(
                nn.Dropout(CTC_DROPOUT), nn.Linear(below, num_units), nn.LogSoftmax(dim=2)
            )

    def forward_for_units(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As forward_encoder, of a model with a head on units: encoder_out, its lengths, and the input of units_output.

        That input is (N, T', C), the output of the stacks below the head.
        """
        num_lower = self.config.units_stacks % len(self.encoder.stacks)  # 0: the head is on encoder_out
        outputs, lens = self.forward_encoder(features, feature_lens, num_lower)
        if not num_lower:
            return outputs, lens, outputs
        dim = self.config.encoder.output_dim
        return outputs[..., :dim], lens, outputs[..., dim:]

    def units_log_probs(self, below: Tensor) -> Tensor:
        """Log-probs of the units (N, T', V) in float32, from the input of their head (N, T', C)."""
        with without_autocast(below):
            log_probs: Tensor = self.units_output(at_least_float32(below))
        return log_probs

    def initial_states(self, batch_size: int = 1) -> list[Tensor]:
        """The states for the first call of streaming_forward: those of the layers, the left frames of the embedding
        (N, C, 3, F'), and the number of embedding frames seen (N,)."""
        device = self.simple_am_proj.weight.device
        return [
            *self.encoder.initial_states(batch_size, device),
            self.encoder_embed.initial_left(batch_size, device),
            torch.zeros(batch_size, dtype=torch.int64, device=device),
        ]

    def streaming_forward(
        self, features: Tensor, feature_lens: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Encode one chunk of a stream; the model must be causal.

        Args:
          features: (N, 2 * chunk + 13, F), where chunk is the first chunk_size of the configuration. The features of
            the next call begin 2 * chunk frames later.
          feature_lens: (N,); shorter where a stream ends.
          states: from initial_states or from the previous call.
        Returns:
          encoder_out (N, chunk / 2, D), its lengths (N,), the next states.
        """
        *layer_states, embed_left, num_seen = states
        x, lens, embed_left = self.encoder_embed.streaming_forward(features, feature_lens, embed_left)
        left = self.config.encoder.left_context_frames[0]
        frames = torch.arange(left, device=x.device)
        not_yet = num_seen[:, None] <= left - 1 - frames  # left context from before the start of the stream
        mask = torch.cat([not_yet, ~frame_mask(lens, x.shape[1])], dim=1)
        x, layer_states = self.encoder.streaming_forward(x, mask, layer_states)
        return x, (lens + 1) // 2, [*layer_states, embed_left, num_seen + lens]


def num_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
