"""Load the model and the vocabulary of a folder, whichever family they belong to: Marian, or M2M100 and NLLB."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.mt.multilingual import LANGUAGES, MultilingualVocabulary
from ml2021.mt.vocabulary import FILES, MarianVocabulary, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TRANSLATOR = "TransformerSpec"  # CTranslate2's name for a model of encoder and decoder
_SPECS = {"WhisperSpec": "a recogniser", "TransformerDecoderModelSpec": "a language model"}
_LISTS = ("shared_vocabulary.json", "shared_vocabulary.txt")  # pieces by id, in versions 3 and 2 of CTranslate2


@dataclass(frozen=True)
class CTranslate2Files:
    """What the files of a CTranslate2 folder say about its model."""

    pieces: list[str]  # by id
    num_positions: int | None  # pieces of the longest sentence that fits; None if there is no limit
    adds_end: bool  # whether CTranslate2 itself puts the end mark after a source


def load_vocabulary(
    folder: Path, source_lang: str = "", target_lang: str = "", pieces: list[str] | None = None
) -> Vocabulary:
    """Load the vocabulary from a model folder of transformers or of CTranslate2.

    Args:
      source_lang, target_lang: languages of a published model; see the vocabularies.
      pieces: those of a CTranslate2 model.
    Raises:
      DataError: a file is missing or damaged.
      ConfigError: the model does not have these languages.
    """
    is_published = not (folder / FILES[0]).is_file() and (folder / "tokenizer_config.json").is_file()
    if is_published or (folder / LANGUAGES).is_file():
        return MultilingualVocabulary(folder, source_lang, target_lang)
    if source_lang:
        raise ConfigError(f"the model in {folder} is a Marian model, which needs no source_lang: remove it")
    return MarianVocabulary(folder, target_lang, pieces or ())


def load_model(folder: Path, vocabulary: Vocabulary) -> PreTrainedModel:
    """Load a model in float32, whatever precision it is stored in, with layer dropout off so that every layer trains.

    Raises:
      DataError: the model is damaged or has another vocabulary.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    try:
        model, report = AutoModelForSeq2SeqLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            encoder_layerdrop=0.0,
            decoder_layerdrop=0.0,
            output_loading_info=True,
        )
    except Exception as e:  # of safetensors, pickle, torch or transformers: each has its own
        reason = str(e).strip() or type(e).__name__
        raise DataError(f"{folder} cannot be read as a translation model: {reason.splitlines()[0]}") from e
    if lost := sorted(report["missing_keys"]):
        raise DataError(f"{folder} is incomplete: {len(lost)} of its model's weights are missing, such as {lost[0]}")
    if not vocabulary.fits(model.config):
        raise wrong_vocabulary(folder)
    loaded: PreTrainedModel = model
    return loaded


def read_ctranslate2(folder: Path) -> CTranslate2Files:
    """Read what is needed of a CTranslate2 folder before its model is loaded.

    Raises:
      DataError: it holds no translator of one vocabulary, or a file is damaged.
    """
    lists = [folder / name for name in _LISTS if (folder / name).is_file()]
    spec, num_positions = _read_model(folder / "model.bin")
    if spec != _TRANSLATOR:
        raise DataError(f"the CTranslate2 model in {folder} is {_SPECS.get(spec, spec)}, not a translator")
    if not lists:
        raise DataError(
            f"no CTranslate2 model in {folder}: it has no shared_vocabulary.json; convert one with stage 11 or "
            "ml2021.mt.export.convert"
        )
    try:
        text, config = lists[0].read_text(encoding="utf-8"), folder / "config.json"
        pieces = json.loads(text) if lists[0].suffix == ".json" else text.removesuffix("\n").split("\n")
        settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
        return CTranslate2Files([str(p) for p in pieces], num_positions, bool(settings.get("add_source_eos")))
    except (ValueError, TypeError, AttributeError) as e:
        raise DataError(f"a file of the CTranslate2 model in {folder} is damaged ({e}); copy it again") from e


def _read_model(path: Path) -> tuple[str, int | None]:
    """The name of the specification of a CTranslate2 model, and the number of its positions, if limited."""
    with path.open("rb") as f:

        def number(code: str) -> int:
            return int(struct.unpack(code, f.read(struct.calcsize(code)))[0])

        def text() -> str:
            return f.read(number("<H"))[:-1].decode()

        try:
            version = number("<I")
            spec = text() if version >= 2 else ""
            if version >= 2:
                number("<I")  # its revision
            for _ in range(number("<I")):
                name = text()
                shape = [number("<I") for _ in range(number("<B"))]
                if version >= 4:
                    number("<B")  # data type
                    size = number("<I")
                else:
                    size = number("<B") * number("<I")
                if name.endswith("position_encodings/encodings"):  # both sides have as many
                    return spec, shape[0]
                f.seek(size, 1)
        except (struct.error, UnicodeDecodeError) as e:
            raise DataError(f"{path} is damaged or cut short; copy it again, or convert the model again") from e
    return spec, None


def wrong_vocabulary(folder: Path) -> DataError:
    """The error for a folder whose vocabulary and model do not belong together."""
    return DataError(
        f"the vocabulary in {folder} is not the one that its model was trained with; "
        "copy the vocabulary files and the weights from the same training run, or convert again (stage 11)"
    )
