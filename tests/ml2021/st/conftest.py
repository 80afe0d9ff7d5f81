"""Recordings and options for the tests of transcribe, and models that need no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord
from ml2021.st import cascade
from ml2021.st.transcribe import TranscribeOptions
from tests.ml2021.st.stub_models import WORDS, StubRecogniser, Upper


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the models by some that need no training; the list has the recordings that were recognised, in order."""
    calls: list[Path] = []

    def words_of(audio: Path) -> list[TimedWord]:
        calls.append(audio)
        if sf.read(str(audio))[0].max() < 0.02:
            return []
        return WORDS

    monkeypatch.setattr(cascade, "open_recogniser", lambda *_: StubRecogniser())
    monkeypatch.setattr(cascade, "open_translator", lambda *_: Upper())
    monkeypatch.setattr(StubRecogniser, "words_of", staticmethod(words_of))
    return calls


@pytest.fixture
def options(tmp_path: Path) -> TranscribeOptions:
    for name in ("asr", "mt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    return TranscribeOptions(
        str(tmp_path / "asr"), str(tmp_path / "mt"), tmp_path / "out", RecogniserOptions(decode=DecodeConfig())
    )


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, level: float = 0.1, rate: int = 16000) -> Path:
        path = tmp_path / name
        sf.write(str(path), level * np.sin(2 * np.pi * 440 * np.arange(rate) / rate), rate)
        return path

    return write
