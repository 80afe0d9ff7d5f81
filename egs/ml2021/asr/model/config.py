"""The transducer: prediction network, joiner and the losses."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.model.zipformer.config import ZipformerConfig


@dataclass(frozen=True)
class TransducerConfig:
    """Prediction network, joiner and the losses."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig)
    decoder_dim: int = 512
    context_size: int = 2  # previous tokens that the stateless decoder sees
    joiner_dim: int = 512
    prune_range: int = 5
    lm_scale: float = 0.25  # smoothing of the simple loss towards the decoder alone
    am_scale: float = 0.0  # and towards the encoder alone
    simple_loss_scale: float = 0.5
    ctc_loss_scale: float = 0.2
    rnnt_type: str = "modified"  # at most one token a frame, as the searches emit them; or regular, constrained
    loss_backend: str = "auto"  # k2's functions, our own (native), or auto: k2's where it is installed
    warm_step: int = 300  # steps over which the pruned loss comes in and the simple loss goes down to its scale

    def __post_init__(self) -> None:
        require(self.prune_range >= 2, f"prune_range must be >= 2, got {self.prune_range}")
        kinds = ("regular", "modified", "constrained")
        require(self.rnnt_type in kinds, f"rnnt_type must be one of {', '.join(kinds)}, got {self.rnnt_type!r}")
        backends = ("auto", "k2", "native")
        require(self.loss_backend in backends, f"loss_backend must be one of {backends}, got {self.loss_backend!r}")
        require_all(self, ("decoder_dim", "joiner_dim"), 1)
        require_all(self, ("lm_scale", "am_scale", "simple_loss_scale", "ctc_loss_scale", "warm_step"), 0)
        require(self.context_size >= 1, f"context_size must be >= 1, got {self.context_size}")
        require(0 <= self.lm_scale + self.am_scale < 1, "lm_scale + am_scale must be in 0..1")
