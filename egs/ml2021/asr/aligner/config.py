"""Stage 3's acoustic model and the costs of faults in a transcript: section `aligner` of asr.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.alignment.config import FaultConfig
from lhotse_prep.workflow.result_options import FILE, all_but, only_if
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.config import TrainConfig

_TRAINED = only_if(model="")
# of the data
_UNUSED = (
    "num_buckets",
    "time_mask_ratio",
    "on_the_fly_feats",
    "speed_factors",
    "sound_augment",
    "noise_probability",
    "noise_snr",
    "shar_weights",
    "mux_weights",
)


@dataclass(frozen=True)
class AlignerConfig(FaultConfig):
    """Stage 3's own acoustic model: rounds of CTC training and re-alignment, on units of pronunciation."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig, metadata=_TRAINED)
    data: AsrDataConfig = field(default_factory=AsrDataConfig, metadata={**_TRAINED, **all_but(*_UNUSED)})
    train: TrainConfig = field(
        default_factory=TrainConfig, metadata={**_TRAINED, **all_but("num_epochs", "average_by_dev")}
    )
    # passes over the lectures in the first round of training, in twos: an epoch has one for each way to cut windows
    first_epochs: int = field(default=4, metadata=_TRAINED)
    # epochs of each later round; every round ends with a new alignment
    more_epochs: int = field(default=2, metadata=_TRAINED)
    # rounds at most, whether or not the aligner is sure by then
    max_rounds: int = field(default=8, metadata=_TRAINED)
    # median over words; at or above it, or if it no longer rises, a round may be the last
    learned_confidence: float = field(default=0.9, metadata=_TRAINED)
    # of the first round: steps that learn each frame's unit by the first times, before CTC; at most half of the round
    guided_steps: int = field(default=300, metadata=_TRAINED)
    # of the first round, in whole epochs: CTC loss stays flat for a few hundred steps
    min_steps: int = field(default=500, metadata=_TRAINED)
    # hours of lectures, chosen evenly over train_parts, that train the aligner at most; all lectures are aligned
    train_hours: float = field(default=20.0, metadata=_TRAINED)
    # parts whose lectures train the aligner
    train_parts: tuple[str, ...] = field(default=("train",), metadata=_TRAINED)
    # about this many BPE pieces for English words among the units
    num_english_pieces: int = field(default=150, metadata=_TRAINED)
    # seconds, of the windows that the aligner trains on
    window_duration: float = field(default=6.0, metadata=_TRAINED)
    # seconds; a round is the last only if words moved at most this far (median)
    settled: float = field(default=0.05, metadata=_TRAINED)
    # align with this instead of training: the folder or name of a model, or a recogniser's .ctm or .jsonl
    model: str = field(default="", metadata=FILE)
    # with a recogniser's words: place them by their sound, since recognisers' times are off by up to a second
    refine: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        rounds = (self.first_epochs, self.more_epochs, self.max_rounds)
        require(min(rounds) > 0, f"first_epochs, more_epochs and max_rounds must be > 0, got {rounds}")
        require(0 < self.learned_confidence < 1, f"learned_confidence must be in 0..1, got {self.learned_confidence}")
        require_all(self, ("settled", "window_duration", "train_hours"), 0, exclusive=True)
        require_all(self, ("min_steps", "guided_steps"), 0)
        require_all(self, ("num_english_pieces",), 2)
        bad = set(self.train_parts) - {"train", "dev", "test"}
        require(not bad, f"train_parts must be of train, dev, test, got {', '.join(sorted(bad))}")
