"""The recogniser's training in one of several processes, run by stage 5, which keeps the books.

By hand, use python -m ml2021.asr.train.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import TrainOptions
from ml2021.asr.train.train import train_recogniser
from ml2021.training.distributed import in_world
from ml2021.training.launch import run_worker


@dataclass(frozen=True)
class Job:
    """What train_recogniser is called with."""

    cuts: Path | None
    lang: Path
    exp_dir: Path
    config: AsrConfig
    options: TrainOptions

    def arguments(self) -> Sequence[str]:
        """The command line of main."""
        options = {
            "init_from": None if self.options.init_from is None else str(self.options.init_from),
            "init_modules": list(self.options.init_modules),
            "decode": self.options.decode,
        }
        cuts = None if self.cuts is None else str(self.cuts)
        job = {"cuts": cuts, "lang": str(self.lang), "exp_dir": str(self.exp_dir), "options": options}
        return [json.dumps(job | {"config": to_mapping(self.config)})]


def main(argv: list[str]) -> None:
    """Train with the arguments of a Job."""
    job = json.loads(argv[0])
    config = from_mapping(job["config"], AsrConfig, "asr.yaml")
    given = job["options"]
    init_from = None if given["init_from"] is None else Path(given["init_from"])
    options = TrainOptions(init_from=init_from, init_modules=tuple(given["init_modules"]), decode=given["decode"])
    cuts = None if job["cuts"] is None else Path(job["cuts"])
    with in_world() as (world, device):
        train_recogniser(cuts, Path(job["lang"]), Path(job["exp_dir"]), config, options, world, device)


if __name__ == "__main__":
    run_worker(main)
