"""A causal recogniser hears streams chunk by chunk; the search goes on from one chunk to the next.

Legend: N streams, T input frames, F mel bins, T' encoder frames, D encoder dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.recogniser import BLANK_ID, NUM_FEATURES, SILENCE, AsrModel
from ml2021.asr.model.zipformer.layer import STATES_PER_LAYER
from ml2021.asr.search.context import project, start_context
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.modified_beam_search import ModifiedBeam

LOOK_AHEAD = 13  # input frames that a chunk's convolutions see behind it: 7 for the strides, 6 for ConvNeXt
_LAYER_AXES = (1, 1, 1, 1, 0, 0)  # of the states of a layer: where the streams are


class Search(Protocol):
    """The search of one stream."""

    def advance(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> None:
        """The next frames: encoder_out (1, T', D), (1,)."""

    def best(self) -> list[Hypothesis]:
        """What has been recognised so far, frames counted from the beginning of the stream; a list of one."""


class StreamingGreedy:
    """Greedy search, at most one token a frame."""

    def __init__(self, model: AsrModel, blank_penalty: float = 0.0) -> None:
        self.model, self.blank_penalty = model, blank_penalty
        self.tokens: list[int] = []
        self.frames: list[int] = []
        self.scores: list[float] = []
        self._num_frames = 0
        self._context = start_context(model, 1, model.simple_am_proj.weight.device)
        self._lm = project(model, self._context)

    def advance(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> None:
        """See Search."""
        for am in self.model.joiner.encoder_proj(encoder_out)[0, : int(encoder_out_lens[0])]:
            logits = self.model.joiner(am[None], self._lm)[0]
            logits[BLANK_ID] -= self.blank_penalty
            token = int(logits.argmax())
            if token != BLANK_ID:
                self.tokens.append(token)
                self.frames.append(self._num_frames)
                self.scores.append(round(float(logits.float().softmax(dim=0)[token]), 4))
                self._context = torch.cat([self._context[:, 1:], self._context.new_tensor([[token]])], dim=1)
                self._lm = project(self.model, self._context)
            self._num_frames += 1

    def best(self) -> list[Hypothesis]:
        """See Search."""
        return [Hypothesis(tuple(self.tokens), tuple(self.frames), tuple(self.scores))]


class StreamingRecogniser:
    """One stream: feed features as they come, read `result` at any time, finish once.

    Several streams of a model can be decoded together: queue features in each, then call decode_chunk.
    """

    @torch.no_grad()
    def __init__(self, model: AsrModel, blank_penalty: float = 0.0, beam: int | None = None) -> None:
        """
        Args:
          model: in evaluation mode; its first chunk_size and left_context_frames count.
          blank_penalty: taken from the blank's logit.
          beam: hypotheses of modified beam search; None: greedy search.
        Raises:
          ConfigError: the model is not causal, or its first chunk_size or left_context_frames is -1.
        """
        c = model.config.encoder
        if not c.causal:
            raise ConfigError("only a causal Zipformer can stream: train one with encoder.causal: true")
        if c.chunk_size[0] < 0 or c.left_context_frames[0] < 0:
            raise ConfigError("a stream needs a first chunk_size and left_context_frames that are not -1")
        self.model = model
        self.shift = 2 * c.chunk_size[0]  # input frames
        self.search: Search = (
            StreamingGreedy(model, blank_penalty) if beam is None else ModifiedBeam(model, 1, beam, blank_penalty)
        )
        self.states = model.initial_states()
        self._waiting = torch.zeros(0, NUM_FEATURES, device=self.states[-1].device)

    @property
    def result(self) -> Hypothesis:
        """What has been recognised so far; frames are encoder frames from the beginning of the stream."""
        return self.search.best()[0]

    @property
    def is_ready(self) -> bool:
        """Whether a chunk waits that is whole, with its look-ahead."""
        return len(self._waiting) >= self.shift + LOOK_AHEAD

    def queue(self, features: Tensor) -> None:
        """The next features (T, F), any number of frames."""
        self._waiting = torch.cat([self._waiting, features.to(self._waiting)])

    def queue_end(self) -> None:
        """Silence behind the end, enough to decode the last frame."""
        missing = -len(self._waiting) % self.shift + LOOK_AHEAD
        self.queue(torch.full((missing, NUM_FEATURES), SILENCE))

    def next_chunk(self) -> Tensor:
        """Take the next chunk and its look-ahead, (T, F)."""
        fed = self._waiting[: self.shift + LOOK_AHEAD]
        self._waiting = self._waiting[self.shift :]
        return fed

    def accept(self, features: Tensor) -> Hypothesis:
        """The next features (T, F), any number of frames; decodes the chunks that are whole with their look-ahead."""
        self.queue(features)
        while self.is_ready:
            decode_chunk([self])
        return self.result

    def finish(self) -> Hypothesis:
        """Decodes up to the last frame."""
        self.queue_end()
        return self.accept(torch.zeros(0, NUM_FEATURES))


@torch.no_grad()
def decode_chunk(streams: Sequence[StreamingRecogniser]) -> None:
    """Decode one chunk of each of N streams of a model, all of them ready, in one batch."""
    model = streams[0].model
    features = torch.stack([s.next_chunk() for s in streams])
    lens = torch.full((len(streams),), features.shape[1], device=features.device)
    encoder_out, out_lens, states = model.streaming_forward(features, lens, joined_states([s.states for s in streams]))
    for n, (stream, own) in enumerate(zip(streams, parted_states(states), strict=True)):
        stream.states = own
        stream.search.advance(encoder_out[n : n + 1], out_lens[n : n + 1])


def stream_axis(index: int, num_states: int) -> int:
    """The axis of the streams in a state of AsrModel.initial_states: the layers' come first, then two more."""
    return _LAYER_AXES[index % STATES_PER_LAYER] if index < num_states - 2 else 0


def joined_states(states: Sequence[list[Tensor]]) -> list[Tensor]:
    """The states of N streams as those of one batch."""
    num_states = len(states[0])
    return [torch.cat(same, dim=stream_axis(k, num_states)) for k, same in enumerate(zip(*states, strict=True))]


def parted_states(states: list[Tensor]) -> list[list[Tensor]]:
    """The other way: those of a batch as the states of each of its streams."""
    parts = [x.split(1, dim=stream_axis(k, len(states))) for k, x in enumerate(states)]
    return [list(own) for own in zip(*parts, strict=True)]
