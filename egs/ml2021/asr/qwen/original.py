"""The format of Qwen's first release, such as Qwen/Qwen3-ASR-1.7B and what Qwen's scripts fine-tune from it.

transformers reads only its own format, which names weights and settings differently; given the first format, it would
leave the weights at random values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Patterns of weights' names -> names in transformers; the aligner's head (True) is not that of the recogniser (False).
_TOWER = {
    r"^thinker\.audio_tower\.proj1\.": "model.multi_modal_projector.linear_1.",
    r"^thinker\.audio_tower\.proj2\.": "model.multi_modal_projector.linear_2.",
    r"^thinker\.audio_tower\.": "model.audio_tower.",
    r"^thinker\.model\.": "model.language_model.",
}
KEY_MAPPING = {
    False: {**_TOWER, r"^thinker\.lm_head\.": "lm_head."},
    True: {**_TOWER, r"^thinker\.lm_head\.": "score."},
}
_ROPE_THETA = 5e6  # where a config.json has none
_SETTINGS_OF_FORMAT = {"model_type", "max_position_embeddings"}  # of the encoder; they mean something else there
_AUDIO = "<|audio_start|><|audio_pad|><|audio_end|>"
_PARTS = (
    "{%- set seen = namespace(system='', audio='', words=[]) -%}"
    "{%- for message in messages if message.role != 'assistant' -%}{%- for part in message.content -%}"
    f"{{%- if part.type == 'audio' -%}}{{%- set seen.audio = seen.audio + '{_AUDIO}' -%}}"
    "{%- elif message.role == 'system' -%}{%- set seen.system = seen.system + part.text -%}"
    "{%- else -%}{%- set seen.words = seen.words + [part.text] -%}{%- endif -%}"
    "{%- endfor -%}{%- endfor -%}"
)
_RECOGNISER_TEMPLATE = (
    _PARTS + "{{- '<|im_start|>system\n' + seen.system + '<|im_end|>\n' -}}"
    "{{- '<|im_start|>user\n' + seen.audio + '<|im_end|>\n' -}}"
    "{%- for message in messages if message.role == 'assistant' -%}"
    "{{- '<|im_start|>assistant\n' + message.content[0].text + '<|im_end|>\n' -}}{%- endfor -%}"
)
_ALIGNER_TEMPLATE = _PARTS + (
    "{{- seen.audio -}}{%- for word in seen.words -%}{{- word + '<timestamp><timestamp>' -}}{%- endfor -%}"
)


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of Qwen's first release."""
    return isinstance(config.get("thinker_config"), dict)


def flat_config(config: Mapping[str, Any]) -> Any:
    """The Qwen3ASRConfig of a config.json of the first release."""
    from transformers import Qwen3ASRConfig, Qwen3ASREncoderConfig, Qwen3Config

    thinker = config["thinker_config"]
    settings: dict[str, Any] = {"audio_token_id": thinker["audio_token_id"]}
    if "classify_num" in thinker:
        settings |= {"num_labels": thinker["classify_num"], "timestamp_token_id": config["timestamp_token_id"]}
    encoder = _settings_of(Qwen3ASREncoderConfig, thinker["audio_config"], _SETTINGS_OF_FORMAT)
    decoder = _settings_of(Qwen3Config, thinker["text_config"], {"model_type"})
    rope = {"rope_type": "default", "rope_theta": float(thinker["text_config"].get("rope_theta", _ROPE_THETA))}
    return Qwen3ASRConfig(
        audio_config=encoder,
        text_config=decoder | {"rope_parameters": rope},
        tie_word_embeddings=bool(decoder.get("tie_word_embeddings", False)),
        **settings,
    )


def _settings_of(config_class: Any, content: Mapping[str, Any], without: set[str]) -> dict[str, Any]:
    """The settings that a class of transformers declares itself, without those that every configuration has."""
    declared = set(config_class.__annotations__) - without - {"rope_parameters", "layer_types"}
    return {key: value for key, value in content.items() if key in declared}


def processor_of_original(folder: Path, aligns: bool) -> Any:
    """The processor of a folder of the first release; `aligns` for the forced aligner's."""
    from transformers import AutoTokenizer, Qwen3ASRFeatureExtractor, Qwen3ASRProcessor

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    template = _ALIGNER_TEMPLATE if aligns else _RECOGNISER_TEMPLATE
    return Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(), tokenizer, chat_template=template)
