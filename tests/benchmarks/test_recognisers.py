"""The benchmark of recognisers counts errors, loops and words past the end, and writes words that stage 3 reads."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.alignment.hypotheses import read_hypotheses
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord

PATH = Path(__file__).parents[2] / "benchmarks" / "recognisers.py"
SPEC = importlib.util.spec_from_file_location("recognisers", PATH)
assert SPEC is not None and SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
sys.modules["recognisers"] = benchmark  # its dataclass looks for annotated types there
SPEC.loader.exec_module(benchmark)


@pytest.fixture()
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    sf.write(str(path), np.zeros(16000 * 10, np.float32), 16000)
    path.with_suffix(".txt").write_text("這 次 講 self-supervised learning", encoding="utf-8")
    sf.write(str(tmp_path / "no-text.wav"), np.zeros(160, np.float32), 16000)
    return path


def test_recordings_have_a_text(audio: Path) -> None:
    assert benchmark.recordings_of(audio.parent, []) == benchmark.recordings_of(audio.parent, ["talk"]) == [audio]
    assert benchmark.recordings_of(audio.parent, ["other"]) == []


def test_counts(audio: Path) -> None:
    texts = ["这", "次", "讲", "self-supervised", "learning", *["嗯"] * 10]
    words = [TimedWord(text, 0.7 * i, 0.7 * i + 0.69, 0.5) for i, text in enumerate(texts)]
    result, _ = benchmark.measure("x", audio, lambda path: words)
    assert result.error_rates[0] == 200.0  # ten insertions, five words; the script does not count
    assert (result.num_repeated, result.num_past_end) == (9, 1)
    assert result.row().startswith("| talk | x | 200.00 | ")
    assert result.row().count("|") == benchmark.HEAD.count("|")


def test_a_recogniser_without_words_has_all_errors(audio: Path) -> None:
    def silent(path: Path) -> list[TimedWord]:
        raise NoSpeechError("nothing")

    result, words = benchmark.measure("x", audio, silent)
    assert words == [] and result.error_rates[0] == 100.0


def test_words_can_be_read_by_stage_3(tmp_path: Path) -> None:
    benchmark.write_words(tmp_path, "plain faster-whisper base", "talk", [TimedWord("這", 1.0, 1.5, 0.25)])
    (hypothesis,) = read_hypotheses(tmp_path / "plain-faster-whisper-base").values()
    assert hypothesis.words == ["這"] and hypothesis.start.tolist() == [1.0] and hypothesis.end.tolist() == [1.5]
