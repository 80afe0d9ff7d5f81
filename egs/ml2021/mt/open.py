"""Open a translator of any kind: trained here, published (Marian, M2M100, NLLB; also for CTranslate2), or a chat model.

Models are folders, or names on the Hugging Face hub. They are told apart by their files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.hub import model_folder
from ml2021.mt.config import TranslateConfig
from ml2021.mt.export import convert
from ml2021.mt.llm.chat_model import load_chat_model
from ml2021.mt.llm.translator import DEFAULT_CONTEXT, ChatOptions, ChatTranslator
from ml2021.mt.load import load_model, load_vocabulary
from ml2021.mt.pretrained import KINDS, check_files, read_model_config
from ml2021.mt.terms.checked import CheckedTranslator, SearchingTranslator
from ml2021.mt.terms.glossary import read_glossary
from ml2021.mt.terms.translation import Translator
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator

CTRANSLATE2, CHAT = "ctranslate2", "chat"  # kinds besides KINDS
_SUFFIXES = (".json", ".spm", ".model", ".txt", ".jinja", ".tiktoken", ".bin", ".safetensors")  # of a model's files


def open_translator(name_or_folder: str, config: TranslateConfig, glossary: Path | None = None) -> Translator:
    """
    Args:
      name_or_folder: an experiment of stage 8, a model folder of transformers or CTranslate2, or a name on the hub.
      config: how to translate.
      glossary: file of terms to keep (see terms.glossary).
    Raises:
      DataError: there is no such model, it is no translator, or a file of it or the glossary is missing or damaged.
      ConfigError: config asks for a context, a language or a number format that the model does not have.
    """
    terms = read_glossary(glossary) if glossary else None
    what = f"translator {name_or_folder}"
    folder = find_translator(name_or_folder)
    kind = kind_of(folder, what)
    if kind == CHAT:
        context = DEFAULT_CONTEXT if config.context is None else config.context
        options = ChatOptions(
            context, config.max_length, config.max_batch_tokens, config.source_lang, config.target_lang
        )
        return ChatTranslator(load_chat_model(folder, what, config.compute_type), options, terms)
    return CheckedTranslator(_open_searching(folder, kind, config), config.target_lang, terms)


def find_translator(name_or_folder: str) -> Path:
    """The folder of a translator's files: in an experiment of stage 8 that is marian/; a name on the hub is downloaded.

    Raises:
      DataError: there is no such model, or it is no translator.
    """
    path, what = Path(name_or_folder).expanduser(), f"translator {name_or_folder}"
    if (path / "marian").is_dir() and not (path / "model.bin").is_file():
        path = path / "marian"
    return model_folder(str(path), "translator", lambda folder: _check(folder, what))


def translator_files(folder: Path) -> list[Path]:
    """The files of a translator's folder that its translations depend on."""
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith(".") and p.is_file())


def _check(folder: Path, what: str) -> None:
    if (kind := kind_of(folder, what)) in KINDS:
        check_files(folder, kind, what)


def kind_of(folder: Path, what: str) -> str:
    """CTRANSLATE2, CHAT or one of KINDS; `what` begins messages.

    Raises:
      DataError: the folder holds no translator.
    """
    if (folder / "model.bin").is_file() or any(folder.glob("shared_vocabulary.*")):
        return CTRANSLATE2
    if not (folder / "config.json").is_file():
        hint = ""
        if (folder / "adapter_config.json").is_file():
            hint = ": it is an adapter (LoRA); merge it with its model first"
        elif any(folder.glob("*.gguf")):
            hint = ": it is in GGUF; name the folder of the original model"
        elif any(folder.glob("*.pt")) or any(folder.glob("*.onnx")):
            hint = "; is it a recogniser?"
        raise DataError(
            f"{what} has no translation model{hint or ': it has neither config.json nor model.bin'}"
            + ("" if hint else "; stage 8 writes one to exp/CORPUS/mt/marian")
        )
    config = read_model_config(folder, what)
    kind = str(config.get("model_type"))
    if kind in KINDS:
        return kind
    if _is_causal(config):
        return CHAT
    raise DataError(_wrong_kind(config, what))


def _is_causal(config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    architectures = [str(a) for a in config.get("architectures") or []]
    generates = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    return (
        config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and not config.get("is_encoder_decoder")
        and any(a.endswith(generates) for a in architectures)
    )


def _wrong_kind(config: Mapping[str, Any], what: str) -> str:
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type")
    if kind is None:
        return (
            f"{what} has no translation model: its config.json names no model_type; stage 8 writes a model to "
            "exp/CORPUS/mt/marian"
        )
    speech = modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES, modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES
    if any(kind in names for names in speech) or "asr" in str(kind):
        return f"{what} is a {kind} model, a recogniser, not a translator"
    names = ", ".join(str(a) for a in config.get("architectures") or []) or "no architecture"
    return f"{what} is a {kind} model ({names}), not a translator: that is a marian, m2m_100 (NLLB) or chat model"


def _open_searching(folder: Path, kind: str, config: TranslateConfig) -> SearchingTranslator:
    """Open a model of CTranslate2, or of KINDS with the engine of config."""
    from transformers.utils.logging import disable_progress_bar

    if kind == CTRANSLATE2:
        return CTranslate2Translator(folder, config)
    vocabulary = load_vocabulary(folder, config.source_lang, config.target_lang)
    if config.engine == "transformers":
        return TransformersTranslator(folder, config, vocabulary)
    disable_progress_bar()
    load_model(folder, vocabulary)  # refuses missing weights, which the converter would fill with random ones
    with tempfile.TemporaryDirectory() as work:
        convert(folder, Path(work) / "ctranslate2", vocabulary)
        return CTranslate2Translator(Path(work) / "ctranslate2", config, vocabulary)
