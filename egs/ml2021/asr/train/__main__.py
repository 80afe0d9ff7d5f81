"""Command line of stage 5's training: `python -m ml2021.asr.train --help`."""

from __future__ import annotations

from lhotse_prep.workflow.entry import run_main
from ml2021.asr.train.options import parse_arguments


def main(argv: list[str]) -> None:
    """Train with the options of the command line."""
    args = parse_arguments(argv)
    from ml2021.asr.train.train import train_by_hand

    train_by_hand(args)


if __name__ == "__main__":  # a worker process imports this module too
    run_main(main)
