"""Decode the windows of a part as streams, chunk by chunk, and score them; the model must be causal.

    python -m ml2021.asr.decode.streaming --exp-dir exp/mini/asr_streaming --cuts data/mini/cuts --epoch 12 --avg 4

It writes the files that ml2021.asr.decode writes, to EXP_DIR/streaming/METHOD, and the computing time.
ml2021.asr.decode simulates this with the same model in one pass.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from ml2021.asr.decode.config import StreamingConfig
from ml2021.asr.decode.options import CUTS_FLAGS, CUTS_HELP, PARTS, add_model_options, weights_of
from ml2021.asr.train.config import AsrDataConfig

METHODS = ("greedy_search", "modified_beam_search")
logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The options of python -m ml2021.asr.decode.streaming, which are icefall's."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.decode.streaming",
        allow_abbrev=False,
        description="Decode windows as streams, chunk by chunk, with a causal model, and score them. --a_b is the same "
        "as --a-b.",
    )
    default = StreamingConfig()
    p.add_argument(*CUTS_FLAGS, dest="cuts", type=Path, required=True, metavar="DIR", help=CUTS_HELP)
    p.add_argument("--part", choices=PARTS, default="test", help="[%(default)s]")
    add_model_options(p)
    p.add_argument(
        "--chunk-size", type=int, help="frames of 20 ms, a value that the model was trained with [its first one]"
    )
    p.add_argument(
        "--left-context-frames",
        type=int,
        help="frames of 20 ms before a chunk, a value that the model was trained with [its first one]",
    )
    p.add_argument("--decoding-method", choices=METHODS, default=default.decoding_method, help="[%(default)s]")
    for name, kind, text in (
        ("num-active-paths", int, "hypotheses of modified_beam_search"),
        ("blank-penalty", float, "subtracted from the blank's logit, for fewer deletions"),
        ("num-decode-streams", int, "streams decoded at a time"),
    ):
        value = getattr(default, name.replace("-", "_"))
        p.add_argument(f"--{name}", type=kind, default=value, help=f"{text} [%(default)s]")
    p.add_argument("--out-dir", type=Path, help="where the files go [EXP_DIR/streaming/METHOD]")
    return p


def main(argv: Sequence[str]) -> None:
    """Decode a part as streams; write icefall's files and scores-PART-SUFFIX.json."""
    args = parser().parse_args(argv)
    config = StreamingConfig(args.decoding_method, args.num_active_paths, args.blank_penalty, args.num_decode_streams)
    import torch

    from ml2021.asr.decode.streams import decode_streams, suffix_of, with_chunk
    from ml2021.asr.model.load import load_model
    from ml2021.asr.model.recogniser import AsrModel
    from ml2021.asr.train.data import AsrDataModule
    from ml2021.scoring.icefall_files import write_icefall_files

    weights, name = weights_of(args)
    trained, tokens = load_model(args.exp_dir, weights)
    encoder = with_chunk(trained.config.encoder, args.chunk_size, args.left_context_frames, args.exp_dir)
    model = AsrModel(replace(trained.config, encoder=encoder), len(tokens), trained.num_units).eval()
    model.load_state_dict(trained.state_dict())
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    cuts = AsrDataModule(args.cuts, AsrDataConfig(), seed=0).cuts(args.part)
    results, timing = decode_streams(model, tokens, cuts, config)
    if not results:
        raise DataError(f"the {args.part} part has no windows to decode in {args.cuts}")
    suffix = suffix_of(config, encoder, name, args.use_averaged_model)
    out_dir = args.out_dir or args.exp_dir / "streaming" / config.decoding_method
    rate = write_icefall_files(out_dir, args.part, suffix, config.decoding_method, results)
    times: dict[str, Any] = timing.summary(2 * encoder.chunk_size[0])
    write_json(out_dir / f"scores-{args.part}-{suffix}.json", {"mer_windows": rate.percents(), "streaming": times})
    logger.info(
        "%s: %d windows in chunks of %d frames, MER %s, RTF %.4f; a frame waits %.2f to %.2f s, and %.0f ms "
        "(95%%: %.0f) until %d streams are computed",
        args.part,
        len(results),
        encoder.chunk_size[0],
        rate.total,
        times["rtf"],
        times["wait_seconds_least"],
        times["wait_seconds_most"],
        1000 * times["step_seconds_median"],
        1000 * times["step_seconds_95"],
        min(len(results), config.num_decode_streams),
    )


if __name__ == "__main__":
    run_main(main)
