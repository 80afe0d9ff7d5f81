"""Command line of the export: `python -m ml2021.asr.export --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.entry import run_main


def main(argv: Sequence[str]) -> None:
    """Export the recogniser of an experiment folder for sherpa-onnx."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.asr.export", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--exp-dir", type=Path, required=True, help="trained recogniser, such as exp/mini/asr")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder to write the files to")
    args = parser.parse_args(argv)
    from ml2021.asr.export.offline import export_onnx, write_pretrained
    from ml2021.asr.export.streaming import can_stream, export_streaming
    from ml2021.asr.model.load import load_model

    model, tokens = load_model(args.exp_dir)
    export_onnx(model, tokens, args.out_dir)
    if can_stream(model):
        export_streaming(model, tokens, args.out_dir / "streaming")
    write_pretrained(model, args.out_dir)


if __name__ == "__main__":
    run_main(main)
