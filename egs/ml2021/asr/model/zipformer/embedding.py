"""Features at 100 frames per second -> embeddings at 50: icefall's Conv2dSubsampling with a ConvNeXt layer.

Legend: N batch, T input frames, T' = (T - 7) // 2 embedding frames, F mel bins or the width after convolution,
C channels, D dimension of the first stack. Images are (N, C, T, F), stored with channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import (
    SWOOSH_L,
    SWOOSH_R,
    BiasNorm,
    ScaleGrad,
    Swoosh,
    drop_utterances,
    shared_dropout,
    swoosh,
)
from ml2021.asr.model.layers.blocks import widen_and_narrow
from ml2021.asr.model.layers.depthwise import depthwise_2d
from ml2021.asr.model.layers.encoder_frames import frame_mask
from ml2021.asr.model.layers.precision import float32_on_cpu
from ml2021.asr.model.layers.regularisers import Balancer, Whiten
from ml2021.asr.model.layers.schedule import FloatLike, Schedule, ScheduledModule

RIGHT_CONTEXT = 3  # embedding frames that ConvNeXt sees on the right (and on the left)


def embedded_lens(feature_lens: Tensor) -> Tensor:
    """The number of embedding frames of feature_lens input frames, (T - 7) // 2."""
    return (feature_lens - 7) // 2


class ConvNeXt(ScheduledModule):
    """Depthwise 7x7 convolution, widen, SwooshL, narrow, add the input (Liu et al., 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 3 * channels
        self.depthwise_conv = nn.Conv2d(channels, channels, 7, padding=RIGHT_CONTEXT, groups=channels)
        self.pointwise_conv1 = nn.Conv2d(channels, hidden, 1)
        self.hidden_balancer = Balancer(0.3, 1.0, 0.75, 5.0)
        self.pointwise_conv2 = nn.Conv2d(hidden, channels, 1)
        with torch.no_grad():
            for p in self.pointwise_conv2.parameters():
                p.mul_(0.01)
        self.out_balancer = Balancer(0.4, 0.6, 1.0, 6.0)
        self.out_whiten = Whiten(limit=5.0, grad_scale=0.01)
        self.layerdrop = Schedule(((0.0, 0.2), (20000.0, 0.015)))

    def forward(self, x: Tensor) -> Tensor:
        """Image (N, C, T', F) -> rows (N, T', F, C)."""
        with float32_on_cpu(x):
            update = depthwise_2d(x, self.depthwise_conv)
        update = self._pointwise(update)
        update = drop_utterances(update, self.value(self.layerdrop))
        rows: Tensor = self.out_whiten(self.out_balancer(x.permute(0, 2, 3, 1) + update))
        return rows

    def streaming_forward(self, x: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
          x: (N, C, T', F); the last RIGHT_CONTEXT frames are look-ahead only.
          left: (N, C, RIGHT_CONTEXT, F), the frames before x.
        Returns:
          Rows (N, T' - RIGHT_CONTEXT, F, C), and `left` for the next chunk.
        """
        num_frames = x.shape[2] - RIGHT_CONTEXT
        padded = torch.cat([left, x], dim=2)
        conv = self.depthwise_conv
        update = nn.functional.conv2d(padded, conv.weight, conv.bias, padding=(0, RIGHT_CONTEXT), groups=conv.groups)
        rows = x[:, :, :num_frames].permute(0, 2, 3, 1) + self._pointwise(update)
        return rows, padded[:, :, num_frames : num_frames + RIGHT_CONTEXT]

    def _pointwise(self, x: Tensor) -> Tensor:
        """(N, C, T', F) -> rows (N, T', F, C). With channels last, convolutions of size 1 are matrix products."""
        rows, wide, narrow = x.permute(0, 2, 3, 1), self.pointwise_conv1, self.pointwise_conv2
        assert wide.bias is not None and narrow.bias is not None
        layers = wide.weight.flatten(1), wide.bias, narrow.weight.flatten(1), narrow.bias
        if x.device.type == "cpu" and not torch._C._is_tracing():
            return widen_and_narrow(rows, layers, self.hidden_balancer.draw(layers[0].requires_grad))
        rows = swoosh(self.hidden_balancer(nn.functional.linear(rows, *layers[:2])), SWOOSH_L)
        return nn.functional.linear(rows, *layers[2:])


