"""When stage 3's own aligner refuses transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ml2021.asr.aligner import trained_times
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import MIN_CONTRAST, CtcTimes
from ml2021.asr.aligner.machinery import Machinery
from ml2021.training.checkpoint import save_checkpoint


@pytest.mark.parametrize(("confidence", "least_contrast"), [(0.942, MIN_CONTRAST), (0.3, 0.0)])
def test_only_an_aligner_that_has_learned_refuses_transcripts(
    confidence: float, least_contrast: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has not learned knows no lecture; stage 3 warns of it."""
    works: list[CtcTimes] = []

    def time_each(work: CtcTimes, *_: Any) -> Iterator[Any]:
        works.append(work)
        return iter(())

    save_checkpoint(tmp_path / "pretrained.pt", {"model": {}})
    monkeypatch.setattr(trained_times, "training_lectures", lambda *_: (set(), True))
    monkeypatch.setattr(trained_times, "_prepared", lambda *_: iter(()))
    monkeypatch.setattr(trained_times, "train_aligner", lambda *_: confidence)
    monkeypatch.setattr(trained_times, "time_each", time_each)
    machinery = Machinery(torch.device("cpu"), work_dir=tmp_path / "work")
    assert list(trained_times.time_with_trained_model([], tmp_path, AlignerConfig(), machinery)) == []
    assert [work.least_contrast for work in works] == [least_contrast]
