#!/usr/bin/env python3
"""Stage 1: Lhotse manifests of the lectures, checked."""

from __future__ import annotations

from lhotse_prep.stages import Input, Stage, run_main, stage_parser


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    stage = Stage("manifests", args.data / "manifests", [Input(args.data / "source", 0)], {})
    if stage.is_done():
        return
    from lhotse_prep.manifests import prepare_ml2021

    with stage.work() as out:
        prepare_ml2021(args.data / "source", out)


if __name__ == "__main__":
    run_main(main)
