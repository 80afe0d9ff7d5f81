#!/usr/bin/env python3
"""Stage 5: train the recogniser on the windows."""

from __future__ import annotations

from dataclasses import replace

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.stage import Input, read_done
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.stage import CUTS, needs_units, training_stage
from ml2021.training.launch import add_process_options, follow, on_cpu_by_default, processes_of, run_processes


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--trainer", choices=("ml2021", "icefall"), default="ml2021", help="[%(default)s]")
    add_process_options(parser)
    args = parser.parse_args(argv)
    processes = processes_of(args)
    if processes.follows:
        follow(processes)
        return
    config = load_config(args.conf / "asr.yaml", "asr", AsrConfig)
    aligner, initial = None, None
    if config.init_encoder_from_aligner:
        aligner_config = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
        if set(aligner_config.train_parts) - {"train"}:
            raise ConfigError(
                f"{args.conf}/asr.yaml: the aligner is trained on {', '.join(aligner_config.train_parts)}, so the "
                "recogniser must not start from it: set init_encoder_from_aligner: false, or train_parts: [train]"
            )
        trained, encoder = aligner_config.encoder, config.model.encoder
        layout = replace(
            encoder,
            causal=trained.causal,
            chunk_size=trained.chunk_size,
            left_context_frames=trained.left_context_frames,
        )
        if layout != trained or (trained.causal and not encoder.causal):
            raise ConfigError(
                f"{args.conf}/asr.yaml: init_encoder_from_aligner needs asr.model.encoder to have the values of "
                "aligner.encoder, except that it may be causal; give them the same layout, or set "
                "init_encoder_from_aligner: false"
            )
        aligner = args.data / "aligned" / "aligner" / "pretrained.pt"
        if read_done(args.data / "aligned") is not None and not aligner.is_file():
            raise ConfigError(
                f"{args.conf}/asr.yaml: stage 3 trained no aligner in {args.data}/aligned but used a given model: "
                "set init_encoder_from_aligner: false"
            )
        units = ("aligner/units*",) if needs_units(config) else ()
        initial = Input(args.data / "aligned", 3, ("aligner/pretrained.pt", *units))
    elif config.frozen_encoder_steps or config.freeze_modules:
        name, empty = ("frozen_encoder_steps", 0) if config.frozen_encoder_steps else ("freeze_modules", [])
        raise ConfigError(
            f"{args.conf}/asr.yaml: {name} is {getattr(config, name)}, but without "
            f"init_encoder_from_aligner the encoder starts at random and has to learn: set {name}: {empty}"
        )
    modules = ("encoder_embed", "encoder") if aligner else ()
    inputs = Input(args.data / "lang", 2), Input(args.data / "cuts", 4, CUTS)
    stage = training_stage(inputs, args.exp / "asr", config, initial, modules, args.trainer, args.redo)
    if stage.is_done():
        return
    from ml2021.asr.train.options import TrainOptions, decode_section
    from ml2021.asr.train.train import train_recogniser

    options = TrainOptions(init_from=aligner, init_modules=modules, decode=decode_section(args.conf))
    if args.trainer == "icefall":
        from ml2021.asr.icefall.checkout import find_checkout
        from ml2021.asr.icefall.config import IcefallConfig
        from ml2021.asr.icefall.options import NEEDED
        from ml2021.asr.icefall.train import train_with_icefall

        if processes.size > 1 and (processes.nodes > 1 or not processes.on_gpus):
            raise ConfigError("--trainer icefall trains in one process, or with --num-gpus on the GPUs of one machine")
        checkout = find_checkout(NEEDED, load_config(args.conf / "asr.yaml", "icefall", IcefallConfig))
        with stage.work() as out:
            train_with_icefall(checkout, args.data / "cuts", args.data / "lang", out, config, options, processes.size)
        return
    cuts, lang = args.data / "cuts", args.data / "lang"
    processes = on_cpu_by_default(processes, args, config.train.num_processes)
    with stage.work() as out:
        if processes.size > 1:
            from ml2021.asr.train.worker import Job

            run_processes("ml2021.asr.train.worker", Job(cuts, lang, out, config, options).arguments(), processes)
        else:
            train_recogniser(cuts, lang, out, config, options)


if __name__ == "__main__":
    run_main(main)
