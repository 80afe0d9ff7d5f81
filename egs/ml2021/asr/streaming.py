"""A causal recogniser hears a stream chunk by chunk; greedy search goes on from one chunk to the next.

Legend: N batch (1 here), T input frames, F mel bins.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lhotse_prep.errors import ConfigError
from ml2021.asr.model import BLANK_ID, NUM_FEATURES, SILENCE, AsrModel

LOOK_AHEAD = 13  # input frames that a chunk's convolutions see behind it: 7 for the strides, 6 for ConvNeXt


@dataclass
class StreamResult:
    """What has been recognised so far; `frames` counts encoder frames from the beginning of the stream."""

    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


class StreamingRecogniser:
    """One stream: feed features as they come, read `result` at any time, finish once."""

    def __init__(self, model: AsrModel, blank_penalty: float = 0.0) -> None:
        """
        Raises:
          ConfigError: the model is not causal, or its first chunk_size or left_context_frames is -1.
        """
        c = model.config.encoder
        if not c.causal:
            raise ConfigError("only a causal Zipformer can stream: train one with encoder.causal: true")
        if c.chunk_size[0] < 0 or c.left_context_frames[0] < 0:
            raise ConfigError("a stream needs a first chunk_size and left_context_frames that are not -1")
        self.model, self.blank_penalty = model, blank_penalty
        self.shift = 2 * c.chunk_size[0]  # input frames
        self.result = StreamResult()
        device = model.simple_am_proj.weight.device
        self._states = model.initial_states()
        self._waiting = torch.zeros(0, NUM_FEATURES, device=device)
        self._num_frames = 0
        self._context = [-1] * (model.decoder.context_size - 1) + [BLANK_ID]
        self._lm = self._decoder_out()

    @torch.no_grad()
    def accept(self, features: Tensor) -> StreamResult:
        """The next features (T, F), any number of frames; decodes the chunks that are whole with their look-ahead."""
        self._waiting = torch.cat([self._waiting, features.to(self._waiting)])
        while len(self._waiting) >= self.shift + LOOK_AHEAD:
            fed = self._waiting[None, : self.shift + LOOK_AHEAD]
            self._waiting = self._waiting[self.shift :]
            lens = torch.tensor([fed.shape[1]], device=fed.device)
            encoder_out, _, self._states = self.model.streaming_forward(fed, lens, self._states)
            self._search(encoder_out)
        return self.result

    def finish(self) -> StreamResult:
        """Silence behind the end, until the last frame has been decoded."""
        missing = -len(self._waiting) % self.shift + LOOK_AHEAD
        return self.accept(torch.full((missing, NUM_FEATURES), SILENCE))

    def _search(self, encoder_out: Tensor) -> None:
        """encoder_out (1, T', D): at most one token a frame."""
        for am in self.model.joiner.encoder_proj(encoder_out)[0]:
            logits = self.model.joiner(am[None], self._lm)[0]
            logits[BLANK_ID] -= self.blank_penalty
            token = int(logits.argmax())
            if token != BLANK_ID:
                self.result.tokens.append(token)
                self.result.frames.append(self._num_frames)
                self._context = [*self._context[1:], token]
                self._lm = self._decoder_out()
            self._num_frames += 1

    @torch.no_grad()
    def _decoder_out(self) -> Tensor:
        """(1, J)."""
        context = torch.tensor([self._context], device=self._waiting.device)
        return self.model.joiner.decoder_proj(self.model.decoder(context, need_pad=False)).squeeze(1)
