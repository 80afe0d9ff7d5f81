"""Decode dev by both heads of a recogniser, transducer and CTC, to see which one to use; stage 6 does, once a model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler

from lhotse_prep.workflow.files import write_json
from ml2021.asr.model.load import load_model
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.methods import search_encoder_out
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.words.script import convert_text
from ml2021.scoring.counts import ErrorRate, by_utterance, score
from ml2021.scoring.significance import chance_of_improvement

logger = logging.getLogger(__name__)
TRANSDUCER, CTC = "greedy_search", "ctc_greedy_search"
MOST_SECONDS = 180.0  # of dev that is decoded: enough to see which head is better, and it takes a few seconds
_SURE = 0.975  # chance that CTC is better from which a warning is given


def compare_heads(exp_dir: Path, cuts_dir: Path, out_dir: Path, script: str = "") -> dict[str, ErrorRate] | None:
    """Decode windows of dev by both heads, encoded once; write heads.json; warn if the transducer is behind.

    Args:
      exp_dir: of the model.
      cuts_dir: stage 4's folder.
      out_dir: gets heads.json: {method: {"mer", "zh", "en"}} and the number of windows.
      script: see DecodeConfig.
    Returns:
      {method: its errors}; None, and nothing is written, if the CTC head was not trained.
    """
    model, tokens = load_model(exp_dir)
    if model.config.ctc_loss_scale == 0:
        return None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    data = AsrDataModule(cuts_dir, AsrDataConfig(), seed=0)
    cuts = sorted(spread(list(data.cuts("dev")), MOST_SECONDS), key=lambda c: (c.duration, c.id))
    sampler = SimpleCutSampler(CutSet.from_cuts(cuts), max_duration=200.0, shuffle=False, rank=0, world_size=1)
    results: dict[str, list[tuple[str, str, str]]] = {TRANSDUCER: [], CTC: []}
    for batch in data.load_eval(iter(sampler)):
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        with torch.inference_mode():
            encoded = model.forward_encoder(batch["inputs"].to(device), supervisions["num_frames"][order])
        for method, rows in results.items():
            hypotheses = search_encoder_out(model, *encoded, SearchConfig(method))
            for i, hypothesis in zip(order.tolist(), hypotheses, strict=True):
                text = convert_text(tokens.decode(hypothesis.tokens), script)
                rows.append((supervisions["cut"][i].id, supervisions["text"][i], text))
    rates = {method: score(rows) for method, rows in results.items()}
    write_json(out_dir / "heads.json", {"windows": len(cuts), **{name: r.percents() for name, r in rates.items()}})
    _report(rates, len(cuts))
    return rates


def spread(cuts: Sequence[Cut], most_seconds: float) -> list[Cut]:
    """Every k-th of the cuts, by id, so that they last about most_seconds at most."""
    every = math.ceil(sum(c.duration for c in cuts) / most_seconds)
    return sorted(cuts, key=lambda c: c.id)[:: max(1, every)]


def _report(rates: Mapping[str, ErrorRate], num_windows: int) -> None:
    by_transducer, by_ctc = rates[TRANSDUCER], rates[CTC]
    logger.info(
        "dev, %d windows, greedy search: MER by the transducer %s, by CTC %s",
        num_windows,
        by_transducer.total,
        by_ctc.total,
    )
    counts = [[u.total for u in by_utterance(rate)] for rate in (by_transducer, by_ctc)]
    chance = chance_of_improvement(*counts)
    if chance is not None and chance >= _SURE:
        logger.warning(
            "the transducer makes more errors on dev than the model's CTC head (MER %.1f%% and %.1f%%): decode with "
            "--decoding-method ctc_prefix_beam_search, or with modified_beam_search and --ctc-scale 0.5 "
            "(decoding_method and ctc_scale in decode.yaml), or train it for longer",
            by_transducer.total.percent,
            by_ctc.total.percent,
        )
