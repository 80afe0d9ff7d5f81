"""Stage 5 with icefall: its zipformer/train.py, with the same initial weights and batches as our own trainer."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_json
from ml2021.asr.icefall.bpe_model import num_with_other_ids, require_same_ids, sentencepiece_model
from ml2021.asr.icefall.checkout import Checkout
from ml2021.asr.icefall.options import as_icefall_trains, differences, train_options
from ml2021.asr.model.recogniser import AsrModel, num_parameters
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.first_weights import init_from
from ml2021.asr.train.options import TrainOptions, write_asr_config
from ml2021.asr.train.token_weights import start_tokens
from ml2021.training.checkpoint import epoch_numbers, load_averaged, save_checkpoint

logger = logging.getLogger(__name__)
START = "checkpoint-1.pt"  # passes the initial weights to icefall, as a checkpoint after 0 steps


def train_with_icefall(
    checkout: Checkout,
    cuts: Path,
    lang: Path,
    exp_dir: Path,
    config: AsrConfig,
    options: TrainOptions,
    num_gpus: int = 1,
) -> None:
    """Train all epochs, resuming after the last complete epoch in exp_dir, and write the files that our trainer writes.

    Args:
      checkout: from find_checkout.
      cuts: stage 4's folder.
      lang: stage 2's folder; it is copied to exp_dir/lang.
      exp_dir: gets icefall's epoch-N.pt, log/ and tensorboard/, and our pretrained.pt, config.json, lang/, scores.json.
      config: values that icefall has no option for are replaced by icefall's; the log lists them.
      options: only init_from, init_modules and decode are used.
      num_gpus: icefall's --world-size.
    Raises:
      DataError: the tokens or texts cannot be used with icefall, or its script failed.
    """
    tokens = load_lang(lang)
    resolved = as_icefall_trains(config)
    for difference in differences(config, resolved):
        logger.info("icefall trains with %s", difference)
    AsrDataModule(cuts, resolved.data, resolved.train.seed).prepare()  # may raise, so before anything is written
    exp_dir.mkdir(parents=True, exist_ok=True)
    shutil.copytree(lang, exp_dir / "lang", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".done"))
    write_bpe_model(exp_dir / "lang" / "icefall.model", tokens, cuts, resolved)
    write_asr_config(exp_dir, resolved, options.decode)
    epochs = epoch_numbers(exp_dir)
    num_epochs = resolved.train.num_epochs
    num_parameters_asr = _write_start(exp_dir / START, resolved, tokens, options)
    if not epochs or epochs[-1] < num_epochs:
        start = {"start-epoch": epochs[-1] + 1} if epochs else {"start-batch": 1}
        processes = {"world-size": num_gpus} if num_gpus > 1 else {}
        checkout.run("train", train_options(cuts.resolve(), exp_dir.resolve(), resolved) | start | processes)
    (exp_dir / START).unlink()
    weights = load_averaged(exp_dir, num_epochs, min(resolved.train.average_epochs, num_epochs), True)
    save_checkpoint(exp_dir / "pretrained.pt", {"model": {k: v.float() for k, v in weights.items()}})
    write_json(exp_dir / "scores.json", {"num_parameters_asr": num_parameters_asr})


def write_bpe_model(path: Path, tokens: TokenTable, cuts: Path, config: AsrConfig) -> None:
    """Write the tokens as a sentencepiece model for icefall.

    Raises:
      DataError: there are no training or dev windows, or their texts would get other ids.
    """
    model = sentencepiece_model(tokens)
    data = AsrDataModule(cuts, config.data, config.train.seed)
    texts = [c.supervisions[0].text for c in data.train_cuts()]
    if not texts:
        raise DataError(f"the train part has no windows in {cuts}")
    if next(iter(data.cuts("dev")), None) is None:
        raise DataError(f"the dev part has no windows in {cuts}, and icefall needs some; train with --trainer ml2021")
    require_same_ids(model, tokens, texts)
    if others := num_with_other_ids(model, tokens, (c.supervisions[0].text for c in data.cuts("dev"))):
        logger.warning(
            "%d dev windows have characters that the training part lacks; icefall counts each as two tokens, so its "
            "dev loss is higher than that of --trainer ml2021",
            others,
        )
    with whole_file(path, "wb") as f:
        f.write(model)


def _write_start(path: Path, config: AsrConfig, tokens: TokenTable, options: TrainOptions) -> int:
    """Write the initial weights of our trainer as a checkpoint for icefall to start from; returns their number."""
    torch.manual_seed(config.train.seed)
    model = AsrModel(config.model, len(tokens))
    if options.init_from is not None:
        init_from(model, options.init_from, options.init_modules)
        if config.init_tokens_from_aligner:
            start_tokens(model, options.init_from, tokens)
    progress = {"best_train_loss": float("inf"), "best_valid_loss": float("inf")}  # none yet
    progress |= {"best_train_epoch": -1, "best_valid_epoch": -1, "batch_idx_train": 0, "cur_epoch": 1}
    weights = model.state_dict()
    with whole_file(path, "wb") as f:
        torch.save({"model": weights, "model_avg": weights, **progress}, f)
    return num_parameters(model)
