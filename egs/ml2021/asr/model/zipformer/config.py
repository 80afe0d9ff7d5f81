"""The layout of the Zipformer, its values named as icefall's options."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require


@dataclass(frozen=True)
class StackConfig:
    """One stack of the Zipformer: layers of one dimension at one frame rate."""

    num_layers: int
    downsampling: int  # of the 50 frames a second that the embedding gives
    dim: int
    unmasked_dim: int  # channels that are never hidden in training
    feedforward_dim: int  # of the middle feed-forward; the others have 3/4 and 5/4 of it
    num_heads: int
    query_head_dim: int
    value_head_dim: int
    pos_head_dim: int
    cnn_kernel: int  # frames of the stack

    def __post_init__(self) -> None:
        require(min(self.num_layers, self.num_heads) > 0, "num_encoder_layers and num_heads must be > 0")
        require(self.downsampling > 0, f"downsampling_factor must be > 0, got {self.downsampling}")
        require(self.dim % 4 == 0, f"encoder_dim must be a multiple of 4, got {self.dim}")
        require(0 < self.unmasked_dim <= self.dim, f"encoder_unmasked_dim must be in 1..{self.dim}")
        require(self.feedforward_dim % 4 == 0, f"feedforward_dim must be a multiple of 4, got {self.feedforward_dim}")
        require(self.cnn_kernel % 2 == 1, f"cnn_module_kernel must be odd, got {self.cnn_kernel}")


@dataclass(frozen=True)
class ZipformerConfig:
    """The Zipformer encoder, its values named as icefall's options. A list of one value counts for every stack."""

    num_encoder_layers: tuple[int, ...] = (2, 2, 3, 4, 3, 2)
    downsampling_factor: tuple[int, ...] = (1, 2, 4, 8, 4, 2)
    encoder_dim: tuple[int, ...] = (192, 256, 384, 512, 384, 256)
    encoder_unmasked_dim: tuple[int, ...] = (192, 192, 256, 256, 256, 192)
    feedforward_dim: tuple[int, ...] = (512, 768, 1024, 1536, 1024, 768)
    num_heads: tuple[int, ...] = (4, 4, 4, 8, 4, 4)
    query_head_dim: tuple[int, ...] = (32,)
    value_head_dim: tuple[int, ...] = (12,)
    pos_head_dim: tuple[int, ...] = (4,)
    cnn_module_kernel: tuple[int, ...] = (31, 31, 15, 15, 15, 31)
    pos_dim: int = 48
    warmup_batches: float = 4000.0  # over which the stacks begin to learn, one after the other
    causal: bool = False  # chunks that see nothing of what comes after them: for streaming
    chunk_size: tuple[int, ...] = (16, 32, 64, -1)  # frames at 50 a second, -1: all; in training one is drawn
    left_context_frames: tuple[int, ...] = (64, 128, 256, -1)  # in evaluation and in a stream the first ones count
    # Padding changes no output (but for a causal model with chunk_size -1). False: as icefall, where it touches the
    # last frames of the shorter utterances of a batch, and by attention a little all of them.
    mask_padding: bool = True

    def __post_init__(self) -> None:
        stacks = self.stacks()
        require(self.pos_dim % 2 == 0 and self.pos_dim > 0, f"pos_dim must be even, got {self.pos_dim}")
        require(self.warmup_batches > 0, f"warmup_batches must be > 0, got {self.warmup_batches}")
        require(len(self.chunk_size) > 0 and len(self.left_context_frames) > 0, "chunk_size must not be empty")
        if self.causal:
            for chunk in self.chunk_size:
                bad = chunk != -1 and (chunk <= 0 or any(chunk % s.downsampling for s in stacks))
                require(not bad, f"chunk_size must be -1 or a multiple of every downsampling_factor, got {chunk}")
            for s in stacks:
                reach = s.cnn_kernel // 2 * s.downsampling
                short = [n for n in self.left_context_frames if 0 <= n < reach]
                require(not short, f"left_context_frames must be >= {reach} for its convolutions, got {short}")

    @property
    def output_dim(self) -> int:
        """Dimension of encoder_out."""
        return max(s.dim for s in self.stacks())

    def stacks(self) -> tuple[StackConfig, ...]:
        """One configuration a stack."""
        num_stacks = len(self.downsampling_factor)
        columns = []
        for name in (
            "num_encoder_layers",
            "downsampling_factor",
            "encoder_dim",
            "encoder_unmasked_dim",
            "feedforward_dim",
            "num_heads",
            "query_head_dim",
            "value_head_dim",
            "pos_head_dim",
            "cnn_module_kernel",
        ):
            values = getattr(self, name)
            require(
                len(values) in (1, num_stacks),
                f"{name} must have one value or {num_stacks}, as downsampling_factor has, got {values}",
            )
            columns.append(values * num_stacks if len(values) == 1 else values)
        return tuple(StackConfig(*row) for row in zip(*columns))
