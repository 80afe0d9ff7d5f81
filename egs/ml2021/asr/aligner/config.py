"""Stage 3's acoustic model and what faults of a transcript cost: section `aligner` of asr.yaml."""

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
    more_epochs: int = 2  # of each round after it; the alignment is made anew after each
    max_rounds: int = 8
    learned_confidence: float = 0.95  # median of the words', from which a second round or a later one is the last
    min_steps: int = 500  # of the first round, in whole epochs: CTC loss stays flat for some hundred steps
    train_parts: tuple[str, ...] = ("train",)  # parts whose lectures train the aligner
    num_english_pieces: int = 150
    window_duration: float = 6.0  # seconds, of the windows that the aligner trains on
    settled: float = 0.05  # seconds; and a round is the last only where words moved less than that (median)
    model: str = ""  # align with this and train nothing: a CTC model's folder, or a recogniser's .ctm or .jsonl

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
