"""Zipformer encoder (Yao et al., 2023, arXiv 2310.11230): stacks of layers at several frame rates.

Parameters have the names and shapes of icefall's, and streaming states have its order and shapes.

Legend: N batch, T embedding frames (50 per second), T' = ceil(T / 2) output frames, D dimension of a stack,
D' the largest of them, L frames of left context (streaming).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.encoder_frames import frame_mask
from ml2021.asr.model.layers.schedule import FloatLike, Schedule, ScheduledModule
from ml2021.asr.model.zipformer.attention import relative_positions
from ml2021.asr.model.zipformer.config import StackConfig, ZipformerConfig
from ml2021.asr.model.zipformer.layer import STATES_PER_LAYER, Bypass, ZipformerLayer

FEATURE_MASK_RATE = 0.125
POSITION_DROPOUT = 0.15
FIRST_LAYERDROP = 0.5


class Stack(nn.Module):
    """Layers with the same dimension and frame rate."""

    def __init__(
        self, stack: StackConfig, config: ZipformerConfig, dropout: FloatLike, warmup: tuple[float, float]
    ) -> None:
        super().__init__()
        self.pos_dim, self.num_layers = config.pos_dim, stack.num_layers
        begin, step = warmup[0], (warmup[1] - warmup[0]) / stack.num_layers
        last_rate = 0.035 * stack.downsampling**0.5
        self.layers = nn.ModuleList(
            ZipformerLayer(
                stack,
                config.pos_dim,
                dropout,
                Schedule(((begin + i * step, FIRST_LAYERDROP), (begin + (i + 1) * step, last_rate))),
                config.causal,
            )
            for i in range(stack.num_layers)
        )

    def forward(
        self, x: Tensor, lens: Tensor, chunk_mask: Tensor | None, chunk_size: int, feature_mask: Tensor | None
    ) -> Tensor:
        """
        Args:
          x: (N, T, D).
          lens: (N,).
          chunk_mask: (T, T), True where a frame must not attend.
          chunk_size: frames, -1: no chunks.
          feature_mask: (N, 1, D), 0 for channels that are masked in training, else 1.
        Returns:
          (N, T, D).
        """
        positions = relative_positions(x.shape[1], 0, self.pos_dim, x.device)
        positions = nn.functional.dropout(positions, POSITION_DROPOUT, self.training)
        padding = ~frame_mask(lens, x.shape[1])
        mask = padding[:, None, None]
        if chunk_mask is not None:
            mask = mask | chunk_mask
        x = _times(x, feature_mask)
        for layer in self.layers:
            x = _times(layer(x, positions, mask, padding, chunk_size), feature_mask)
        return x

    def streaming_forward(self, x: Tensor, mask: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """x (N, T, D), mask (N, L + T) True where there is no frame, states of all layers -> (N, T, D), next states."""
        left = states[0].shape[0]
        positions = relative_positions(x.shape[1], left, self.pos_dim, x.device)
        new_states: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, ZipformerLayer)
            layer_states = states[STATES_PER_LAYER * i : STATES_PER_LAYER * (i + 1)]
            x, layer_states = layer.streaming_forward(x, positions, mask, layer_states)
            new_states += layer_states
        return x, new_states


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


class Downsample(nn.Module):
    """A learned weighted mean over each group of frames; an incomplete group is filled up with the last frame.

    That is the last frame of the utterance, or, if padding is not masked (as in icefall), of the batch.
    """

    def __init__(self, factor: int, mask_padding: bool) -> None:
        super().__init__()
        self.factor, self.mask_padding = factor, mask_padding
        self.bias = nn.Parameter(torch.zeros(factor))

    def forward(self, x: Tensor, lens: Tensor) -> Tensor:
        """x (N, T, D), lens (N,) -> (N, ceil(T / factor), D)."""
        num_frames, factor = x.shape[1], self.factor
        num_groups = (num_frames + factor - 1) // factor
        x = nn.functional.pad(x, (0, 0, 0, num_groups * factor - num_frames))
        weights = self.bias.softmax(dim=0)
        missing = weights.sum() - weights.cumsum(dim=0)  # (factor,): the weights after each frame of a group
        last = (lens if self.mask_padding else torch.full_like(lens, num_frames))[:, None] - 1
        frames = torch.arange(num_groups * factor, device=x.device)
        scale = torch.where(frames <= last, weights.repeat(num_groups), 0.0)
        scale = scale + torch.where(frames == last, missing.repeat(num_groups), 0.0)  # (N, num_groups * factor)
        return (x * scale[..., None]).reshape(x.shape[0], num_groups, factor, x.shape[2]).sum(dim=2)


class DownsampledStack(nn.Module):
    """A stack at a lower frame rate; its output is repeated to the input's rate and mixed with the input."""

    def __init__(
        self, stack: StackConfig, config: ZipformerConfig, dropout: FloatLike, warmup: tuple[float, float]
    ) -> None:
        super().__init__()
        self.factor, self.num_layers = stack.downsampling, stack.num_layers
        self.downsample = Downsample(stack.downsampling, config.mask_padding)
        self.encoder = Stack(stack, config, dropout, warmup)
        self.out_combiner = Bypass(stack.dim)

    def forward(
        self, x: Tensor, lens: Tensor, chunk_mask: Tensor | None, chunk_size: int, feature_mask: Tensor | None
    ) -> Tensor:
        """See Stack.forward; chunk_mask, chunk_size and lens are at the frame rate of x."""
        if chunk_mask is not None:
            chunk_mask = chunk_mask[:: self.factor, :: self.factor]
            chunk_size //= self.factor
        inner_lens = (lens + self.factor - 1) // self.factor
        y = self.encoder(self.downsample(x, lens), inner_lens, chunk_mask, chunk_size, feature_mask)
        return self._combine(x, y)

    def streaming_forward(self, x: Tensor, mask: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """See Stack.streaming_forward; mask is at the frame rate of x."""
        all_frames = torch.full((x.shape[0],), x.shape[1], device=x.device)
        y, states = self.encoder.streaming_forward(self.downsample(x, all_frames), mask[:, :: self.factor], states)
        return self._combine(x, y), states

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        repeated = y[:, :, None].expand(-1, -1, self.factor, -1).flatten(1, 2)[:, : x.shape[1]]
        combined: Tensor = self.out_combiner(x, repeated)
        return combined


class Zipformer(ScheduledModule):
    """Embeddings at 50 frames per second -> encoder_out at 25."""

    dropout = Schedule(((0.0, 0.3), (20000.0, 0.1)))

    def __init__(self, config: ZipformerConfig) -> None:
        super().__init__()
        self.config, self.stacks = config, config.stacks()
        step = config.warmup_batches / (len(self.stacks) + 1)  # the embedding learns first, then one stack per step
        self.encoders = nn.ModuleList(
            (Stack if stack.downsampling == 1 else DownsampledStack)(
                stack, config, self.dropout, ((i + 1) * step, (i + 2) * step)
            )
            for i, stack in enumerate(self.stacks)
        )
        self.downsample_output = Downsample(2, config.mask_padding)

    def forward(self, x: Tensor, lens: Tensor, num_lower: int = 0) -> tuple[Tensor, Tensor]:
        """
        Args:
          x: (N, T, D) with D of the first stack.
          lens: (N,).
          num_lower: if not 0, the output of the first num_lower stacks is appended to that of all.
        Returns:
          (N, T', D') or, with num_lower, (N, T', D' + output_dim(num_lower)); (N,).
        """
        chunk_size, left_chunks = self._choose_chunk()
        chunk_mask = None if chunk_size < 0 else _chunk_mask(x.shape[1], chunk_size, left_chunks, x.device)
        feature_masks = self._feature_masks(x)
        outputs = []
        for stack, encoder, feature_mask in zip(self.stacks, self.encoders, feature_masks):
            x = _with_channels(x, stack.dim)
            x = encoder(x, lens, chunk_mask, chunk_size, feature_mask)
            outputs.append(x)
        full = self._full_dim(outputs)
        if num_lower:
            full = torch.cat([full, self._full_dim(outputs[:num_lower])], dim=2)
        return self.downsample_output(full, lens), (lens + 1) // 2

    def output_dim(self, num_lower: int) -> int:
        """The number of channels of the output of the first num_lower stacks."""
        return max(stack.dim for stack in self.stacks[:num_lower])

    def streaming_forward(self, x: Tensor, mask: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
          x: one chunk (N, T, D) with D of the first stack.
          mask: (N, L + T), True where there is no frame.
          states: from initial_states or the previous chunk.
        Returns:
          (N, T', D'), the next states.
        """
        outputs, new_states, first = [], list[Tensor](), 0
        for stack, encoder in zip(self.stacks, self.encoders):
            assert isinstance(encoder, (Stack, DownsampledStack))
            last = first + STATES_PER_LAYER * stack.num_layers
            x, stack_states = encoder.streaming_forward(_with_channels(x, stack.dim), mask, states[first:last])
            new_states += stack_states
            outputs.append(x)
            first = last
        all_frames = torch.full((x.shape[0],), x.shape[1], device=x.device)
        return self.downsample_output(self._full_dim(outputs), all_frames), new_states

    def initial_states(self, batch_size: int, device: torch.device) -> list[Tensor]:
        """Zeros: six tensors per layer, in the order of ZipformerLayer.streaming_forward."""
        states = []
        for s in self.stacks:
            left = self.config.left_context_frames[0] // s.downsampling
            value_dim = s.num_heads * s.value_head_dim
            shapes = [
                (left, batch_size, s.num_heads * s.query_head_dim),
                (1, batch_size, left, 3 * s.dim // 4),
                (left, batch_size, value_dim),
                (left, batch_size, value_dim),
                (batch_size, s.dim, s.cnn_kernel // 2),
                (batch_size, s.dim, s.cnn_kernel // 2),
            ]
            states += [torch.zeros(shape, device=device) for _ in range(s.num_layers) for shape in shapes]
        return states

    def _choose_chunk(self) -> tuple[int, int]:
        """(frames per chunk, chunks of left context), -1: all. Chosen at random in training, else the first values."""
        c = self.config
        if not c.causal:
            return -1, -1
        chunk_size, left = (_choice(x) if self.training else x[0] for x in (c.chunk_size, c.left_context_frames))
        if chunk_size < 0 or left < 0:
            return chunk_size, -1
        return chunk_size, max(1, left // chunk_size)

    def _feature_masks(self, x: Tensor) -> list[Tensor | None]:
        """One mask (N, 1, D) per stack; None outside training.

        In some utterances, all channels above encoder_unmasked_dim are masked, in others the upper half of them. It is
        the same utterances in all stacks.
        """
        if not self.training:
            return [None] * len(self.stacks)
        keep = torch.rand(2, x.shape[0], 1, 1, device=x.device) > FEATURE_MASK_RATE
        some, more = keep[0], keep[0] & keep[1]  # `more` masks in about twice as many utterances
        masks: list[Tensor | None] = []
        for s in self.stacks:
            half = (s.dim - s.unmasked_dim) // 2
            ranges = [torch.ones_like(some).expand(-1, -1, s.unmasked_dim), some.expand(-1, -1, half)]
            ranges.append(more.expand(-1, -1, s.dim - s.unmasked_dim - half))
            masks.append(torch.cat(ranges, dim=2).to(x.dtype))
        return masks

    def _full_dim(self, outputs: list[Tensor]) -> Tensor:
        """Outputs of all stacks -> (N, T, D'): takes each channel from the last stack that has it."""
        pieces, dim = [outputs[-1]], outputs[-1].shape[2]
        for x in reversed(outputs[:-1]):
            if x.shape[2] > dim:
                pieces.append(x[..., dim:])
                dim = x.shape[2]
        return torch.cat(pieces, dim=2)


def _choice(values: tuple[int, ...]) -> int:
    return values[int(torch.randint(len(values), ()))]


def _with_channels(x: Tensor, dim: int) -> Tensor:
    """(N, T, C) -> (N, T, dim): cut channels off, or add zeros."""
    return x[..., :dim] if dim <= x.shape[2] else nn.functional.pad(x, (0, dim - x.shape[2]))


def _chunk_mask(num_frames: int, chunk_size: int, left_chunks: int, device: torch.device) -> Tensor:
    """(T, T), True where the row's frame must not see the column's; left_chunks -1: it sees all earlier chunks."""
    chunk = torch.arange(num_frames, device=device) // chunk_size
    mask = chunk[None] > chunk[:, None]
    return mask if left_chunks < 0 else mask | (chunk[None] < chunk[:, None] - left_chunks)
