"""Configuration of the transducer: encoder, prediction network, joiner and the weights of its losses."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.result_options import HOW_IT_RUNS
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.model.zipformer.config import ZipformerConfig


@dataclass(frozen=True)
class LoraConfig:
    """Fine-tuning by low-rank updates of linear layers whose own weights stay unchanged (LoRA, arXiv 2106.09685)."""

    rank: int = 0  # rank of the updates; 0: no LoRA
    alpha: float = 4.0  # an update is multiplied by alpha / rank
    dropout: float = 0.0  # dropout of the input of an update, in training
    # layers that get an update, by the end of their names, such as joiner.encoder_proj; these are those of icefall
    modules: tuple[str, ...] = (
        "self_attn_weights.in_proj",
        "self_attn1.in_proj",
        "self_attn2.in_proj",
        "feed_forward1.in_proj",
        "feed_forward1.out_proj",
        "feed_forward2.in_proj",
        "feed_forward2.out_proj",
        "feed_forward3.in_proj",
        "feed_forward3.out_proj",
    )

    def __post_init__(self) -> None:
        require_all(self, ("rank",), 0)
        require_all(self, ("alpha",), 0, exclusive=True)
        require(0 <= self.dropout < 1, f"dropout must be at least 0 and below 1, got {self.dropout}")
        require(all(self.modules), "modules must name layers, got an empty name")
        require(bool(self.modules) or self.rank == 0, "modules must name the layers that get an update, got none")


@dataclass(frozen=True)
class TransducerConfig:
    """The transducer: encoder, prediction network (decoder), joiner and the weights of its losses."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig)  # the layout of the encoder
    decoder_dim: int = 512  # dimension of the decoder (prediction network)
    context_size: int = 2  # number of previous tokens that the stateless decoder sees
    # in training, the probability that the decoder does not see a token, and that one of its outputs is 0; for little
    # speech, whose texts it would learn by heart
    decoder_dropout: float = 0.0
    joiner_dim: int = 512  # dimension in which the joiner adds encoder and decoder outputs
    # bottleneck of the adapters in each layer of the encoder; training changes them and no other trained weights;
    # 0: no adapters
    adapter_dim: int = 0
    prune_range: int = 5  # token positions per frame that the pruned loss evaluates
    lm_scale: float = 0.25  # weight of the loss of the decoder alone within the simple loss (smoothing)
    am_scale: float = 0.0  # weight of the loss of the encoder alone within the simple loss (smoothing)
    simple_loss_scale: float = 0.5  # weight of the simple loss after warm_step steps
    ctc_loss_scale: float = 0.2  # weight of the CTC loss; 0: the CTC head is not trained
    use_cr_ctc: bool = False  # true: CR-CTC, which trains on two views of each utterance, masked differently
    cr_loss_scale: float = 0.2  # CR-CTC: weight of the consistency of the two views after cr_warm_step steps
    cr_warm_step: int = 2000  # CR-CTC: steps in which the weight of the consistency rises from 0
    # weight of the CTC loss of a second head, on the aligner's units of pronunciation; 0: no such head
    units_ctc_scale: float = 0.0
    units_stacks: int = 0  # number of the encoder's stacks below that head, from the first; 0: all
    rnnt_type: str = "modified"  # modified (at most one token per frame, as in most searches), regular or constrained
    # k2, native (our own functions, with the same losses to rounding), or auto: k2 where it is installed
    loss_backend: str = field(default="auto", metadata=HOW_IT_RUNS)
    warm_step: int = 300  # steps in which the pruned loss rises to weight 1 and the simple loss falls to its weight

    def __post_init__(self) -> None:
        require(self.prune_range >= 2, f"prune_range must be >= 2, got {self.prune_range}")
        kinds = ("regular", "modified", "constrained")
        require(self.rnnt_type in kinds, f"rnnt_type must be one of {', '.join(kinds)}, got {self.rnnt_type!r}")
        backends = ("auto", "k2", "native")
        require(self.loss_backend in backends, f"loss_backend must be one of {backends}, got {self.loss_backend!r}")
        require_all(self, ("decoder_dim", "joiner_dim"), 1)
        require_all(self, ("adapter_dim",), 0)
        require(
            0 <= self.decoder_dropout < 1, f"decoder_dropout must be at least 0, below 1; got {self.decoder_dropout}"
        )
        require_all(self, ("lm_scale", "am_scale", "simple_loss_scale", "ctc_loss_scale", "warm_step"), 0)
        require_all(self, ("cr_loss_scale", "cr_warm_step", "units_ctc_scale"), 0)
        num_stacks = len(self.encoder.stacks())
        require(
            0 <= self.units_stacks <= num_stacks,
            f"units_stacks must be in 0..{num_stacks}, the number of the encoder's stacks, got {self.units_stacks}",
        )
        require(
            self.ctc_loss_scale > 0 or not self.use_cr_ctc,
            "use_cr_ctc compares outputs of the CTC head and needs ctc_loss_scale > 0, got 0",
        )
        require(self.context_size >= 1, f"context_size must be >= 1, got {self.context_size}")
        require(0 <= self.lm_scale + self.am_scale < 1, "lm_scale + am_scale must be in 0..1")

    @property
    def has_units_head(self) -> bool:
        """Whether there is a CTC head on units of pronunciation."""
        return self.units_ctc_scale > 0
