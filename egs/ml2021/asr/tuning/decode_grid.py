"""Decode the windows of a part with many configurations; each batch is read and encoded once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import FusionSettings
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.fusion.scorer import Scorer
from ml2021.asr.model.load import load_model
from ml2021.asr.search.methods import encoded, search_encoder_out, token_table
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.tuning.grid import Combination
from ml2021.asr.tuning.outcome import Outcome, ranked
from ml2021.asr.words.script import convert_text
from ml2021.scoring.counts import Counts, by_utterance, score

logger = logging.getLogger(__name__)
Row = tuple[str, str, str]  # cut id, reference, hypothesis


def outcomes_of(
    exp_dir: Path,
    cuts_dir: Path,
    part: str,
    combinations: Sequence[Combination],
    weights: dict[str, Tensor] | None = None,
) -> list[Outcome]:
    """Decode the windows of a part with each combination, as `ml2021.asr.decode` does; the best one is the first.

    Args:
      exp_dir: of the model.
      cuts_dir: stage 4's folder.
      combinations: with the same max_duration.
      weights: see load_model.
    Raises:
      DataError: the part has no windows, or a file of the model, a language model, lexicon or hotwords is at fault.
      ConfigError: the model lacks what a combination needs.
    """
    data = AsrDataModule(cuts_dir, AsrDataConfig(), seed=0)
    if next(iter(data.cuts(part)), None) is None:
        raise DataError(f"the {part} part has no windows to decode in {cuts_dir}: there is nothing to choose values by")
    model, tokens = load_model(exp_dir, weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    configs = [c.config for c in combinations]
    fusions = _fusions(configs, tokens, device)
    tables = [token_table(model, tokens, config) for config in configs]
    needs_units = any(config.needs_units for config in configs)
    all_rows: list[list[Row]] = [[] for _ in configs]
    logger.info("%s: %d combinations of values", part, len(configs))
    batches = data.eval_batches(part, configs[0].max_duration)
    for batch in tqdm(batches, desc=f"decoding {part}", disable=not sys.stderr.isatty(), leave=False):
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        encoder_out, lens, below = encoded(model, batch["inputs"], supervisions["num_frames"][order], needs_units)
        for config, fusion, table, rows in zip(configs, fusions, tables, all_rows, strict=True):
            hypotheses = search_encoder_out(model, encoder_out, lens, config, fusion, below)
            for i, hypothesis in zip(order.tolist(), hypotheses, strict=True):
                text = convert_text(table.decode(hypothesis.tokens), config.script)
                rows.append((supervisions["cut"][i].id, supervisions["text"][i], text))
    return ranked([Outcome(c, _errors(rows)) for c, rows in zip(combinations, all_rows, strict=True)])


def _fusions(configs: Sequence[DecodeConfig], tokens: TokenTable, device: torch.device) -> list[Scorer | None]:
    """The language model and hotwords of each configuration; those with equal ones share them."""
    loaded: dict[tuple[object, ...], Scorer | None] = {}
    names = [name for name, value in vars(FusionSettings).items() if isinstance(value, property)]
    keys = [tuple(getattr(config, name) for name in names) for config in configs]
    for key, config in zip(keys, configs):
        if key not in loaded:
            loaded[key] = load_fusion(config, tokens, device)
    return [loaded[key] for key in keys]


def _errors(rows: Sequence[Row]) -> list[Counts]:
    return [u.total for u in by_utterance(score(sorted(rows)))]
