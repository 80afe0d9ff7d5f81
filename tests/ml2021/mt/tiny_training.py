"""A program for test_repeatable.py: trains a tiny translator several times, each time in a process of its own.

python tiny_training.py BITEXT OUT NAME...

It writes OUT/NAME. The training `killed` gets SIGKILL inside its second epoch, and another process continues it.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

import torch
from torch import nn

from ml2021.mt.config import MtConfig, MtDataConfig, MtModelConfig
from ml2021.mt.data import MtBatch
from ml2021.mt.train import TranslationTask, train_translator
from ml2021.training.config import TrainConfig
from ml2021.training.task import StepLoss

CONFIG = MtConfig(  # with everything that is random in the recipe
    model=MtModelConfig(32, 2, 1, 1, 32, dropout=0.1),
    data=MtDataConfig(vocab_size=150, max_tokens=100, max_pieces=50, bpe_dropout=0.1),
    train=TrainConfig(num_epochs=2, warmup_steps=5, average_epochs=1, average_period=2, save_every_n=3),
)
LAST_STEP = 10  # of the killed training


def train(bitext: Path, exp_dir: Path) -> int:
    """Train in a forked process; returns its exit status."""
    child = os.fork()
    if child == 0:
        try:
            train_translator(bitext, exp_dir, CONFIG, torch.device("cpu"))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def train_until_killed(bitext: Path, exp_dir: Path) -> None:
    compute_loss = TranslationTask.compute_loss

    def killed(task: TranslationTask, model: nn.Module, batch: MtBatch, step: int) -> StepLoss:
        if step == LAST_STEP and model.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute_loss(task, model, batch, step)

    TranslationTask.compute_loss = killed
    assert os.WTERMSIG(train(bitext, exp_dir)) == signal.SIGKILL
    TranslationTask.compute_loss = compute_loss
    names = {p.name for p in exp_dir.glob("*.pt")}
    assert {"epoch-1.pt", f"checkpoint-{LAST_STEP // 3 * 3}.pt"} <= names, f"not inside the second epoch: {names}"


if __name__ == "__main__":
    bitext, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:]:
        if name == "killed":
            train_until_killed(bitext, out / name)
        assert train(bitext, out / name) == 0
