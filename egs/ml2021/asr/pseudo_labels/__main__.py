"""python -m ml2021.asr.pseudo_labels --help"""

from __future__ import annotations

from lhotse_prep.workflow.entry import run_main
from ml2021.asr.pseudo_labels.options import parse_options


def main(argv: list[str]) -> None:
    """Make windows to train on of recordings without text."""
    args = parse_options(argv)
    from ml2021.asr.pseudo_labels.make import run

    run(args)


if __name__ == "__main__":  # worker processes import this module too
    run_main(main)
