"""Load a trained language model, and everything that a decoding configuration adds to the scores of hypotheses."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.fusion.arpa import read_arpa
from ml2021.asr.fusion.config import FusionSettings, LmConfig
from ml2021.asr.fusion.hotwords import Hotwords, read_hotwords
from ml2021.asr.fusion.ngram_scorer import NgramScorer
from ml2021.asr.fusion.rnn import RnnLm, RnnScorer
from ml2021.asr.fusion.scorer import Fusion, Scorer
from ml2021.training.checkpoint import load_checkpoint


def load_fusion(config: FusionSettings, tokens: TokenTable, device: torch.device) -> Scorer | None:
    """The language models and hotwords of a configuration; None if it has neither.

    Raises:
      ConfigError: lm_scale is set, but lm_dir is not; or lodr_scale, but not lodr_dir.
      DataError: a file is missing or damaged, or the language model's tokens are not those of the recogniser.
    """
    scorers: list[Scorer] = []
    if config.lm_scale > 0:
        if config.lm_dir is None:
            raise ConfigError("lm_scale needs a language model: name its folder with lm_dir (--lm-dir)")
        scorers.append(load_lm(Path(config.lm_dir), tokens, config.lm_scale, device))
    if config.lodr_scale > 0:
        if config.lodr_dir is None:
            raise ConfigError("lodr_scale needs a model of the transcripts: name its folder with lodr_dir (--lodr-dir)")
        scorers.append(load_lm(Path(config.lodr_dir), tokens, -config.lodr_scale, device))
    if config.hotwords_file is not None:
        terms = read_hotwords(Path(config.hotwords_file), tokens, config.hotwords_score)
        scorers.append(Hotwords(terms, len(tokens), device))
    return Fusion(scorers) if scorers else None


def load_lm(lm_dir: Path, tokens: TokenTable, scale: float, device: torch.device) -> Scorer:
    """Load the language model in a folder written by ml2021.asr.fusion.train, or that contains only an lm.arpa.

    Args:
      scale: factor of its log-probabilities; below 0: minus lodr_scale.
    Raises:
      DataError: the folder has no language model, it is damaged, or its tokens are not those of the recogniser.
    """
    config_path = lm_dir / "config.json"
    if not (config_path.is_file() or (lm_dir / "lm.arpa").is_file()):
        name = "lm" if scale > 0 else "lodr"
        raise DataError(
            f"no language model in {lm_dir}, and {name}_scale is {abs(scale):g}: stage 6 of run.sh trains one, as does "
            f"python -m ml2021.asr.fusion.train; to decode without one, use --{name}-scale 0 ({name}_scale: 0 in "
            "decode.yaml)"
        )
    if not config_path.is_file():
        return _ngram_scorer(lm_dir / "lm.arpa", tokens, scale, device)
    try:
        content = json.loads(config_path.read_text(encoding="utf-8"))
        symbols = (lm_dir / "tokens.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as e:
        raise DataError(f"the language model in {lm_dir} is incomplete ({e}); train it again") from e
    if [s.rpartition(" ")[0] for s in symbols if s] != tokens.symbols:
        raise DataError(
            f"the language model in {lm_dir} has {len(symbols) - 1} tokens that are not the {len(tokens)} of the "
            "recogniser; train it with the recogniser's lang folder"
        )
    config = from_mapping(content, LmConfig, str(config_path))
    if config.kind == "ngram":
        return _ngram_scorer(lm_dir / "lm.arpa", tokens, scale, device)
    model = RnnLm(config.rnn, len(tokens))
    model.load_state_dict(load_checkpoint(lm_dir / "pretrained.pt")["model"])
    return RnnScorer(model.to(device), scale, tokens.special.bos)


def _ngram_scorer(path: Path, tokens: TokenTable, scale: float, device: torch.device) -> NgramScorer:
    """The scorer of an ARPA file; raises DataError if one of its units, such as a word, is not a token."""
    model = read_arpa(path)
    units = [unit for (unit,) in model.tables[0] if not (unit.startswith("<") and unit.endswith(">"))]
    other = sorted(unit for unit in units if unit not in tokens.ids)
    if other:
        raise DataError(
            f"{len(other)} of {len(units)} units of {path} are not tokens of the recogniser ({', '.join(other[:5])}"
            f"{', ...' if len(other) > 5 else ''}): its units must be tokens, not words. Train it with "
            "python -m ml2021.asr.fusion.train, or on text that is split into the recogniser's tokens"
        )
    return NgramScorer(model, tokens.symbols, scale, device)
