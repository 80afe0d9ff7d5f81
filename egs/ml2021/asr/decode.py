"""Stage 6: windows of a part decoded and scored.

python -m ml2021.asr.decode --exp-dir exp/mini/asr --cuts data/mini/cuts --part test --epoch 20 --avg 5
python -m ml2021.asr.decode --long --help     # whole lectures
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from lhotse_prep.config import load_config
from lhotse_prep.errors import ConfigError, DataError
from lhotse_prep.stages import run_main, write_json
from lhotse_prep.tokens import TokenTable
from ml2021.asr.datamodule import AsrDataModule
from ml2021.asr.load import load_model
from ml2021.asr.model import AsrModel
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.checkpoint import load_averaged
from ml2021.config import AsrDataConfig, DecodeConfig
from ml2021.scoring.error_rate import ErrorRate, write_icefall_files

logger = logging.getLogger(__name__)
METHODS = ("greedy_search",)


@torch.no_grad()
def search(
    model: AsrModel, features: torch.Tensor, feature_lens: torch.Tensor, config: DecodeConfig
) -> list[Hypothesis]:
    """Hypotheses of a batch: features (N, T, F), feature_lens (N,), by the method that the configuration names."""
    if config.decoding_method not in METHODS:
        raise ConfigError(f"decoding_method must be one of {', '.join(METHODS)}, got {config.decoding_method!r}")
    device = next(model.parameters()).device
    encoder_out, lens = model.forward_encoder(features.to(device), feature_lens.to(device))
    return greedy_search(model, encoder_out, lens, config.blank_penalty)


def decode_cuts(
    model: AsrModel, tokens: TokenTable, cuts_dir: Path, part: str, config: DecodeConfig
) -> list[tuple[str, str, str]]:
    """(cut id, reference, hypothesis) of each window of a part, by id."""
    results = []
    data = AsrDataModule(cuts_dir, AsrDataConfig(), seed=0)
    batches = data.eval_batches(part, config.max_duration)
    for batch in tqdm(batches, desc=f"decoding {part}", disable=not sys.stderr.isatty(), leave=False):
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"]).tolist()
        hypotheses = search(model, batch["inputs"], supervisions["num_frames"][order], config)
        for index, hypothesis in zip(order, hypotheses):
            cut = supervisions["cut"][index]
            results.append((cut.id, supervisions["text"][index], tokens.decode(hypothesis.tokens)))
    return sorted(results)


def decode_part(
    exp_dir: Path, cuts_dir: Path, part: str, out_dir: Path, config: DecodeConfig, weights: dict | None, suffix: str
) -> ErrorRate:
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
    """Decode windows with the model of an experiment folder and score them; --long: whole lectures (--long --help)."""
    if "--long" in argv:
        from ml2021.asr import decode_long  # which imports this module

        decode_long.main([a for a in argv if a != "--long"])
        return
    parser = argparse.ArgumentParser(prog="python -m ml2021.asr.decode", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--exp-dir", type=Path, required=True, help="stage 5's folder, such as exp/mini/asr")
    parser.add_argument("--cuts", type=Path, required=True, help="stage 4's folder, such as data/mini/cuts")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder with decode.yaml [%(default)s]")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test", help="[%(default)s]")
    parser.add_argument("--epoch", type=int, help="decode with epoch-N.pt; without it: pretrained.pt")
    parser.add_argument("--avg", type=int, default=1, help="average over so many epochs up to --epoch [%(default)s]")
    parser.add_argument("--use-averaged-model", type=_boolean, default=True, help="average by model_avg [%(default)s]")
    parser.add_argument("--decoding-method", choices=METHODS, help="[that of decode.yaml]")
    parser.add_argument("--max-duration", type=float, help="seconds of audio a batch [that of decode.yaml]")
    parser.add_argument("--out-dir", type=Path, help="where the files go [EXP_DIR/METHOD]")
    args = parser.parse_args(argv)
    config = load_config(args.conf / "decode.yaml", "decode", DecodeConfig)
    method = args.decoding_method or config.decoding_method
    config = DecodeConfig(method, args.max_duration or config.max_duration, config.blank_penalty, config.long_form)
    weights, suffix = None, method
    if args.epoch is not None:
        weights = load_averaged(args.exp_dir, args.epoch, args.avg, args.use_averaged_model)
        averaged = "-use-averaged-model" if args.use_averaged_model else ""
        suffix = f"epoch-{args.epoch}-avg-{args.avg}-{method}{averaged}"
    out_dir = args.out_dir or args.exp_dir / method
    rate = decode_part(args.exp_dir, args.cuts, args.part, out_dir, config, weights, suffix)
    write_json(out_dir / f"scores-{args.part}-{suffix}.json", {"mer_windows": rate.percents()})


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"true or false, got {text!r}")
    return text.lower() in ("true", "1")


if __name__ == "__main__":
    run_main(main)
