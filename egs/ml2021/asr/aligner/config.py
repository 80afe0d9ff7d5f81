"""Stage 3's acoustic model and the costs of faults in a transcript: section `aligner` of asr.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.alignment.config import FaultConfig
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.config import TrainConfig


@dataclass(frozen=True)
class AlignerConfig(FaultConfig):
    """Stage 3's own acoustic model: rounds of CTC training and re-alignment, on units of pronunciation."""

    encoder: ZipformerConfig = field(default_factory=ZipformerConfig)
    data: AsrDataConfig = field(default_factory=AsrDataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    first_epochs: int = 4  # of the first round of training
    more_epochs: int = 2  # of each later round; every round ends with a new alignment
    max_rounds: int = 8  # rounds at most, whether or not the aligner is sure by then
    learned_confidence: float = 0.95  # median over words; at or above it, a round after the first may be the last
    min_steps: int = 500  # of the first round, in whole epochs: CTC loss stays flat for a few hundred steps
    train_parts: tuple[str, ...] = ("train",)  # parts whose lectures train the aligner
    num_english_pieces: int = 150  # about this many BPE pieces for English words among the units
    window_duration: float = 6.0  # seconds, of the windows that the aligner trains on
    settled: float = 0.05  # seconds; a round is the last only if words moved at most this far (median)
    model: str = ""  # align with this instead of training: a CTC model's folder, or a recogniser's .ctm or .jsonl

    def __post_init__(self) -> None:
        super().__post_init__()
        rounds = (self.first_epochs, self.more_epochs, self.max_rounds)
        require(min(rounds) > 0, f"first_epochs, more_epochs and max_rounds must be > 0, got {rounds}")
        require(0 < self.learned_confidence < 1, f"learned_confidence must be in 0..1, got {self.learned_confidence}")
        require_all(self, ("settled", "window_duration"), 0, exclusive=True)
        require_all(self, ("min_steps",), 0)
        require_all(self, ("num_english_pieces",), 2)
        bad = set(self.train_parts) - {"train", "dev", "test"}
        require(not bad, f"train_parts must be of train, dev, test, got {', '.join(sorted(bad))}")
