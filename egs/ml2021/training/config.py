"""The training loop, the same for recogniser, aligner, language model and translator."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require, require_all


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, the same for recogniser and translator."""

    num_epochs: int = 20
    optimizer: str = "adamw"  # or scaled_adam, for the Zipformer
    schedule: str = "cosine"  # of the learning rate: a half cosine down to the last step, or eden, as icefall has it
    base_lr: float = 1e-3  # the peak, reached after warm-up; 0.045 suits scaled_adam
    warmup_steps: int = 200
    warmup_start: float = 0.1  # eden: part of its rate that warm-up begins from
    final_lr_factor: float = 0.05  # cosine: learning rate of the last step, as a part of base_lr
    weight_decay: float = 1e-2  # adamw
    grad_clip: float = 5.0  # adamw: largest gradient norm; scaled_adam takes twice the median norm
    lr_batches: float = 7500.0  # eden: steps after which the learning rate falls
    lr_epochs: float = 3.5  # eden: and epochs
    average_period: int = 20  # steps between updates of the running average of the weights
    average_epochs: int = 5  # the last epochs whose average becomes pretrained.pt
    keep_epochs: int = 8  # epoch-N.pt files kept, counted from the newest
    save_every_n: int = 500  # steps between checkpoint-N.pt
    keep_last_k: int = 5  # checkpoint-N.pt kept while their epoch lasts
    log_interval: int = 50  # steps between log lines
    seed: int = 42
    max_bad_steps: int = 10  # non-finite losses in a row before training stops
    precision: str = "float32"  # of matrix products: float32, bf16 or fp16 (with loss scaling)
    accum_grad: int = 1  # batches of a process whose gradients make a step
    scan_worst_batches: bool = True  # try the largest batches before training, so that memory runs out then or never
    num_diagnostics_batches: int = 8  # batches that --print-diagnostics looks at

    def __post_init__(self) -> None:
        require(self.num_epochs > 0, f"num_epochs must be > 0, got {self.num_epochs}")
        require_all(self, ("warmup_steps", "weight_decay"), 0)
        require_all(self, ("grad_clip",), 0, more=True)
        known = self.optimizer in ("adamw", "scaled_adam")
        require(known, f"optimizer must be adamw or scaled_adam, got {self.optimizer!r}")
        known = self.schedule in ("cosine", "eden")
        require(known, f"schedule must be cosine or eden, got {self.schedule!r}")
        require(self.base_lr > 0, f"base_lr must be > 0, got {self.base_lr}")
        require(0 <= self.warmup_start <= 1, f"warmup_start must be in 0..1, got {self.warmup_start}")
        require(min(self.lr_batches, self.lr_epochs) > 0, "lr_batches and lr_epochs must be > 0")
        require(0 <= self.final_lr_factor <= 1, f"final_lr_factor must be in 0..1, got {self.final_lr_factor}")
        require(self.average_epochs > 0, f"average_epochs must be > 0, got {self.average_epochs}")
        require(
            self.keep_epochs > self.average_epochs,
            f"keep_epochs ({self.keep_epochs}) must be more than average_epochs ({self.average_epochs})",
        )
        require(self.keep_last_k >= 2, f"keep_last_k must be >= 2, one may be damaged; got {self.keep_last_k}")
        kinds = ("float32", "bf16", "fp16")
        require(self.precision in kinds, f"precision must be one of {', '.join(kinds)}, got {self.precision!r}")
        counts = ("accum_grad", "save_every_n", "log_interval", "max_bad_steps", "num_diagnostics_batches")
        require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")
        for name in (*counts, "average_period"):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
