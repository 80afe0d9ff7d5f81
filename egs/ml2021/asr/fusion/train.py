"""Train a language model for shallow fusion on the transcripts of the train part and of text-only lectures.

python -m ml2021.asr.fusion.train --kind ngram --lang-dir data/mini/lang --manifest-dir data/mini/cuts \\
    --texts data/mini/manifests/texts.jsonl --lm-dir exp/mini/lm
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.locks import folder_lock
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.fusion.config import KINDS, LmConfig
from ml2021.asr.fusion.stage import lm_by_hand


def main(argv: list[str]) -> None:
    """Train a language model over the recogniser's tokens."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.asr.fusion.train", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--manifest-dir", "--cuts", type=Path, required=True, help="stage 4's folder, such as data/mini/cuts"
    )
    parser.add_argument("--texts", type=Path, help='more texts: lines of {"text": ...}, as manifests/texts.jsonl has')
    parser.add_argument("--lang-dir", type=Path, required=True, help="stage 2's folder, such as data/mini/lang")
    parser.add_argument("--lm-dir", type=Path, required=True, help="where the model is written")
    parser.add_argument("--conf", type=Path, help="folder with decode.yaml, whose section lm is used [default values]")
    parser.add_argument("--kind", choices=KINDS[1:], help="n-gram or LSTM; required without --conf [lm.kind]")
    parser.add_argument("--order", type=int, help="tokens in the longest n-grams [lm.order]")
    args = parser.parse_args(argv)
    if args.conf is None and args.kind is None:
        parser.error("--kind must be given without --conf: ngram or rnn")
    config = LmConfig() if args.conf is None else load_config(args.conf / "decode.yaml", "lm", LmConfig)
    config = replace(config, kind=args.kind or config.kind, order=args.order or config.order)
    from ml2021.asr.fusion.train_lm import train_lm
    from ml2021.training.distributed import in_world

    stage = lm_by_hand(args.manifest_dir, args.texts, args.lang_dir, args.lm_dir, config)
    with in_world() as (world, device), folder_lock(args.lm_dir) if world.is_main else contextlib.nullcontext():
        train_lm(args.manifest_dir, args.texts, args.lang_dir, args.lm_dir, config, stage.begin, world, device)


if __name__ == "__main__":
    run_main(main)
