"""Decoding methods and their parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from lhotse_prep.workflow.result_options import FILE, only_if
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
    "lexicon_search",
)

LEXICON = "lexicon.txt"  # name of a lexicon's file, in stage 6's folder lexicon
FUSION_METHODS = ("modified_beam_search", "beam_search", "ctc_prefix_beam_search", "lexicon_search")  # can use fusion
SUBTRACTED: dict[str, tuple[str, ...]] = {  # {scale of an internal language model: methods that subtract it}
    "lodr_scale": ("modified_beam_search", "beam_search", "ctc_prefix_beam_search"),
    "ilm_scale": ("modified_beam_search", "beam_search"),
}
NO_LM: dict[str, Any] = {"lm_scale": 0.0, "lodr_scale": 0.0, "ilm_scale": 0.0}  # decoding without a language model
_FAST = ("fast_beam_search", "fast_beam_search_nbest", "fast_beam_search_nbest_LG")


def require_finite(config: Any) -> None:
    """Raise ConfigError if a number of a dataclass is NaN or infinite, which no comparison with a limit may notice."""
    for f in fields(config):
        value = getattr(config, f.name)
        is_finite = not isinstance(value, float) or math.isfinite(value)
        require(is_finite, f"{f.name} must be a finite number, got {value}")


@dataclass(frozen=True)
class SearchConfig:
    """The search method and its parameters, for windows, lectures and streams.

    decoding_method is greedy_search, modified_beam_search, beam_search, fast_beam_search, fast_beam_search_nbest,
    fast_beam_search_nbest_LG, ctc_greedy_search, ctc_prefix_beam_search or lexicon_search.
    """

    decoding_method: str = "greedy_search"  # name of the search; docs/decoding.md lists them
    blank_penalty: float = 0.0  # subtracted from the blank's log-probability, to reduce deletions
    # hypotheses kept by beam searches; null: 32 by lexicon_search, 4 by modified_beam_search and the others
    beam_size: int | None = field(default=None, metadata=only_if(decoding_method=FUSION_METHODS))
    # beam_search: limit on tokens per frame; needs a model of rnnt_type regular
    max_sym_per_frame: int = field(default=5, metadata=only_if(decoding_method="beam_search"))
    # fast_beam_search*: paths whose log-probability is this much below the best are dropped
    beam: float = field(default=20.0, metadata=only_if(decoding_method=_FAST))
    # fast_beam_search*: decoder contexts per frame at most
    max_contexts: int = field(default=8, metadata=only_if(decoding_method=_FAST))
    # fast_beam_search*: states of the graph per frame at most
    max_states: int = field(default=64, metadata=only_if(decoding_method=_FAST))
    # fast_beam_search_nbest*: paths sampled from the lattice
    num_paths: int = field(default=200, metadata=only_if(decoding_method=_FAST[1:]))
    # fast_beam_search_nbest*: factor of the scores while sampling
    nbest_scale: float = field(default=0.5, metadata=only_if(decoding_method=_FAST[1:]))
    # fast_beam_search_nbest_LG: the graph, made by ml2021.asr.search.lg_graph
    lg_file: str | None = field(default=None, metadata=FILE)
    # fast_beam_search_nbest_LG: weight of the graph's scores
    ngram_lm_scale: float = field(default=0.01, metadata=only_if(decoding_method=_FAST[2]))
    # modified_beam_search: weight of the CTC head's prefix scores, in place of as much of the transducer's; 0: none
    ctc_scale: float = field(default=0.0, metadata=only_if(decoding_method="modified_beam_search"))
    # with ctc_scale: encoder frames (40 ms) by which tokens of the transducer and of the CTC head may lie apart
    ctc_lag: int = field(default=10, metadata=only_if(decoding_method="modified_beam_search"))
    # lexicon_search: the words and their units, made by ml2021.asr.fusion.lexicon; null: exp/C/lexicon/lexicon.txt
    lexicon_file: str | None = field(default=None, metadata=FILE)
    # lexicon_search: text files with more words for stage 6's lexicon, beside the corpus's texts of training
    lexicon_texts: tuple[str, ...] = field(default=(), metadata=FILE)
    # lexicon_search: added to the score for each word
    word_score: float = field(default=0.0, metadata=only_if(decoding_method="lexicon_search"))
    # lexicon_search: weight of the CTC head on tokens in the choice among words that sound alike; 0: none
    token_scale: float = field(default=0.0, metadata=only_if(decoding_method="lexicon_search"))
    # modified_beam_search: weight of the log-prob that the head on units gives to each hypothesis of the last beam
    units_rescore_scale: float = field(default=0.0, metadata=only_if(decoding_method="modified_beam_search"))
    lm_scale: float = 0.0  # weight of the language model's log-probabilities; 0: no language model
    # folder of the language model, made by ml2021.asr.fusion.train; null: exp/C/lm
    lm_dir: str | None = field(default=None, metadata=FILE)
    # LODR: weight of an n-gram of the training transcripts, subtracted from lm_scale's language model; 0: none
    lodr_scale: float = field(default=0.0, metadata=only_if(decoding_method=SUBTRACTED["lodr_scale"]))
    # folder of that n-gram, made by ml2021.asr.fusion.train; null: exp/C/lodr, a bigram that stage 6 makes
    lodr_dir: str | None = field(default=None, metadata=FILE)
    # ILME: weight of the transducer's internal language model, which is subtracted; 0: none
    ilm_scale: float = field(default=0.0, metadata=only_if(decoding_method=SUBTRACTED["ilm_scale"]))
    # file with a hotword per line, optionally followed by its own score, as `:2.5`
    hotwords_file: str | None = field(default=None, metadata=FILE)
    hotwords_score: float = 1.5  # bonus per token of hotwords without their own score

    def __post_init__(self) -> None:
        require_finite(self)
        method = self.decoding_method
        known = method in DECODING_METHODS
        require(known, f"decoding_method must be one of {', '.join(DECODING_METHODS)}, got {method!r}")
        require(self.num_hypotheses > 0, f"beam_size must be > 0, got {self.beam_size}")
        for name in ("max_sym_per_frame", "max_contexts", "max_states", "beam", "num_paths", "nbest_scale"):
            require(getattr(self, name) > 0, f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("lm_scale", "lodr_scale", "ilm_scale", "ngram_lm_scale", "units_rescore_scale", "token_scale"):
            require(getattr(self, name) >= 0, f"{name} must be >= 0, got {getattr(self, name)}")
        require(0 <= self.ctc_scale < 1, f"ctc_scale must be at least 0 and below 1, got {self.ctc_scale}")
        require(self.ctc_lag >= 0, f"ctc_lag must be >= 0 frames, got {self.ctc_lag}")
        fits = method == "modified_beam_search" or self.ctc_scale == 0
        require(fits, f"ctc_scale needs modified_beam_search, not {method}")
        fits = method == "modified_beam_search" or self.units_rescore_scale == 0
        require(fits, f"units_rescore_scale needs modified_beam_search, not {method}")
        fits = method == "lexicon_search" or not (self.word_score or self.token_scale or self.lexicon_texts)
        require(fits, f"word_score, token_scale and lexicon_texts need lexicon_search, not {method}")
        require(all(self.lexicon_texts), "lexicon_texts must name files, got an empty name")
        has_graph = method != "fast_beam_search_nbest_LG" or self.lg_file is not None
        require(
            has_graph, f"{method} needs a graph: make one with python -m ml2021.asr.search.lg_graph, name it lg_file"
        )
        fits = method in FUSION_METHODS or not self.has_fusion
        require(fits, f"lm_scale and hotwords_file need one of {', '.join(FUSION_METHODS)}, not {method}")
        for name, methods in SUBTRACTED.items():
            fits = method in methods or getattr(self, name) == 0
            require(fits, f"{name} needs one of {', '.join(methods)}, not {method}")
        fits = self.lm_scale > 0 or self.lodr_scale == 0
        require(fits, "lodr_scale goes with a language model of more text: set lm_scale too, or lodr_scale: 0")

    @property
    def num_hypotheses(self) -> int:
        """How many hypotheses a beam search keeps."""
        default = 32 if self.decoding_method == "lexicon_search" else 4  # many words there sound alike
        return default if self.beam_size is None else self.beam_size

    @property
    def needs_units(self) -> bool:
        """Whether the model must have a head on units of pronunciation."""
        rescores = self.decoding_method == "modified_beam_search" and self.units_rescore_scale > 0
        return rescores or self.decoding_method == "lexicon_search"

    @property
    def has_fusion(self) -> bool:
        """Whether a language model or hotwords are used."""
        return self.lm_scale > 0 or self.hotwords_file is not None
