"""Stage 5: train the recogniser, and save what decoding needs beside the checkpoints.

python -m ml2021.asr.train --conf conf/mini --manifest-dir data/mini/cuts --lang-dir data/mini/lang --exp-dir exp/asr
torchrun --nproc-per-node 2 -m ml2021.asr.train ...
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from argparse import Namespace
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lhotse_prep.tokens.lang import lang_hash, load_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import write_json, write_text
from lhotse_prep.workflow.locks import folder_lock
from ml2021.asr.model.fine_tuning import keep_base
from ml2021.asr.model.layers.fused import use_compiled
from ml2021.asr.model.recogniser import AsrModel, num_parameters
from ml2021.asr.model.spelling import UNITS
from ml2021.asr.train.config import AsrConfig, require_base
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.first_weights import UNITS_HEAD, init_from
from ml2021.asr.train.options import TrainOptions, config_of, options_of, write_asr_config
from ml2021.asr.train.stage import training_by_hand
from ml2021.asr.train.task import TransducerTask
from ml2021.asr.train.token_weights import known_tokens, start_tokens
from ml2021.asr.train.units import init_units_head, units_for
from ml2021.asr.train.unknown_words import require_writable
from ml2021.training.diagnostics import inf_check
from ml2021.training.distributed import World, join_world, leave_world
from ml2021.training.trainer import Trainer

logger = logging.getLogger(__name__)


def train_recogniser(
    cuts: Path | None,
    lang: Path,
    exp_dir: Path,
    config: AsrConfig,
    options: TrainOptions | None = None,
    world: World | None = None,
    device: torch.device | None = None,
) -> None:
    """Train to the end, resuming from the newest checkpoint in exp_dir.

    Args:
      cuts: stage 4's folder; None: none, as the configuration names Shar for train and dev.
      lang: stage 2's folder; it is copied to exp_dir/lang.
      exp_dir: receives epoch-N.pt, pretrained.pt, tensorboard/, config.json, lang/, scores.json, and units/ with a head
        on units.
      config: model, data and training.
      options: options of this start.
      world: this process among all processes; None: it is the only one.
      device: where to compute; None: a GPU if there is one.
    Raises:
      DataError: the checkpoints in exp_dir are of another training, the tokens cannot write
        the texts, or files are missing or damaged, those of noises and impulse responses too.
      ConfigError: config.compile is true, but torch.compile does not work here; a module or layer that the
        configuration names does not exist; there is no checkpoint for LoRA or adapters to start from.
    """
    options, world = options or TrainOptions(), world or World()
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_compiled(config.compile, device)
    tokens = load_lang(lang)
    data = AsrDataModule(cuts, config.data, config.train.seed, config.model.use_cr_ctc)
    units = units_for(config.model, options.init_from, data)
    torch.manual_seed(config.train.seed)
    model = AsrModel(config.model, len(tokens), 0 if units is None else len(units))
    size = num_parameters(model)
    _initialise(model, config, options, lang, tokens)
    task = TransducerTask(data, tokens, lang_hash(lang), config, units)
    trainer = Trainer(model, task, config.train, exp_dir, device, world)
    trainer.resume(options.start)  # may raise, so before anything is written
    require_writable(data, tokens, lang)
    data.prepare()
    logger.info("%d tokens, %d parameters", len(tokens), size)
    if config.keeps_base:
        logger.info("%d parameters are trained", num_parameters(model))
    with inf_check(model) if options.inf_check else contextlib.nullcontext():
        if options.print_diagnostics:
            table = trainer.diagnose()
            if world.is_main:
                write_text(exp_dir / "diagnostics.txt", table)
                logger.info("statistics of the modules, also in %s:\n%s", exp_dir / "diagnostics.txt", table)
            return
        if world.is_main:
            shutil.copytree(lang, exp_dir / "lang", dirs_exist_ok=True, ignore=shutil.ignore_patterns(".done"))
            if units is not None:
                units.save(exp_dir / UNITS)
            write_asr_config(exp_dir, config, options.decode)
            options.begin()
        trainer.fit()
    if world.is_main:
        write_json(exp_dir / "scores.json", {"num_parameters_asr": size})


def train_by_hand(args: Namespace) -> None:
    """Train with the options of parse_arguments."""
    config = config_of(args)
    world, device = join_world()
    try:
        options = options_of(args, world.size)
        stage = training_by_hand(
            args.manifest_dir, args.lang_dir, args.exp_dir, config, options.init_from, options.init_modules
        )
        options = replace(options, begin=stage.begin)  # so that stage 5 goes on with this training
        if not world.is_main:
            logging.getLogger().setLevel(logging.ERROR)  # only the main process logs
        with folder_lock(args.exp_dir) if world.is_main else contextlib.nullcontext():
            train_recogniser(args.manifest_dir, args.lang_dir, args.exp_dir, config, options, world, device)
    finally:
        leave_world()


def _initialise(model: AsrModel, config: AsrConfig, options: TrainOptions, lang: Path, tokens: TokenTable) -> None:
    """The weights to start with, and which of them are trained."""
    require_base(config, options.init_from is not None)
    if options.init_from is not None:
        known = known_tokens(options.init_from, tokens)
        new: Collection[str] = init_from(model, options.init_from, options.init_modules, known)
        if config.init_tokens_from_aligner:
            start_tokens(model, options.init_from, tokens)
        if config.model.has_units_head:
            new = {name for name in new if not name.startswith(UNITS_HEAD)} | init_units_head(model, options.init_from)
        if config.keeps_base:
            keep_base(model, config.lora, new)
    _require_modules(model, config.freeze_modules)


def _require_modules(model: AsrModel, names: Sequence[str]) -> None:
    """Raise ConfigError if one of the modules to freeze is not in the model."""
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules or not name:
            children = ", ".join(child for child, _ in model.named_children())
            raise ConfigError(
                f"freeze_modules: the model has no module {name!r}; it has {children}, and parts of these"
            )
