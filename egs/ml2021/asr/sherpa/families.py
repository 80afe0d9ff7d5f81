"""What a family of sherpa-onnx models is, and a model folder of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml2021.asr.sherpa.onnx_header import OnnxHeader

Headers = Mapping[str, OnnxHeader | None]  # {role of a file, such as encoder: its header; None of an .ort file}
WHOLE_WINDOW = 30.0  # seconds that most models take at a time


@dataclass(frozen=True)
class Family:
    """A family of models: how its folders look, and how sherpa-onnx opens and uses them."""

    name: str
    arguments: Mapping[str, str]  # {role of a file: argument of the factory}
    factory: str  # of sherpa_onnx.OfflineRecognizer, or OnlineRecognizer if it is online
    is_it: Callable[[Headers], bool]  # whether a folder with files of these roles is of this family
    main: str  # the role of the file with the keys
    keys: tuple[str, ...] = ()  # of its metadata, all needed
    has_times: bool = True  # whether tokens come with times
    max_window: float = WHOLE_WINDOW  # seconds
    padded_to: float = 0.0  # seconds; shorter windows get silence behind them
    stream_options: Mapping[str, str] = field(default_factory=dict)  # of sherpa-onnx's streams
    needs_tokens: bool = True  # tokens.txt
    needs_all_tokens: bool = True  # one for each output, else sherpa-onnx fails on the first output without one
    tokenizer_files: tuple[str, ...] = ()  # in a folder beside the files
    language_argument: str = ""  # of the factory
    languages: tuple[str, ...] = ()  # codes that it takes; none: those of `language_key`
    language_key: str = ""  # of the metadata, with the codes
    beam_search: bool = False  # whether modified_beam_search, and so hotwords, can be had
    hotwords_argument: str = ""  # of the factory, for families that take hotwords as text, separated by commas
    online: bool = False


@dataclass(frozen=True)
class SherpaModel:
    """A folder's family, its files and what they say about themselves."""

    folder: Path
    family: Family
    files: Mapping[str, Path]  # {role: file}
    headers: Headers
    tokens: Path | None
    tokenizer: Path | None  # folder
