"""The layout of the Zipformer; the values have the names of icefall's options."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require


@dataclass(frozen=True)
class StackConfig:
    """One stack of the Zipformer: layers with the same dimension and frame rate."""

    num_layers: int  # layers in the stack
    downsampling: int  # factor by which the 50 frames per second of the embedding are reduced
    dim: int  # channels
    unmasked_dim: int  # channels that are never masked in training
    feedforward_dim: int  # hidden channels of the middle feed-forward module; the others have 3/4 and 5/4 of it
    num_heads: int  # attention heads
    query_head_dim: int  # dimension of a head's queries and keys
    value_head_dim: int  # dimension of a head's values
    pos_head_dim: int  # dimension of a head's positional encoding
    cnn_kernel: int  # kernel size in frames of the stack, odd

    def __post_init__(self) -> None:
        require(min(self.num_layers, self.num_heads) > 0, "num_encoder_layers and num_heads must be > 0")
        require(self.downsampling > 0, f"downsampling_factor must be > 0, got {self.downsampling}")
        require(self.dim % 4 == 0, f"encoder_dim must be a multiple of 4, got {self.dim}")
        require(0 < self.unmasked_dim <= self.dim, f"encoder_unmasked_dim must be in 1..{self.dim}")
        require(self.feedforward_dim % 4 == 0, f"feedforward_dim must be a multiple of 4, got {self.feedforward_dim}")
        require(self.cnn_kernel % 2 == 1, f"cnn_module_kernel must be odd, got {self.cnn_kernel}")


@dataclass(frozen=True)
class ZipformerConfig:
    """The Zipformer encoder. Lists have one value per stack; a list of one value applies to every stack.

    chunk_size and left_context_frames apply to causal models only: training draws one of their values for each batch,
    evaluation and streaming use the first ones; -1 means all frames.
    With mask_padding, the padding of a batch changes no output, except those of a causal model with chunk_size -1.
    Without it, as in icefall, it changes the last frames of shorter utterances and, through attention, slightly all.
    """

    num_encoder_layers: tuple[int, ...] = (2, 2, 3, 4, 3, 2)  # layers in each stack
    downsampling_factor: tuple[int, ...] = (1, 2, 4, 8, 4, 2)  # of the 50 frames per second of the embedding
    encoder_dim: tuple[int, ...] = (192, 256, 384, 512, 384, 256)  # channels, a multiple of 4
    encoder_unmasked_dim: tuple[int, ...] = (192, 192, 256, 256, 256, 192)  # channels never masked in training
    feedforward_dim: tuple[int, ...] = (512, 768, 1024, 1536, 1024, 768)  # hidden channels of feed-forward modules
    num_heads: tuple[int, ...] = (4, 4, 4, 8, 4, 4)  # attention heads
    query_head_dim: tuple[int, ...] = (32,)  # dimension of a head's queries and keys
    value_head_dim: tuple[int, ...] = (12,)  # dimension of a head's values
    pos_head_dim: tuple[int, ...] = (4,)  # dimension of a head's positional encoding
    cnn_module_kernel: tuple[int, ...] = (31, 31, 15, 15, 15, 31)  # kernel sizes in frames of the stack, odd
    embed_channels: tuple[int, ...] = (8, 32, 128)  # of the embedding's convolutions; icefall has these
    pos_dim: int = 48  # dimension of the positional encoding, even
    warmup_batches: float = 4000.0  # batches of ref_duration in which the stacks start to learn, one after another
    causal: bool = False  # true: a model for streaming, in which a chunk does not see later chunks
    chunk_size: tuple[int, ...] = (16, 32, 64, -1)  # frames of 20 ms per chunk of a causal model, -1: all
    left_context_frames: tuple[int, ...] = (64, 128, 256, -1)  # frames of 20 ms seen before a chunk, -1: all
    mask_padding: bool = True  # true: outputs do not depend on a batch's padding; false: as in icefall

    def __post_init__(self) -> None:
        stacks = self.stacks()
        require(self.pos_dim % 2 == 0 and self.pos_dim > 0, f"pos_dim must be even, got {self.pos_dim}")
        embed = self.embed_channels
        require(len(embed) == 3 and min(embed) > 0, f"embed_channels must be three numbers > 0, got {embed}")
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
        """One configuration per stack."""
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
