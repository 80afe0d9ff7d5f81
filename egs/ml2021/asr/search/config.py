"""Decoding methods and their sizes."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require

DECODING_METHODS = (
    "greedy_search",
    "modified_beam_search",
    "beam_search",
    "fast_beam_search",
    "fast_beam_search_nbest",
    "fast_beam_search_nbest_LG",
    "ctc_greedy_search",
    "ctc_prefix_beam_search",
)

FUSION_METHODS = ("modified_beam_search", "beam_search", "ctc_prefix_beam_search")  # take a language model and hotwords


@dataclass(frozen=True)
class SearchConfig:
    """How hypotheses are searched for, whatever is decoded."""

    decoding_method: str = "greedy_search"
    blank_penalty: float = 0.0  # taken from the blank's log-probability, for fewer deletions
    beam_size: int = 4  # hypotheses of modified_beam_search, beam_search and ctc_prefix_beam_search
    max_sym_per_frame: int = 5  # tokens a frame of beam_search, which needs a model of rnnt_type regular
    beam: float = 20.0  # fast_beam_search: log-probability below the best at which a path is given up
    max_contexts: int = 8  # fast_beam_search: decoder contexts a frame
    max_states: int = 64  # fast_beam_search: states of the graph a frame
    num_paths: int = 200  # fast_beam_search_nbest: paths drawn from the lattice
    nbest_scale: float = 0.5  # and the scale of the scores while they are drawn
    lg_file: str | None = None  # fast_beam_search_nbest_LG: the graph, from ml2021.asr.search.lg_graph
    ngram_lm_scale: float = 0.01  # and the scale of its scores
    lm_scale: float = 0.0  # of the language model's log-probabilities; 0: none is used
    lm_dir: str | None = None  # its folder, from ml2021.asr.fusion.train; stages 6 and 10 take exp/C/lm
    hotwords_file: str | None = None  # a term a line, `: score` after it where it has its own
    hotwords_score: float = 1.5  # bonus a token of a hotword

    def __post_init__(self) -> None:
        method = self.decoding_method
        known = method in DECODING_METHODS
        require(known, f"decoding_method must be one of {', '.join(DECODING_METHODS)}, got {method!r}")
        for name in (
            "beam_size",
            "max_sym_per_frame",
            "max_contexts",
            "max_states",
            "beam",
            "num_paths",
            "nbest_scale",
        ):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
        require(self.lm_scale >= 0, f"lm_scale must be >= 0, got {self.lm_scale}")
        has_graph = method != "fast_beam_search_nbest_LG" or self.lg_file is not None
        require(
            has_graph, f"{method} needs a graph: make one with python -m ml2021.asr.search.lg_graph, name it lg_file"
        )
        fits = method in FUSION_METHODS or not self.has_fusion
        require(fits, f"lm_scale and hotwords_file need one of {', '.join(FUSION_METHODS)}, not {method}")

    @property
    def has_fusion(self) -> bool:
        """Whether a language model or hotwords are asked for."""
        return self.lm_scale > 0 or self.hotwords_file is not None
