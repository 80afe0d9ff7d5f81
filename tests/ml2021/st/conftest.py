"""Recordings and options for the tests of transcribe, and models that need no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.words.timed_word import TimedWord
from ml2021.mt.config import TranslateConfig
from ml2021.st import cascade
from ml2021.st.cascade import Cascade
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.transcribe import TranscribeOptions
from tests.ml2021.st.stub_models import WORDS, Upper


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the models by some that need no training; the list has the recordings that were recognised, in order."""
    calls: list[Path] = []

    def init(self: Cascade, *_: object) -> None:
        self.decode, self.sentences, self.context, self.translator = DecodeConfig(), SentenceConfig(), 0, Upper()
        self.model = self.tokens = self.fusion = None  # type: ignore[assignment]

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        calls.append(audio)
        if sf.read(str(audio))[0].max() < 0.02:
            return []
        return WORDS

    monkeypatch.setattr(Cascade, "__init__", init)
    monkeypatch.setattr(cascade, "recognise", recognise)
    return calls


@pytest.fixture
def options(tmp_path: Path) -> TranscribeOptions:
    for name in ("asr", "mt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return TranscribeOptions(
        tmp_path / "asr",
        tmp_path / "mt",
        tmp_path / "out",
        DecodeConfig(),
        SentenceConfig(),
        TranslateConfig(),
        SubtitleConfig(),
    )


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, level: float = 0.1, rate: int = 16000) -> Path:
        path = tmp_path / name
        sf.write(str(path), level * np.sin(2 * np.pi * 440 * np.arange(rate) / rate), rate)
        return path

    return write
