"""Decode and score the windows of a part: stage 6, and python -m ml2021.asr.decode --cuts.

python -m ml2021.asr.decode --exp-dir exp/mini/asr --cuts data/mini/cuts --part test --epoch 20 --avg 5
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.options import config_of, suffix_of, weights_of
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.fusion.scorer import Scorer
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.ctc_greedy import ctc_greedy_search
from ml2021.asr.search.methods import encoded, search_encoder_out, token_table
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.units import units_of
from ml2021.asr.words.script import convert_text
from ml2021.scoring.counts import Counts, ErrorRate, score
from ml2021.scoring.icefall_files import write_icefall_files

logger = logging.getLogger(__name__)
TextsOf = Callable[[dict[str, Any]], Sequence[str]]  # a batch -> what was recognised in each row of its features


def decode_cuts(
    model: AsrModel, tokens: TokenTable, cuts_dir: Path, part: str, config: DecodeConfig, fusion: Scorer | None = None
) -> list[tuple[str, str, str]]:
    """(cut id, reference, hypothesis) of each window of a part, sorted by id; `fusion` is from load_fusion."""
    return recognise_windows(cuts_dir, part, config.max_duration, texts_by_model(model, tokens, config, fusion))


class UnitsScore:
    """Counts the errors of a model's head on units of pronunciation, by CTC greedy search, batch after batch."""

    def __init__(self, units: PronunciationUnits) -> None:
        self.units, self.symbols = units, ["", *units.symbols]
        self.rows = list[tuple[str, str, str]]()  # of windows whose text the units can write

    def add(self, texts: Sequence[str], log_probs: Tensor, lens: Tensor) -> None:
        """Add the reference texts of utterances, and the log-probs of their units (N, T', V) with lengths (N,)."""
        for text, hypothesis in zip(texts, ctc_greedy_search(log_probs, lens), strict=True):
            if ref := units_of(text, self.units):
                before, after = (" ".join(self.symbols[i] for i in ids) for ids in (ref, hypothesis.tokens))
                self.rows.append((str(len(self.rows)), before, after))

    def counts(self) -> Counts:
        """The counts so far, which begin anew."""
        rows, self.rows = self.rows, []
        return score(rows).total


def texts_by_model(
    model: AsrModel,
    tokens: TokenTable,
    config: DecodeConfig,
    fusion: Scorer | None = None,
    units: UnitsScore | None = None,
) -> TextsOf:
    """What gives the texts of a batch with a model of this project, and adds its units to `units`."""
    table = token_table(model, tokens, config)

    def texts_of(batch: dict[str, Any]) -> list[str]:
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        needs_units = units is not None or config.needs_units
        encoder_out, lens, below = encoded(model, batch["inputs"], supervisions["num_frames"][order], needs_units)
        if units is not None and below is not None:
            with torch.inference_mode():
                log_probs = model.units_log_probs(below)
            units.add([supervisions["text"][i] for i in order.tolist()], log_probs, lens)
        hypotheses = search_encoder_out(model, encoder_out, lens, config, fusion, below)
        return [convert_text(table.decode(h.tokens), config.script) for h in hypotheses]

    return texts_of


def recognise_windows(cuts_dir: Path, part: str, max_duration: float, texts_of: TextsOf) -> list[tuple[str, str, str]]:
    """(cut id, reference, hypothesis) of each window of a part, sorted by id.

    Batches are read one after the other; of each, only its texts are kept.

    Args:
      max_duration: seconds of audio in a batch.
      texts_of: see TextsOf.
    """
    results = []
    batches = AsrDataModule(cuts_dir, AsrDataConfig(), seed=0).eval_batches(part, max_duration)
    for batch in tqdm(batches, desc=f"decoding {part}", disable=not sys.stderr.isatty(), leave=False):
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"]).tolist()
        for index, text in zip(order, texts_of(batch), strict=True):
            results.append((supervisions["cut"][index].id, supervisions["text"][index], text))
    return sorted(results)


def decode_parts(
    exp_dir: Path,
    cuts_dir: Path,
    parts: Sequence[str],
    out_dir: Path,
    config: DecodeConfig,
    weights: dict[str, Tensor] | None,
    suffix: str,
) -> dict[str, ErrorRate]:
    """Decode the windows of some parts and write recogs-, errs-, wer-summary- files of each to out_dir.

    Args:
      exp_dir: of the model, which is loaded once.
      cuts_dir: stage 4's folder.
      weights: see load_model.
      suffix: of the files' names.
    Raises:
      DataError: a part has no windows.
    """
    model, tokens = load_model(exp_dir, weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    units = None if model.spelling is None else UnitsScore(model.spelling.units)
    texts_of = texts_by_model(model, tokens, config, load_fusion(config, tokens, device), units)
    return score_parts(cuts_dir, parts, out_dir, config.max_duration, texts_of, suffix, config.decoding_method, units)


def score_parts(
    cuts_dir: Path,
    parts: Sequence[str],
    out_dir: Path,
    max_duration: float,
    texts_of: TextsOf,
    suffix: str,
    method: str,
    units: UnitsScore | None = None,
) -> dict[str, ErrorRate]:
    """Recognise the windows of some parts with anything, and write recogs-, errs-, wer-summary- files of each.

    Args:
      cuts_dir, out_dir, suffix: see decode_parts.
      max_duration, texts_of: see recognise_windows.
      method: the name of the decoding in the summary.
      units: what texts_of adds units to, if the recogniser has a head on them.
    Raises:
      DataError: a part has no windows.
    """
    rates = {}
    for part in parts:
        started = time.time()
        results = recognise_windows(cuts_dir, part, max_duration, texts_of)
        if not results:
            raise DataError(f"the {part} part has no windows to decode in {cuts_dir}")
        rates[part] = write_icefall_files(out_dir, part, suffix, method, results)
        if units is not None:
            rates[part].units = units.counts()
            logger.info("%s: error rate of the units of pronunciation %s", part, rates[part].units)
        seconds = time.time() - started
        logger.info("%s: %d windows in %.1f s, MER %s", part, len(results), seconds, rates[part].total)
    return rates


def run(args: argparse.Namespace) -> None:
    """Decode and score the windows of --cuts.

    Args:
      args: from options.parse_options.
    """
    config = config_of(args)
    weights, name = weights_of(args)
    suffix = suffix_of(config, name, args.use_averaged_model)
    out_dir = args.out_dir or args.exp_dir / config.decoding_method
    rates = decode_parts(args.exp_dir, args.cuts, [args.part], out_dir, config, weights, suffix)
    rate = rates[args.part]
    more = {} if rate.units is None else {"units_error_windows": rate.units.percent}
    write_json(out_dir / f"scores-{args.part}-{suffix}.json", {"mer_windows": rate.percents(), **more})
