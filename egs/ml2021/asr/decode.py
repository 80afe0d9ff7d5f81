"""Stage 6: windows of a part decoded and scored.

python -m ml2021.asr.decode --exp-dir exp/mini/asr --cuts data/mini/cuts --part test --epoch 20 --avg 5
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lhotse_prep.errors import DataError
from lhotse_prep.stages import run_main, write_json
from lhotse_prep.tokens import TokenTable
from ml2021.asr.datamodule import AsrDataModule
from ml2021.asr.decode_options import config_of, parser, suffix_of, weights_of
from ml2021.asr.lm.load import load_fusion
from ml2021.asr.load import load_model
from ml2021.asr.model import AsrModel
from ml2021.asr.search.methods import search
from ml2021.config import AsrDataConfig, DecodeConfig
from ml2021.scoring.error_rate import ErrorRate, write_icefall_files

logger = logging.getLogger(__name__)


def decode_cuts(
    model: AsrModel, tokens: TokenTable, cuts_dir: Path, part: str, config: DecodeConfig
) -> list[tuple[str, str, str]]:
    """(cut id, reference, hypothesis) of each window of a part, by id."""
    results = []
    fusion = load_fusion(config, tokens, next(model.parameters()).device)
    data = AsrDataModule(cuts_dir, AsrDataConfig(), seed=0)
    batches = data.eval_batches(part, config.max_duration)
    for batch in tqdm(batches, desc=f"decoding {part}", disable=not sys.stderr.isatty(), leave=False):
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"]).tolist()
        hypotheses = search(model, batch["inputs"], supervisions["num_frames"][order], config, fusion)
        for index, hypothesis in zip(order, hypotheses):
            cut = supervisions["cut"][index]
            results.append((cut.id, supervisions["text"][index], tokens.decode(hypothesis.tokens)))
    return sorted(results)


def decode_part(
    exp_dir: Path, cuts_dir: Path, part: str, out_dir: Path, config: DecodeConfig, weights: dict[str, Tensor] | None,
    suffix: str,
) -> ErrorRate:  # fmt: skip
    """Decode the windows of a part and write recogs-, errs-, wer-summary- files to out_dir."""
    model, tokens, _ = load_model(exp_dir, weights)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    started = time.time()
    results = decode_cuts(model, tokens, cuts_dir, part, config)
    if not results:
        raise DataError(f"the {part} part has no windows to decode in {cuts_dir}")
    rate = write_icefall_files(out_dir, part, suffix, config.decoding_method, results)
    logger.info("%s: %d windows in %.1f s, MER %s", part, len(results), time.time() - started, rate.total)
    return rate


def main(argv: list[str]) -> None:
    """Decode windows with the model of an experiment folder and score them."""
    args = parser().parse_args(argv)
    config = config_of(args)
    weights, name = weights_of(args)
    suffix = suffix_of(config, name, args.use_averaged_model)
    out_dir = args.out_dir or args.exp_dir / config.decoding_method
    rate = decode_part(args.exp_dir, args.cuts, args.part, out_dir, config, weights, suffix)
    write_json(out_dir / f"scores-{args.part}-{suffix}.json", {"mer_windows": rate.percents()})


if __name__ == "__main__":
    run_main(main)
