"""Section `icefall` of asr.yaml: which icefall checkout runs stages 5 and 6, and with which Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IcefallConfig:
    """Where icefall is installed. The environment variables ICEFALL_ROOT and ICEFALL_PYTHON take precedence."""

    root: str = ""  # folder of a git checkout of k2-fsa/icefall; needed unless ICEFALL_ROOT is set
    python: str = ""  # Python interpreter with k2 and icefall's requirements; empty for the one that runs the recipe
