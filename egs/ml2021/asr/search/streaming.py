"""Decoding of streams, chunk by chunk, with a causal model; the search continues from chunk to chunk.

Legend: N streams, T input frames, F mel bins, T' encoder frames, D encoder dimension.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.context import project, start_context
from ml2021.asr.model.recogniser import BLANK_ID, NUM_FEATURES, SILENCE, AsrModel
from ml2021.asr.model.zipformer.layer import STATES_PER_LAYER
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.modified_beam_search import ModifiedBeam

LOOK_AHEAD = 13  # input frames after a chunk that its convolutions see: 7 for the strides, 6 for ConvNeXt
_LAYER_AXES = (1, 1, 1, 1, 0, 0)  # the batch axis of each state of a layer


class Search(Protocol):
    """The search of one stream."""

    def advance(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> None:
        """Process the next frames: encoder_out (1, T', D), lengths (1,)."""

    def best(self) -> list[Hypothesis]:
        """The result so far, as a list of one; frames count from the start of the stream."""

    def num_settled(self) -> list[int]:
        """How many tokens of the last result will not change any more, as a list of one."""


class StreamingGreedy:
    """Greedy search with at most one token per frame."""

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

    def num_settled(self) -> list[int]:
        """See Search."""
        return [len(self.tokens)]


class StreamingRecogniser:
    """One stream: pass features to `accept` as they arrive, read `result` at any time, call `finish` once.

    To decode several streams of a model together, queue features in each and call decode_chunk.
    """

    @torch.no_grad()
    def __init__(self, model: AsrModel, blank_penalty: float = 0.0, beam: int | None = None) -> None:
        """
        Args:
          model: in evaluation mode; its first chunk_size and left_context_frames are used.
          blank_penalty: subtracted from the blank's logit.
          beam: number of hypotheses of modified beam search; None: greedy search.
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
        self._waiting: deque[Tensor] = deque()  # (T, F) each
        self._num_waiting = 0  # frames

    @property
    def result(self) -> Hypothesis:
        """The result so far; frames are encoder frames from the start of the stream."""
        return self.search.best()[0]

    @property
    def num_settled(self) -> int:
        """How many tokens of the last result will not change any more, whatever follows."""
        return self.search.num_settled()[0]

    @property
    def is_ready(self) -> bool:
        """Whether a whole chunk and its look-ahead are queued."""
        return self._num_waiting >= self.shift + LOOK_AHEAD

    def queue(self, features: Tensor) -> None:
        """Append features (T, F) of any number of frames, without decoding."""
        if len(features):
            self._waiting.append(features.to(self.states[-1].device, torch.float32))
            self._num_waiting += len(features)

    def queue_end(self) -> None:
        """Append as much silence as is needed to decode the last frame."""
        missing = -self._num_waiting % self.shift + LOOK_AHEAD
        self.queue(torch.full((missing, NUM_FEATURES), SILENCE))

    def next_chunk(self) -> Tensor:
        """Remove the next chunk from the queue; return it with its look-ahead, (T, F)."""
        num_frames = self.shift + LOOK_AHEAD
        pieces, num_taken = [], 0
        while num_taken < num_frames and self._waiting:
            pieces.append(self._waiting.popleft())
            num_taken += len(pieces[-1])
        taken = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        if len(taken) > self.shift:
            self._waiting.appendleft(taken[self.shift :])
        self._num_waiting -= min(self.shift, len(taken))
        return taken[:num_frames]

    def accept(self, features: Tensor) -> Hypothesis:
        """Append features (T, F) of any number of frames; decode all chunks that are complete with their look-ahead."""
        self.queue(features)
        while self.is_ready:
            decode_chunk([self])
        return self.result

    def finish(self) -> Hypothesis:
        """Decode up to the last frame and return the result."""
        self.queue_end()
        return self.accept(torch.zeros(0, NUM_FEATURES))


@torch.no_grad()
def decode_chunk(streams: Sequence[StreamingRecogniser]) -> None:
    """Decode one chunk of each of N streams of the same model in one batch; all of them must be ready."""
    model = streams[0].model
    features = torch.stack([s.next_chunk() for s in streams])
    lens = torch.full((len(streams),), features.shape[1], device=features.device)
    encoder_out, out_lens, states = model.streaming_forward(features, lens, joined_states([s.states for s in streams]))
    for n, (stream, stream_states) in enumerate(zip(streams, split_states(states), strict=True)):
        stream.states = stream_states
        stream.search.advance(encoder_out[n : n + 1], out_lens[n : n + 1])


def stream_axis(index: int, num_states: int) -> int:
    """The batch axis of a state in AsrModel.initial_states, which has the states of the layers and then two more."""
    return _LAYER_AXES[index % STATES_PER_LAYER] if index < num_states - 2 else 0


def joined_states(states: Sequence[list[Tensor]]) -> list[Tensor]:
    """Combine the states of N streams into those of one batch."""
    num_states = len(states[0])
    return [torch.cat(same, dim=stream_axis(k, num_states)) for k, same in enumerate(zip(*states, strict=True))]


def split_states(states: list[Tensor]) -> list[list[Tensor]]:
    """Split the states of a batch into those of each stream."""
    by_state = [torch.split(x, 1, dim=stream_axis(k, len(states))) for k, x in enumerate(states)]
    return [list(stream_states) for stream_states in zip(*by_state, strict=True)]
