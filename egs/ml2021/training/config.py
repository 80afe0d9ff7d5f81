"""Options of the training loop, which recogniser, aligner, language model and translator share."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.result_options import HOW_IT_RUNS, only_if
from lhotse_prep.workflow.strict_config import require, require_all

# with another value of these, training goes on where it was
CONTINUED = ("num_epochs", "average_epochs", "average_by_dev")


@dataclass(frozen=True)
class TrainConfig:
    """Training: the same options for recogniser, aligner, language model and translator."""

    num_epochs: int = 20  # passes over the train part
    optimizer: str = "adamw"  # adamw, or scaled_adam (ScaledAdam, made for the Zipformer)
    schedule: str = "cosine"  # learning rate: cosine (a half cosine down to the last step), or eden (as in icefall)
    base_lr: float = 1e-3  # peak learning rate, reached after warm-up; for scaled_adam, 0.045 is usual
    # modules of the model that learn at another rate, such as [encoder, encoder.encoders.0]; the longest name counts
    lr_scale_modules: tuple[str, ...] = ()
    # what the learning rate is multiplied by in each of them, such as [0.1, 0.01]; 1 elsewhere
    lr_scales: tuple[float, ...] = ()
    warmup_steps: int = 200  # steps over which the learning rate rises linearly
    # only for eden: warm-up begins at this fraction of the learning rate
    warmup_start: float = field(default=0.1, metadata=only_if(schedule="eden"))
    # only for cosine: learning rate of the last step, as a fraction of base_lr
    final_lr_factor: float = field(default=0.05, metadata=only_if(schedule="cosine"))
    # only for adamw; applies to matrices, not to biases and norms
    weight_decay: float = field(default=1e-2, metadata=only_if(optimizer="adamw"))
    # only for adamw: maximum gradient norm (scaled_adam clips at twice the median norm)
    grad_clip: float = field(default=5.0, metadata=only_if(optimizer="adamw"))
    # only for eden: the learning rate begins to fall after about this many steps
    lr_batches: float = field(default=7500.0, metadata=only_if(schedule="eden"))
    # only for eden: the learning rate begins to fall after about this many epochs
    lr_epochs: float = field(default=3.5, metadata=only_if(schedule="eden"))
    average_period: int = 20  # steps between updates of the running average of the weights
    average_epochs: int = 5  # number of last epochs whose average becomes pretrained.pt
    # true: pretrained.pt is the average over the last average_epochs, half of them or one: the most whose loss on dev
    # is within 1% of the least; false, or without dev: always that over average_epochs
    average_by_dev: bool = True
    # number of newest epoch-N.pt files to keep; more than average_epochs
    keep_epochs: int = field(default=8, metadata=HOW_IT_RUNS)
    # steps between checkpoint-N.pt files, which allow resuming inside an epoch
    save_every_n: int = field(default=500, metadata=HOW_IT_RUNS)
    # number of newest checkpoint-N.pt files to keep; all are removed when their epoch ends
    keep_last_k: int = field(default=5, metadata=HOW_IT_RUNS)
    log_interval: int = field(default=50, metadata=HOW_IT_RUNS)  # steps between log lines
    seed: int = 42  # of the weights, the order of batches, dropout and data augmentation
    # consecutive steps without a finite loss or gradient before training stops
    max_bad_steps: int = field(default=10, metadata=HOW_IT_RUNS)
    # precision of matrix products: float32, bf16, fp16 (with loss scaling), or auto: bf16 where it is quicker;
    # on a CPU, bf16 is for the widest layers only
    precision: str = "float32"
    accum_grad: int = 1  # batches per process whose gradients are accumulated for a step
    # processes that train on a machine without GPU, at most one per core; --num-processes and --num-gpus override it
    num_processes: int = field(default=1, metadata=HOW_IT_RUNS)
    # try the largest batches before training, to run out of memory early if at all
    scan_worst_batches: bool = field(default=True, metadata=HOW_IT_RUNS)
    # batches that --print-diagnostics collects statistics from
    num_diagnostics_batches: int = field(default=8, metadata=HOW_IT_RUNS)

    def __post_init__(self) -> None:
        require(self.num_epochs > 0, f"num_epochs must be > 0, got {self.num_epochs}")
        require_all(self, ("warmup_steps", "weight_decay"), 0)
        require_all(self, ("grad_clip",), 0, exclusive=True)
        known = self.optimizer in ("adamw", "scaled_adam")
        require(known, f"optimizer must be adamw or scaled_adam, got {self.optimizer!r}")
        known = self.schedule in ("cosine", "eden")
        require(known, f"schedule must be cosine or eden, got {self.schedule!r}")
        require(self.base_lr > 0, f"base_lr must be > 0, got {self.base_lr}")
        require(
            len(self.lr_scales) == len(self.lr_scale_modules),
            f"lr_scales must have a number for each of the {len(self.lr_scale_modules)} modules of lr_scale_modules, "
            f"got {list(self.lr_scales)}",
        )
        twice = len(set(self.lr_scale_modules)) < len(self.lr_scale_modules)
        require(not twice, f"lr_scale_modules names a module twice: {list(self.lr_scale_modules)}")
        require(all(x > 0 for x in self.lr_scales), f"lr_scales must be > 0, got {list(self.lr_scales)}")
        require(0 <= self.warmup_start <= 1, f"warmup_start must be in 0..1, got {self.warmup_start}")
        require(min(self.lr_batches, self.lr_epochs) > 0, "lr_batches and lr_epochs must be > 0")
        require(0 <= self.final_lr_factor <= 1, f"final_lr_factor must be in 0..1, got {self.final_lr_factor}")
        require(self.average_epochs > 0, f"average_epochs must be > 0, got {self.average_epochs}")
        require(
            self.keep_epochs > self.average_epochs,
            f"keep_epochs ({self.keep_epochs}) must be more than average_epochs ({self.average_epochs})",
        )
        require(self.keep_last_k >= 2, f"keep_last_k must be >= 2, since one may be damaged; got {self.keep_last_k}")
        kinds = ("float32", "bf16", "fp16", "auto")
        require(self.precision in kinds, f"precision must be one of {', '.join(kinds)}, got {self.precision!r}")
        counts = (
            "accum_grad",
            "num_processes",
            "save_every_n",
            "log_interval",
            "max_bad_steps",
            "num_diagnostics_batches",
        )
        require(self.seed >= 0, f"seed must be >= 0, got {self.seed}")
        for name in (*counts, "average_period"):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
