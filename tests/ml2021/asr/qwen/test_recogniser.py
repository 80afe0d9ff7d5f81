"""Qwen3-ASR as a recogniser of windows: prompts, batches, guards, and the times of its words."""

from __future__ import annotations

import logging
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.qwen import recogniser as qwen
from ml2021.asr.qwen.checkpoint import HUB_RECOGNISER
from ml2021.asr.qwen.recogniser import QwenRecogniser, is_qwen
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.spread import SPREAD_SCORE

CPU = RecogniserOptions(device="cpu")
Noise = Callable[..., Any]


@pytest.fixture(scope="module")
def recogniser(recogniser_folder: Path) -> QwenRecogniser:
    return QwenRecogniser(recogniser_folder, CPU)


@pytest.fixture(scope="module")
def timed(recogniser_folder: Path, aligner_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> QwenRecogniser:
    """The recogniser with a forced aligner beside it."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(recogniser_folder, folder / "Qwen3-ASR-0.6B-hf")
    shutil.copytree(aligner_folder, folder / "Qwen3-ForcedAligner-0.6B-hf")
    return QwenRecogniser(str(folder / "Qwen3-ASR-0.6B-hf"), CPU)


class Script:
    """In place of a model's search: it writes the given texts, and remembers the prompts."""

    def __init__(self, recogniser: QwenRecogniser, texts: Sequence[str], probability: float = 0.5) -> None:
        self.tokenizer = recogniser.processor.tokenizer
        self.texts, self.probability = list(texts), probability
        self.prompts: list[str] = []
        self.limits: list[int] = []

    def __call__(self, **inputs: Any) -> torch.Tensor:
        prompts = inputs["input_ids"]
        self.prompts += self.tokenizer.batch_decode(prompts)
        self.limits.append(inputs["max_new_tokens"])
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        rows = [[*self.tokenizer(self.texts.pop(0))["input_ids"], end] for _ in prompts]
        length = min(max(map(len, rows)), inputs["max_new_tokens"])
        ids = torch.tensor([(row + [end] * length)[:length] for row in rows])
        for step in range(length):
            logits = torch.full((len(rows), len(self.tokenizer)), np.log((1 - self.probability) / 263))
            logits[torch.arange(len(rows)), ids[:, step]] = np.log(self.probability)
            inputs["logits_processor"][0](prompts, logits)
        return torch.cat([prompts, ids], dim=1)


def scripted(
    monkeypatch: pytest.MonkeyPatch, recogniser: QwenRecogniser, texts: Sequence[str], probability: float = 0.5
) -> Script:
    script = Script(recogniser, texts, probability)
    monkeypatch.setattr(recogniser.model, "generate", script)
    return script


def texts_of(results: Sequence[Sequence[Any]]) -> list[str]:
    return [" ".join(w.text for w in words) for words in results]


def test_words_without_marks_and_punctuation(
    timed: QwenRecogniser, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["language Chinese<asr_text>我們用 BERT。", "language None<asr_text>", "language English<asr_text>98% = a"]
    scripted(monkeypatch, timed, texts)
    results = timed.words_of_windows([noise(2.0), noise(3.0), noise(1.0)])
    assert texts_of(results) == ["我 們 用 bert", "", "98% = a"]
    assert all(w.score == pytest.approx(0.5, abs=1e-3) for words in results for w in words)
    for words, seconds in zip(results, (2.0, 3.0, 1.0)):
        edges = [x for w in words for x in (w.start, w.end)]
        assert edges == sorted(edges) and all(0 <= x <= seconds for x in edges)
        assert all(w.end > w.start for w in words)


def test_language_and_hotwords_are_in_the_prompt(
    recogniser_folder: Path, noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hotwords.txt").write_text("BERT :2.0\n自注意力\n", encoding="utf-8")
    options = RecogniserOptions(device="cpu", language="zh", hotwords=tmp_path / "hotwords.txt")
    recogniser = QwenRecogniser(recogniser_folder, options)
    script = scripted(monkeypatch, recogniser, ["你好"])
    assert texts_of(recogniser.words_of_windows([noise(1.0)])) == ["你 好"]
    [prompt] = script.prompts
    assert prompt.startswith("<|im_start|>system\nBERT, 自注意力<|im_end|>\n")
    assert prompt.endswith("<|im_start|>assistant\nlanguage Chinese<asr_text>")
    assert recogniser.digests()["options"] != QwenRecogniser(recogniser_folder, CPU).digests()["options"]


def test_the_model_chooses_the_language_by_default(
    recogniser: QwenRecogniser, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripted(monkeypatch, recogniser, [""])
    assert recogniser.words_of_windows([noise(1.0)]) == [[]]
    assert script.prompts[0].startswith("<|im_start|>system\n<|im_end|>\n")
    assert script.prompts[0].endswith("<|im_start|>assistant\n")


def test_texts_are_bound_by_the_windows_length(
    recogniser: QwenRecogniser, noise: Noise, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = scripted(monkeypatch, recogniser, ["像" * 100, "好"])  # three tokens each
    with caplog.at_level(logging.INFO):
        results = recogniser.words_of_windows([noise(1.0), noise(8.0)])
    assert script.limits == [16 * 8 + 32]
    assert len(results[0]) == (16 + 32) // 3 and texts_of(results[1:]) == ["好"]
    assert "the text of 1 of 2 windows was cut at 16 tokens a second" in caplog.text


def test_an_echo_of_the_hotwords_is_recognised_again_without_them(
    recogniser_folder: Path, noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "hotwords.txt").write_text("BERT\nLoRA\n梯度\n", encoding="utf-8")
    recogniser = QwenRecogniser(recogniser_folder, RecogniserOptions(device="cpu", hotwords=tmp_path / "hotwords.txt"))
    script = scripted(monkeypatch, recogniser, ["BERT, LoRA, 梯度", "梯度 好", "language None<asr_text>"])
    with caplog.at_level(logging.INFO):
        assert texts_of(recogniser.words_of_windows([noise(1.0), noise(1.0)])) == ["", "梯 度 好"]
    assert ["BERT" in prompt for prompt in script.prompts] == [True, True, False]
    assert "1 of 2 windows only repeated the hotwords" in caplog.text


@pytest.fixture
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights never end a text."""
    monkeypatch.setattr(qwen, "_TOKENS_PER_SECOND", 6)
    monkeypatch.setattr(qwen, "_MORE_TOKENS", 6)


@pytest.mark.usefixtures("short_texts")
@pytest.mark.parametrize("seed", range(2))
def test_words_do_not_depend_on_the_batch(
    timed: QwenRecogniser, noise: Noise, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qwen, "_BATCH", 3)
    rng = random.Random(seed)
    windows = [noise(rng.choice([0.001, 0.3, 1.0, 2.345]), 10 * seed + i) for i in range(4)]
    together = timed.words_of_windows(windows)
    assert any(together), "random weights write something"
    for samples, words in zip(windows, together, strict=True):
        [alone] = timed.words_of_windows([samples])
        assert [(w.text, w.start, w.end) for w in alone] == [(w.text, w.start, w.end) for w in words]
        assert [w.score for w in alone] == pytest.approx([w.score for w in words], rel=1e-3)
        edges = [x for w in words for x in (w.start, w.end)]
        assert edges == sorted(edges) and all(0 <= x <= len(samples) / 16000 for x in edges)


@pytest.mark.usefixtures("short_texts")
def test_half_precision_gives_words(recogniser_folder: Path, noise: Noise) -> None:
    recogniser = QwenRecogniser(recogniser_folder, RecogniserOptions(device="cpu", compute_type="bfloat16"))
    assert recogniser.model.dtype == torch.bfloat16
    assert all(0 < w.score <= SPREAD_SCORE for w in recogniser.words_of_windows([noise(0.5)])[0])


def test_nothing_in_nothing_out(timed: QwenRecogniser) -> None:
    assert timed.words_of_windows([]) == []
    assert timed.words_of_windows([np.zeros(0, dtype=np.float32)]) == [[]]


def test_without_an_aligner_words_are_spread_with_low_scores(
    recogniser_folder: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        recogniser = QwenRecogniser(recogniser_folder, CPU)
    assert "no folder beside" in caplog.text and "spread evenly over the speech" in caplog.text
    scripted(monkeypatch, recogniser, ["我們 recognition 好"], 0.9)
    [words] = recogniser.words_of_windows([noise(3.0)])
    assert [w.text for w in words] == ["我", "們", "recognition", "好"]
    assert all(w.score <= SPREAD_SCORE for w in words)
    edges = [x for w in words for x in (w.start, w.end)]
    assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= 3.0
    assert words[2].end - words[2].start > words[0].end - words[0].start


def test_a_name_on_the_hub_goes_with_the_published_aligner(
    recogniser_folder: Path, aligner_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import huggingface_hub

    def download(name: str, allow_patterns: list[str]) -> str:
        return str(aligner_folder if "Aligner" in name else recogniser_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    recogniser = QwenRecogniser(HUB_RECOGNISER, CPU)
    assert recogniser.aligner is not None and "aligner/model.safetensors" in recogniser.digests()

    def only_recogniser(name: str, allow_patterns: list[str]) -> str:
        if "Aligner" in name:
            raise OSError("offline")
        return str(recogniser_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", only_recogniser)
    with caplog.at_level(logging.WARNING):
        assert QwenRecogniser(HUB_RECOGNISER, CPU).aligner is None
    assert "cannot be downloaded from the hub: offline, so its words are spread" in caplog.text


def test_a_damaged_aligner_beside_the_model_is_said(
    recogniser_folder: Path, aligner_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(recogniser_folder, tmp_path / "model")
    shutil.copytree(aligner_folder, tmp_path / "timer")
    (tmp_path / "timer/model.safetensors").unlink()
    with pytest.raises(DataError, match="timer is incomplete: it has no model.safetensors"):
        QwenRecogniser(tmp_path / "model", CPU)


@pytest.mark.usefixtures("short_texts")
def test_qwens_first_format_gives_the_same_words(
    recogniser: QwenRecogniser, recogniser_folder: Path, original_of: Callable[[Path, bool], Path], noise: Noise
) -> None:
    original = QwenRecogniser(original_of(recogniser_folder, False), CPU)
    windows = [noise(1.0), noise(0.5, 7)]
    assert original.words_of_windows(windows) == recogniser.words_of_windows(windows)


@pytest.mark.usefixtures("short_texts")
def test_search_is_greedy_whatever_the_folder_says(
    recogniser: QwenRecogniser, recogniser_folder: Path, noise: Noise, tmp_path: Path
) -> None:
    folder = shutil.copytree(recogniser_folder, tmp_path / "model")
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 9.0, "max_length": 20}')
    windows = [noise(1.0)]
    expected = recogniser.words_of_windows(windows)
    assert expected[0] and QwenRecogniser(folder, CPU).words_of_windows(windows) == expected


def test_wrong_options_and_models(recogniser_folder: Path, aligner_folder: Path, tmp_path: Path) -> None:
    assert is_qwen(recogniser_folder) and is_qwen(aligner_folder) and not is_qwen(tmp_path)
    with pytest.raises(DataError, match="which times words that are known"):
        QwenRecogniser(aligner_folder, CPU)
    with pytest.raises(ConfigError, match="Qwen3-ASR does not know language 'xx'"):
        QwenRecogniser(recogniser_folder, RecogniserOptions(device="cpu", language="xx"))
    (tmp_path / "many.txt").write_text("some long term\n" * 1000, encoding="utf-8")
    with pytest.raises(DataError, match="many.txt: its 1000 terms are .* tokens, and Qwen3-ASR takes 10000"):
        QwenRecogniser(recogniser_folder, RecogniserOptions(device="cpu", hotwords=tmp_path / "many.txt"))


def test_an_older_transformers_is_one_line(recogniser_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("transformers.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="4.57.1"))
    with pytest.raises(ConfigError, match="needs transformers 5.20 or later, and 4.57.1 is installed"):
        QwenRecogniser(recogniser_folder, RecogniserOptions(device="cpu", language="zh"))
