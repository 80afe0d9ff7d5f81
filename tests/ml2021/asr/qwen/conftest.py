"""Tiny Qwen3-ASR models with random weights, in the folders that transformers writes, and in Qwen's first format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

MARKS = [f"<|{name}|>" for name in ("endoftext", "im_start", "im_end", "audio_start", "audio_pad", "audio_end")]
MARKS += ["<timestamp>", "<asr_text>"]
RATE = 16000
NUM_CLASSES = 400  # of time, 80 ms each: 32 s
# As published: the recogniser's template shows the assistant's turn, the aligner's the words with slots after each.
RECOGNISER_TEMPLATE = (
    "{%- set ns = namespace(system='', audio='') -%}{%- for m in messages -%}{%- for c in m.content -%}"
    "{%- if m.role == 'system' -%}{%- set ns.system = ns.system + c.text -%}{%- elif c.type == 'audio' -%}"
    "{%- set ns.audio = ns.audio + '<|audio_start|><|audio_pad|><|audio_end|>' -%}{%- endif -%}{%- endfor -%}"
    "{%- endfor -%}{{- '<|im_start|>system\n' + ns.system + '<|im_end|>\n' -}}"
    "{{- '<|im_start|>user\n' + ns.audio + '<|im_end|>\n' -}}{%- for m in messages -%}{%- if m.role == 'assistant' -%}"
    "{{- '<|im_start|>assistant\n' + m.content[0].text + '<|im_end|>\n' -}}{%- endif -%}{%- endfor -%}"
)
ALIGNER_TEMPLATE = (
    "{%- set ns = namespace(words=[]) -%}{%- for c in messages[0].content -%}{%- if c.type == 'text' -%}"
    "{%- set ns.words = ns.words + [c.text] -%}{%- endif -%}{%- endfor -%}"
    "{{- '<|audio_start|><|audio_pad|><|audio_end|>' -}}"
    "{{- ns.words | join('<timestamp><timestamp>') + '<timestamp><timestamp>' -}}"
)


def byte_tokenizer() -> Any:
    """Spells everything byte by byte, with the marks of Qwen3-ASR."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {character: i for i, character in enumerate(sorted(ByteLevel.alphabet()))}
    audio = {"audio_token": MARKS[4], "audio_bos_token": MARKS[3], "audio_eos_token": MARKS[5]}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary | {MARKS[0]: 256}, merges=[], extra_special_tokens=audio)
    tokenizer.add_tokens([AddedToken(mark, special=mark != "<asr_text>") for mark in MARKS])
    return tokenizer


def write_model(folder: Path, aligns: bool, seed: int = 0) -> Path:
    import transformers as t

    tokenizer = byte_tokenizer()
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    config = t.Qwen3ASRConfig(
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "output_dim": 16,
            "downsample_hidden_size": 4,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "tie_word_embeddings": True,
            "max_position_embeddings": 8192,
            "initializer_range": 0.5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
        },
        audio_token_id=ids["<|audio_pad|>"],
        timestamp_token_id=ids["<timestamp>"],
        pad_token_id=ids["<|im_end|>"],
        eos_token_id=[ids["<|endoftext|>"], ids["<|im_end|>"]],
        **({"num_labels": NUM_CLASSES} if aligns else {}),
    )
    torch.manual_seed(seed)
    model = (t.Qwen3ASRForTokenClassification if aligns else t.Qwen3ASRForConditionalGeneration)(config)
    model.save_pretrained(folder)
    template = ALIGNER_TEMPLATE if aligns else RECOGNISER_TEMPLATE
    t.Qwen3ASRProcessor(t.Qwen3ASRFeatureExtractor(), tokenizer, chat_template=template).save_pretrained(folder)
    return folder


def write_original(folder: Path, model_folder: Path, aligns: bool) -> Path:
    """The same model in Qwen's first format: nested settings, other names of weights, no processor."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model_folder, folder)
    (folder / "chat_template.jinja").unlink()
    (folder / "processor_config.json").unlink()
    names = {
        "model.multi_modal_projector.linear_1.": "thinker.audio_tower.proj1.",
        "model.multi_modal_projector.linear_2.": "thinker.audio_tower.proj2.",
        "model.audio_tower.": "thinker.audio_tower.",
        "model.language_model.": "thinker.model.",
        "score.": "thinker.lm_head.",
        "lm_head.": "thinker.lm_head.",
    }
    weights = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        start = next(old for old in names if key.startswith(old))
        weights[names[start] + key.removeprefix(start)] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"] | {"model_type": "qwen3_asr_text"}
    text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
    audio = config["audio_config"] | {"model_type": "qwen3_asr_audio_encoder", "max_position_embeddings": 1500}
    thinker = {"audio_config": audio, "text_config": text, "audio_token_id": config["audio_token_id"]}
    original = {"model_type": "qwen3_asr", "architectures": ["Qwen3ASRForConditionalGeneration"]}
    original |= {"timestamp_token_id": config["timestamp_token_id"]} if aligns else {}
    thinker |= {"classify_num": NUM_CLASSES} if aligns else {}
    (folder / "config.json").write_text(json.dumps(original | {"thinker_config": thinker}))
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def noise() -> Callable[..., NDArray[np.float32]]:
    """Samples of some seconds."""

    def samples(seconds: float, seed: int = 0) -> NDArray[np.float32]:
        return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)

    return samples


@pytest.fixture(scope="session")
def original_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, bool], Path]:
    """Write a model in Qwen's first format."""
    return lambda folder, aligns: write_original(tmp_path_factory.mktemp("original") / folder.name, folder, aligns)


@pytest.fixture(scope="session")
def recogniser_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("recogniser") / "Qwen3-ASR-tiny", aligns=False)


@pytest.fixture(scope="session")
def aligner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("aligner") / "Qwen3-ForcedAligner-tiny", aligns=True)
