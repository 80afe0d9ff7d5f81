"""What a user may choose for any recogniser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.result_options import FILE, HOW_IT_RUNS, result_options
from lhotse_prep.workflow.strict_config import require
from ml2021.asr.words.script import require_script

_DEVICE = re.compile(r"|cpu|(cuda|mps)(:\d+)?")


@dataclass(frozen=True)
class RecogniserOptions:
    """Options of all recognisers; each one uses those that it has something for."""

    language: str = ""  # such as zh or en; empty: the model's own choice
    hotwords: Path | None = field(default=None, metadata=FILE)  # a term per line
    beam_size: int = 5  # hypotheses kept; recognisers of this project take it from `decode`
    num_threads: int = field(default=0, metadata=HOW_IT_RUNS)  # of the CPU; 0: as many as there are cores
    device: str = field(default="", metadata=HOW_IT_RUNS)  # cpu, cuda, cuda:1; empty: cuda if there is one
    compute_type: str = "default"  # of faster-whisper: float32, float16, int8 ...
    # of recognisers of this project: a DecodeConfig; None: the values that the model was trained with
    decode: Any = None
    script: str = ""  # an OpenCC conversion of the words, such as s2twp; empty: none

    def __post_init__(self) -> None:
        require(self.beam_size >= 1, f"beam_size must be >= 1, got {self.beam_size}")
        require(self.num_threads >= 0, f"num_threads must be >= 0, got {self.num_threads}")
        is_device = _DEVICE.fullmatch(self.device) is not None
        require(is_device, f"device must be cpu, cuda or cuda:N, got {self.device!r}")
        missing = self.hotwords is not None and not self.hotwords.is_file()
        require(not missing, f"no file {self.hotwords}: hotwords are a text file with a term per line")
        require_script(self.script)

    def digest(self) -> str:
        """The digest of all that words depend on: the values, without how it runs, and the content of hotwords."""
        hotwords = None if self.hotwords is None else digest_file(self.hotwords)
        return digest_json([result_options(self), hotwords])
