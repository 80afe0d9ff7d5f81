"""What is decoded and how: section `decode` of decode.yaml, for stages 6 and 10, and the options of streaming."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.result_options import HOW_IT_RUNS, only_if
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.search.config import LEXICON, SearchConfig, require_finite
from ml2021.asr.words.script import SCRIPTS, require_script

PROJECT = Path(__file__).resolve().parents[4]  # run.sh runs every stage here: paths in its configuration begin here
ASR_FILES = ("pretrained.pt", "config.json", "lang/*", "units/*")  # what decoding and exporting read of stage 5
LM_FILES = ("lm.arpa", "pretrained.pt", "config.json", "tokens.txt")  # what decoding reads of a language model
WINDOWS_VERSION = 3  # raised when the same values cut a lecture into other windows, or give its words other times


@dataclass(frozen=True)
class LongFormConfig:
    """Windows over a whole lecture, which overlap where no pause is between them."""

    # seconds of a window whose tokens are kept, at most; it ends in a pause of 0.35 s if there is one after 0.4 of it
    chunk: float = 16.0
    # seconds decoded in addition on both sides of the end of a chunk, unless it ends in a pause
    context: float = 2.0
    max_silence: float = 8.0  # seconds; a longer silence is not decoded; 0: everything is decoded

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.chunk > 0 and self.context >= 0, "chunk must be > 0 s and context >= 0 s")
        require(
            self.max_silence == 0 or self.max_silence > 2 * self.context,
            f"max_silence must be 0 or more than twice context ({self.context} s), got {self.max_silence}",
        )


@dataclass(frozen=True)
class DecodeConfig(SearchConfig):
    """A search, its batches, the windows of whole lectures, and the script of the words."""

    max_duration: float = 200.0  # seconds of audio in a batch
    long_form: LongFormConfig = field(default_factory=LongFormConfig)
    # OpenCC conversion of what is recognised, such as s2twp (a model of Simplified characters, Taiwan's wanted)
    script: str = field(default="", metadata=only_if(script=SCRIPTS))
    # stage 6: also decode up to 3 minutes of dev by both heads, and warn if the transducer is behind CTC
    both_heads: bool = field(default=True, metadata=HOW_IT_RUNS)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_script(self.script)
        require(self.max_duration > 0, f"max_duration must be > 0 s, got {self.max_duration}")


@dataclass(frozen=True)
class StreamingConfig:
    """How streams are decoded."""

    decoding_method: str = "greedy_search"
    num_active_paths: int = 4  # hypotheses of modified_beam_search
    blank_penalty: float = 0.0  # subtracted from the blank's logit
    num_decode_streams: int = 100  # decoded together, a chunk of each at a time

    def __post_init__(self) -> None:
        require_finite(self)
        require_all(self, ("num_active_paths", "num_decode_streams"), 1)

    @property
    def beam(self) -> int | None:
        """The beam that StreamingRecogniser takes; None: greedy search."""
        return self.num_active_paths if self.decoding_method == "modified_beam_search" else None


def with_lm_dir(config: DecodeConfig, exp: Path) -> DecodeConfig:
    """Set lm_dir to exp/lm, which stage 6 makes, if a language model is used and lm_dir is not set.

    So are lodr_dir, to exp/lodr, and lexicon_file.
    """
    if config.decoding_method == "lexicon_search" and config.lexicon_file is None:
        config = replace(config, lexicon_file=str(exp / "lexicon" / LEXICON))
    if config.lm_scale > 0 and config.lm_dir is None:
        config = replace(config, lm_dir=str(exp / "lm"))
    return replace(config, lodr_dir=str(exp / "lodr")) if config.lodr_scale > 0 and config.lodr_dir is None else config


def with_files_of_project(config: DecodeConfig, project: Path = PROJECT) -> DecodeConfig:
    """Name files that are not where the program runs, but in the folder where run.sh runs, by their whole path."""
    names = ("hotwords_file", "lg_file", "lm_dir", "lodr_dir", "lexicon_file")
    paths = {name: getattr(config, name) for name in names}
    elsewhere: dict[str, Any] = {
        name: str(project / path)
        for name, path in paths.items()
        if path is not None and not Path(path).exists() and (project / path).exists()
    }
    return replace(config, **elsewhere)


def file_digests(config: DecodeConfig) -> dict[str, str]:
    """{option, or option/NAME: digest} of the files of a configuration: hotwords, graph, lexicon, language models."""
    files = {name: getattr(config, name) for name in ("hotwords_file", "lg_file", "lexicon_file")}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    for name, folder in (("lm_dir", config.lm_dir), ("lodr_dir", config.lodr_dir)):
        if folder is not None:
            paths |= {f"{name}/{file}": Path(folder) / file for file in LM_FILES}
    return {name: digest_file(path) for name, path in paths.items() if path.is_file()}