class Conv2dSubsampling(ScheduledModule):
    """Three convolutions, ConvNeXt, a projection and BiasNorm."""

    def __init__(self, num_features: int, channels: tuple[int, ...], dim: int, dropout: FloatLike) -> None:
        super().__init__()
        c1, c2, c3 = channels
        self.conv = nn.Sequential(
            nn.Conv2d(1, c1, 3, padding=(0, 1)),
            ScaleGrad(0.2),  # keeps the gradient of the first weights within the range of fp16
            Balancer(max_abs=1.0, channel_dim=1),
            Swoosh(SWOOSH_R),
            nn.Conv2d(c1, c2, 3, stride=2),
            Balancer(max_abs=4.0, channel_dim=1),
            Swoosh(SWOOSH_R),
            nn.Conv2d(c2, c3, 3, stride=(1, 2)),
            Balancer(max_abs=4.0, channel_dim=1),
            Swoosh(SWOOSH_R),
        )
        self.convnext = ConvNeXt(c3)
        self.out_width = ((num_features - 1) // 2 - 1) // 2
        self.out = nn.Linear(self.out_width * c3, dim)
        self.out_whiten = Whiten(Schedule(((0.0, 4.0), (20000.0, 8.0)), default=4.0), grad_scale=0.02)
        self.out_norm = BiasNorm(dim)
        self.dropout = dropout

    def forward(self, features: Tensor, feature_lens: Tensor, mask_padding: bool) -> tuple[Tensor, Tensor]:
        """
        Args:
          features: (N, T, F), T at least 9.
          feature_lens: (N,).
          mask_padding: hide the padding after each utterance from ConvNeXt (icefall does not).
        Returns:
          (N, T', D), (N,).
        """
        x = self._convolve(features)
        lens = embedded_lens(feature_lens)
        if mask_padding:
            x = x * frame_mask(lens, x.shape[2])[:, None, :, None]
        x = self.out_norm(self.out_whiten(self._project(self.convnext(x))))
        return shared_dropout(x, self.value(self.dropout) if self.training else 0.0), lens

    def streaming_forward(self, features: Tensor, feature_lens: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One chunk: features (N, T, F), lengths (N,), left (N, C, 3, F') -> (N, T' - 3, D), (N,), next left."""
        x, left = self.convnext.streaming_forward(self._convolve(features), left)
        return self.out_norm(self._project(x)), embedded_lens(feature_lens) - RIGHT_CONTEXT, left

    def initial_left(self, batch_size: int, device: torch.device) -> Tensor:
        """Zeros for `left` of the first chunk, (N, C, 3, F')."""
        num_channels = self.out.in_features // self.out_width
        return torch.zeros(batch_size, num_channels, RIGHT_CONTEXT, self.out_width, device=device)

    def _convolve(self, features: Tensor) -> Tensor:
        """(N, T, F) -> image (N, C, T', F')."""
        with float32_on_cpu(features):
            x = self.conv[0](features[:, None])  # with a single channel the memory format is ambiguous, so set it after
            image: Tensor = self.conv[1:](x.contiguous(memory_format=torch.channels_last))
        return image

    def _project(self, rows: Tensor) -> Tensor:
        """(N, T', F, C) -> (N, T', D). The columns of the weight are ordered channel by channel."""
        weight = self.out.weight.reshape(self.out.out_features, -1, self.out_width).transpose(1, 2).flatten(1)
        with float32_on_cpu(rows):
            return nn.functional.linear(rows.flatten(2), weight, self.out.bias)
