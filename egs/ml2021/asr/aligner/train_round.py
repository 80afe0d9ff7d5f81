"""Trains the aligner for a round, in this process or in several; stage 3 keeps the books.

python -m ml2021.asr.aligner.train_round FOLDER   # as run by training.launch.run_processes
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.windows import AlignerTask, Window, read_windows, write_windows
from ml2021.asr.model.recogniser import CtcModel
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.distributed import in_world
from ml2021.training.launch import Processes, run_processes, run_worker
from ml2021.training.trainer import Trainer

_ROUND, _WINDOWS, _START = "round.json", "windows.jsonl", "start.pt"


@dataclass(frozen=True)
class Round:
    """A round of training."""

    config: AlignerConfig
    train: TrainConfig  # of this round
    first_step: int  # steps of all earlier rounds
    folder: Path  # for checkpoints and pretrained.pt


def train_round(
    model: nn.Module,
    num_units: int,
    windows: Sequence[Window],
    plan: Round,
    device: torch.device,
    processes: Processes,
    work_dir: Path,
) -> None:
    """Train a model until plan.folder has its pretrained.pt.

    Args:
      model: with the weights to start from; in this process it is trained itself.
      num_units: of the model, with blank.
      windows: in memory if processes is one.
      plan: the round.
      device: of the model.
      processes: in which to train.
      work_dir: for what several processes read.
    Raises:
      DataError: a process failed.
    """
    if processes.size == 1:
        task = AlignerTask(windows, plan.config, plan.first_step)
        Trainer(model, task, plan.train, plan.folder, device).run()
        return
    save_checkpoint(work_dir / _START, {"model": model.state_dict()})
    write_windows(work_dir / _WINDOWS, windows)
    values: dict[str, Any] = {
        "config": to_mapping(plan.config),
        "train": to_mapping(plan.train),
        "first_step": plan.first_step,
        "folder": str(plan.folder.absolute()),
        "num_units": num_units,
    }
    write_json(work_dir / _ROUND, values)
    run_processes("ml2021.asr.aligner.train_round", [str(work_dir.absolute())], processes)


def main(argv: list[str]) -> None:
    """Train what train_round wrote to a folder."""
    work_dir = Path(argv[0])
    values = json.loads((work_dir / _ROUND).read_text(encoding="utf-8"))
    config = from_mapping(values["config"], AlignerConfig, "aligner")
    train = from_mapping(values["train"], TrainConfig, "aligner.train")
    with in_world() as (world, device):
        model = CtcModel(config.encoder, values["num_units"])
        model.load_state_dict(load_checkpoint(work_dir / _START)["model"])
        task = AlignerTask(read_windows(work_dir / _WINDOWS), config, values["first_step"])
        world = replace(world, shares_batches=world.size > 1)  # on GPUs too: the rounds count steps of whole batches
        Trainer(model.to(device), task, train, Path(values["folder"]), device, world).run()


if __name__ == "__main__":
    run_worker(main)
