#!/usr/bin/env python3
"""Stage 7: pair the sentences of every lecture's transcript and translation; then add translations to the windows."""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage, read_done
from lhotse_prep.workflow.strict_config import load_config, to_mapping

logger = logging.getLogger("make_bitext")


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "prep.yaml", "bitext", BitextConfig)
    _pair_sentences(args.data, config)
    _translate_cuts(args.data)


def _pair_sentences(data: Path, config: BitextConfig) -> None:
    """Make data/bitext. It does not depend on the windows: the translator can be trained before stage 4."""
    inputs = [Input(data / "manifests", 1), Input(data / "aligned", 3, ("ml2021_supervisions_*",))]
    stage = Stage("bitext", data / "bitext", inputs, {"bitext": config}, old_options=to_mapping(config))
    if stage.is_done():
        return
    from lhotse_prep.bitext.write import make_bitext

    with stage.work() as out:
        make_bitext(data, out, config)


def _translate_cuts(data: Path) -> None:
    """Make data/translated_cuts if stage 4 has finished; otherwise log that it is missing."""
    if read_done(data / "cuts") is None:
        logger.info("translated cuts wait for stage 4 (windows), which has not finished; run stage 7 again after it")
        return
    stage = Stage("translated-cuts", data / "translated_cuts", [Input(data / "bitext", 7), Input(data / "cuts", 4)], {})
    if stage.is_done():
        return
    from lhotse_prep.bitext.translated_cuts import write_translated_cuts

    with stage.work() as out:
        write_translated_cuts(data / "cuts", data / "bitext", out)


if __name__ == "__main__":
    run_main(main)
