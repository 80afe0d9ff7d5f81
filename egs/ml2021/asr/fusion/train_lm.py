"""Trains a language model for shallow fusion; the command is python -m ml2021.asr.fusion.train."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch

from lhotse_prep.manifests.files import UNTRANSLATED
from lhotse_prep.tokens.lang import lang_hash, load_lang, tokens_txt
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.windows.read import read_windows
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl, write_json, write_text
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.fusion.arpa import write_arpa
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.fusion.ngram import perplexity, train_ngram
from ml2021.asr.fusion.rnn import RnnLm
from ml2021.asr.fusion.task import LmTask
from ml2021.training.config import TrainConfig
from ml2021.training.distributed import World
from ml2021.training.trainer import Trainer

logger = logging.getLogger(__name__)


def train_lm(
    cuts: Path,
    texts: Path | None,
    lang: Path,
    lm_dir: Path,
    config: LmConfig,
    begin: Callable[[], None] = lambda: None,
    world: World | None = None,
    device: torch.device | None = None,
) -> None:
    """Train a language model and write it to lm_dir: config.json, tokens.txt, and lm.arpa or pretrained.pt.

    Args:
      cuts: stage 4's folder; trains on the texts of the train windows and measures the perplexity of dev.
      texts: more texts to train on, as lines of {"text": ...}: manifests/texts.jsonl; an untranslated.jsonl beside it
        is read too.
      lang: stage 2's folder.
      lm_dir: where the model goes.
      config: kind and sizes.
      begin: called when the training is about to begin.
      world: this process among all processes; None: it is the only one. An n-gram model is counted by the main process.
      device: where to compute; None: a GPU if there is one.
    Raises:
      ConfigError: the kind is none.
      DataError: there are no texts to train on, or files are missing.
    """
    if config.kind == "none":
        raise ConfigError("the language model's kind is none: choose ngram or rnn (--kind, or lm.kind in decode.yaml)")
    tokens = load_lang(lang)
    train = _window_texts(cuts, "train", tokens)
    if texts is not None:
        files = [texts, *(p for p in [texts.with_name(UNTRANSLATED)] if p.is_file())]
        train += [tokens.encode(text) for path in files for text in _texts(path)]
    train = [t for t in train if t]
    if not train:
        raise DataError(f"no texts to train a language model on: {cuts} has no train windows with text")
    valid = _window_texts(cuts, "dev", tokens)
    world = world or World()
    if world.is_main:
        begin()
        write_json(lm_dir / "config.json", to_mapping(config))
        write_text(lm_dir / "tokens.txt", tokens_txt(tokens.symbols))
    if config.kind == "rnn":
        torch.manual_seed(config.train.seed)
        task = LmTask(train, valid, config.rnn, config.train.seed, lang_hash(lang), tokens.special.bos)
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        perplexity_dev = _train_rnn(RnnLm(config.rnn, len(tokens)), task, lm_dir, config.train, device, world)
    if not world.is_main:
        return
    if config.kind == "ngram":
        perplexity_dev = _train_ngram(train, valid, tokens, lm_dir, config)
    num_tokens = sum(map(len, train))
    logger.info("%s: %d texts, %d tokens, perplexity of dev %.1f", config.kind, len(train), num_tokens, perplexity_dev)
    write_json(lm_dir / "scores.json", {"lm_perplexity_dev": round(perplexity_dev, 2), "lm_num_tokens": num_tokens})


def _train_ngram(
    train: list[list[int]], valid: list[list[int]], tokens: TokenTable, lm_dir: Path, config: LmConfig
) -> float:
    """Write lm.arpa; return the perplexity of dev."""
    symbols = tokens.symbols
    vocabulary = [s for i, s in enumerate(symbols) if i not in tokens.special.silent]
    model = train_ngram([[symbols[i] for i in t] for t in train], vocabulary, config.order)
    write_arpa(lm_dir / "lm.arpa", model)
    return perplexity(model, ([symbols[i] for i in t] for t in valid))


def _train_rnn(
    model: RnnLm, task: LmTask, lm_dir: Path, config: TrainConfig, device: torch.device, world: World
) -> float:
    """Train to pretrained.pt; return the perplexity of dev."""
    Trainer(model, task, config, lm_dir, device, world).run()
    model.eval()
    with torch.no_grad():
        results = [task.compute_loss(model, batch, 0) for batch in task.valid_batches()]
    return math.exp(float(sum(r.sums["nll"] for r in results)) / max(1.0, sum(r.weight for r in results)))


def _texts(path: Path) -> list[str]:
    try:
        return [str(row["text"]) for row in read_jsonl(path)]
    except (KeyError, TypeError) as e:
        raise DataError(f'{path}: each line must be {{"text": ...}}, as in manifests/texts.jsonl ({e!r})') from e


def _window_texts(cuts: Path, part: str, tokens: TokenTable) -> list[list[int]]:
    return [tokens.encode(c.supervisions[0].text) for c in read_windows(cuts, part)]
