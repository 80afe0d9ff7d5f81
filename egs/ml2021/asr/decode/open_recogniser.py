"""Open the recogniser that a folder holds or a name on the Hugging Face hub stands for.

Nothing of a family is imported before it is known that the folder or name is of that family.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.words.interfaces import Recogniser, WindowRecogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.script import convert_script
from ml2021.asr.words.timed_word import TimedWord
from ml2021.asr.words.whole_recordings import OfWholeRecordings

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_CHECKPOINT = re.compile(r"(epoch|checkpoint|iter)-\d+(-avg-\d+)?\.pt|(pretrained|best-.*)\.pt")
_MOST_LISTED = 8  # files in a message
_LOOKED_FOR = (
    "config.json with lang/ and pretrained.pt (a recogniser of this project); tokens.txt with .onnx files "
    "(sherpa-onnx); model.bin with config.json and tokenizer.json (faster-whisper); config.json of model_type "
    "qwen3_asr with .safetensors files (Qwen3-ASR)"
)


class _Family(NamedTuple):
    """A kind of recognisers."""

    is_one: Callable[[Path | str], bool]  # whether a folder or name is of the family
    open: Callable[[Path | str, RecogniserOptions], Recogniser | WindowRecogniser]


def _qwen() -> _Family:
    from ml2021.asr.qwen.recogniser import QwenRecogniser, is_qwen

    return _Family(is_qwen, QwenRecogniser)


def _whisper() -> _Family:
    from ml2021.asr.whisper.recogniser import WhisperRecogniser, is_whisper

    return _Family(is_whisper, lambda path, options: WhisperRecogniser(str(path), options))


def _sherpa() -> _Family:
    from ml2021.asr.sherpa.recogniser import SherpaRecogniser, is_sherpa

    def is_folder(path: Path | str) -> bool:
        return isinstance(path, Path) and is_sherpa(path)

    return _Family(is_folder, lambda path, options: SherpaRecogniser(Path(path), options))


# {family: (its functions, the command that installs what it needs)}
_FAMILIES: dict[str, tuple[Callable[[], _Family], str]] = {
    "Qwen3-ASR": (_qwen, "pip install -U transformers"),
    "Whisper": (_whisper, "pip install -e .[whisper]"),
    "sherpa-onnx": (_sherpa, "pip install -e ."),
}


def open_recogniser(path: str, options: RecogniserOptions) -> Recogniser:
    """The recogniser in a folder or of a name, with options.script applied to its words.

    Args:
      path: a folder, or a name such as large-v3 or Qwen/Qwen3-ASR-1.7B-hf, which is taken from the hub or its cache.
      options: of all kinds.
    Raises:
      DataError: it is no recogniser, or an incomplete or damaged one.
      ConfigError: a package is missing, or an option does not fit.
    """
    recogniser = _opened(path, options)
    return _InScript(recogniser, options.script) if options.script else recogniser


class _InScript:
    """A recogniser whose words are converted to another script."""

    def __init__(self, recogniser: Recogniser, script: str) -> None:
        self._recogniser, self._script = recogniser, script
        self.name = recogniser.name

    def digests(self) -> Mapping[str, str]:
        return {**self._recogniser.digests(), "script": self._script}

    def recognise(self, audio: Path) -> list[TimedWord]:
        return convert_script(self._recogniser.recognise(audio), self._script)


def _opened(path: str, options: RecogniserOptions) -> Recogniser:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _of_folder(folder, options)
    if folder.exists():
        raise DataError(f"{path} is a file: name the folder of a recogniser, which is perhaps {folder.parent}")
    is_path = path.startswith((".", "~", os.sep)) or path.endswith(os.sep) or path.count(os.sep) > 1
    family = "" if is_path else _family_of(path)
    if not family and not is_path and _HUB_NAME.fullmatch(path) and not folder.parent.is_dir():
        family = "Whisper"  # such models have all kinds of names
    if not family:
        raise DataError(
            f"there is no folder {path}, and it is not the name of a recogniser: name a folder, a Whisper model by its "
            "size (base, large-v3 ...), or a model on the Hugging Face hub as OWNER/NAME"
        )
    return _of_family(family, path, options)


def _of_folder(folder: Path, options: RecogniserOptions) -> Recogniser:
    from ml2021.asr.decode.ours import OurRecogniser, is_ours

    if is_ours(folder):
        return OurRecogniser(folder, options)
    if family := _family_of(folder):
        return _of_family(family, folder, options)
    raise DataError(f"{folder} holds no recogniser that is known here: {_what_it_is(folder)}")


def _family_of(path: Path | str) -> str:
    """The family of a folder or name; empty if it is of none."""
    return next((title for title in _FAMILIES if _imported(title).is_one(path)), "")


def _of_family(title: str, path: Path | str, options: RecogniserOptions) -> Recogniser:
    recogniser = _imported(title).open(path, options)
    return recogniser if isinstance(recogniser, Recogniser) else OfWholeRecordings(recogniser)


def _imported(title: str) -> _Family:
    functions, install = _FAMILIES[title]
    try:
        return functions()
    except ImportError as e:
        raise ConfigError(f"{title} models need a package that cannot be imported ({e}): {install}") from e


def _what_it_is(folder: Path) -> str:
    """What a folder without a recogniser seems to be, and what to do."""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    for inner in ("asr", "exp"):
        if (folder / inner / "config.json").is_file() and (folder / inner / "lang").is_dir():
            return f"the one in it is {folder / inner}"
    if any(map(_CHECKPOINT.fullmatch, names)) or any(folder.glob("exp/*.pt")):
        return (
            "it has a checkpoint of icefall: make a recogniser of it with python -m "
            "ml2021.asr.icefall.import_checkpoint --checkpoint FILE.pt --lang-dir DIR --exp-dir NEW, and name NEW"
        )
    if "config.json" in names and any(n.endswith((".safetensors", ".bin")) for n in names):
        return (
            "it is a model of transformers of another kind (see model_type in its config.json); of these, Qwen3-ASR is "
            "read as it is, and Whisper after ct2-transformers-converter --model FOLDER --output_dir NEW --copy_files "
            "tokenizer.json preprocessor_config.json"
        )
    listed = ", ".join(names[:_MOST_LISTED]) + (f" and {len(names) - _MOST_LISTED} more" if len(names) > 8 else "")
    return f"looked for {_LOOKED_FOR}; there is {listed or 'nothing'}"
