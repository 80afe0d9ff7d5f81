"""Import a checkpoint of icefall into an experiment folder, to decode with it or to fine-tune it.

    python -m ml2021.asr.icefall.import_checkpoint --checkpoint exp/pretrained.pt --lang-dir data/lang_bbpe_2000 \\
        --exp-dir exp/multi_zh_en
    python -m ml2021.asr.decode --exp-dir exp/multi_zh_en --cuts data/mini/cuts
    python -m ml2021.asr.train --init-from exp/multi_zh_en/pretrained.pt --lang-dir exp/multi_zh_en/lang ...

A model trained on simplified characters also writes simplified characters, unless --script converts them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.model.config import TransducerConfig


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(x) for x in text.split(","))
    except ValueError as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 16,32,-1") from e


def main(argv: Sequence[str]) -> None:
    """Import a checkpoint of icefall's Zipformer transducer into an experiment folder."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.asr.icefall.import_checkpoint", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="pretrained.pt or epoch-N.pt of icefall")
    parser.add_argument("--lang-dir", type=Path, required=True, help="its tokens.txt, and bpe.model or bbpe.model")
    parser.add_argument(
        "--model", type=Path, help="its layout, such as conf/zipformer/large.yaml [the one there that fits the weights]"
    )
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder to write the files to")
    parser.add_argument(
        "--case", choices=("auto", "lower", "upper"), default="auto", help="case of its English tokens [%(default)s]"
    )
    parser.add_argument(
        "--chunk-size",
        type=_numbers,
        default=(),
        metavar="N,N",
        help="frames of 20 ms per chunk of a causal model, -1: all; decoding uses the first [as in --model]",
    )
    parser.add_argument(
        "--left-context-frames", type=_numbers, default=(), metavar="N,N", help="before a chunk, likewise"
    )
    args = parser.parse_args(argv)
    config = None if args.model is None else load_config(args.model, "model", TransducerConfig)
    from ml2021.asr.icefall.convert import import_checkpoint

    import_checkpoint(
        args.checkpoint, args.lang_dir, args.exp_dir, config, args.case, args.chunk_size, args.left_context_frames
    )


if __name__ == "__main__":
    run_main(main)
