"""A tiny Whisper that writes a text of our choice, whatever it hears, and runs through the real faster-whisper."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TEXT = ("這次講 Self-supervised", " learning,對嗎?")  # of its two segments
BEGINS = (0.0, 2.0, 4.0)  # seconds of the segments
LANGUAGES = ("en", "zh", *(f"x{i}" for i in range(97)))
FIRST_SPECIAL = 50257
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
IDS = {token: FIRST_SPECIAL + i for i, token in enumerate(SPECIAL)}
TIMESTAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
NUM_TOKENS = FIRST_SPECIAL + len(SPECIAL) + len(TIMESTAMPS)
SIZE = 64


def timestamp(seconds: float) -> int:
    """The token of a time."""
    return IDS["<|notimestamps|>"] + 1 + round(seconds / 0.02)


def make_tokenizer(folder: Path) -> tuple[list[str], Callable[[str], list[int]]]:
    """Write a byte-level tokenizer with Whisper's special tokens where they belong; returns its tokens and encoder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    # One token a byte; space with a mark, which Whisper suppresses, is a token too, so that spaces are not.
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġ-", "Ġ'", "Ġâ"]
    tokens += [f"unused{i}" for i in range(FIRST_SPECIAL - 1 - len(tokens))]
    tokens.append("")  # by this one, CTranslate2 knows a multilingual model
    merges = [("Ġ", "-"), ("Ġ", "'"), ("Ġ", "â")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    return [*tokens, *SPECIAL, *TIMESTAMPS], lambda text: list(tokenizer.encode(text).ids)


def make_whisper(folder: Path, texts: Sequence[str] = TEXT, language: str = "zh", num_mels: int = 80) -> Path:
    """Write the folder of a model that writes `texts` as segments, in the sound of any window.

    Attention and feed-forward layers add nothing, so that the hidden state is that of the position, and this is the
    embedding of the token that follows.
    """
    from ctranslate2.specs.whisper_spec import WhisperSpec

    folder.mkdir(parents=True)
    tokens, encode = make_tokenizer(folder)
    rng = np.random.default_rng(0)
    embeddings = np.zeros((NUM_TOKENS, SIZE), np.float32)
    used = [*range(259), *range(FIRST_SPECIAL, NUM_TOKENS)]
    embeddings[used] = rng.normal(size=(len(used), SIZE))
    following = [IDS[f"<|{language}|>"], IDS["<|transcribe|>"]]
    for text, begin, end in zip(texts, BEGINS, BEGINS[1:]):
        following += [timestamp(begin), *encode(text), timestamp(end)]
    following += [IDS["<|endoftext|>"]] * (448 - len(following))

    spec = WhisperSpec(1, 2, 1, 2)
    for conv, channels in ((spec.encoder.conv1, num_mels), (spec.encoder.conv2, SIZE)):
        conv.weight, conv.bias = normal(rng, SIZE, channels, 3), np.zeros(SIZE, np.float32)
    spec.encoder.position_encodings.encodings = normal(rng, 1500, SIZE)
    spec.decoder.position_encodings.encodings = 1000 * embeddings[following]
    spec.decoder.embeddings.weight = embeddings
    spec.decoder.projection.weight = embeddings
    for part in (spec.encoder, spec.decoder):
        set_norm(part.layer_norm)
        layer = part.layer[0]
        set_attention(layer.self_attention, rng, (3 * SIZE, SIZE))
        if part is spec.decoder:
            set_attention(layer.attention, rng, (SIZE, 2 * SIZE, SIZE))
        set_norm(layer.ffn.layer_norm)
        set_linear(layer.ffn.linear_0, normal(rng, 16, SIZE))
        set_linear(layer.ffn.linear_1, np.zeros((SIZE, 16), np.float32))
    spec.register_vocabulary(tokens)
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], [IDS["<|endoftext|>"]]
    spec.config.lang_ids = [IDS[f"<|{code}|>"] for code in LANGUAGES]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.validate()
    spec.save(str(folder))
    return folder


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (0.1 * rng.normal(size=shape)).astype(np.float32)


def set_norm(spec: Any) -> None:
    spec.gamma, spec.beta = np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32)


def set_linear(spec: Any, weight: NDArray[np.float32]) -> None:
    spec.weight, spec.bias = weight, np.zeros(len(weight), np.float32)


def set_attention(spec: Any, rng: np.random.Generator, sizes: Sequence[int]) -> None:
    """Random queries, keys and values, and an output of zeros."""
    set_norm(spec.layer_norm)
    for linear, size in zip(spec.linear, sizes):
        set_linear(linear, normal(rng, size, SIZE))
    set_linear(spec.linear[-1], np.zeros((SIZE, SIZE), np.float32))


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Whisper model; skips where faster-whisper is not installed."""
    if importlib.util.find_spec("faster_whisper") is None:
        pytest.skip("faster-whisper is not installed")
    return make_whisper(tmp_path_factory.mktemp("tiny") / "whisper")
