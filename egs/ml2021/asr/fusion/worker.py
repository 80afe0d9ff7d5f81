"""The language model's training in one of several processes, run by stage 6, which keeps the books.

By hand, use python -m ml2021.asr.fusion.train.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.fusion.train_lm import train_lm
from ml2021.training.distributed import in_world
from ml2021.training.launch import run_worker


def arguments_of(cuts: Path, texts: Path, lang: Path, lm_dir: Path, config: LmConfig) -> Sequence[str]:
    """The command line of main."""
    folders = {"cuts": str(cuts), "texts": str(texts), "lang": str(lang), "lm_dir": str(lm_dir)}
    return [json.dumps(folders | {"config": to_mapping(config)})]


def main(argv: list[str]) -> None:
    """Train with the arguments of arguments_of."""
    job = json.loads(argv[0])
    config = from_mapping(job.pop("config"), LmConfig, "decode.yaml")
    cuts, texts, lang, lm_dir = (Path(job[name]) for name in ("cuts", "texts", "lang", "lm_dir"))
    with in_world() as (world, device):
        train_lm(cuts, texts, lang, lm_dir, config, world=world, device=device)


if __name__ == "__main__":
    run_worker(main)
