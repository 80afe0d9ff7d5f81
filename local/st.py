#!/usr/bin/env python3
"""Stage 10: recognise and translate whole test lectures, write bilingual subtitles and score them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage, recorded_audio
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.decode.config import ASR_FILES, LM_FILES, WINDOWS_VERSION, DecodeConfig, with_lm_dir
from ml2021.mt.config import MT_FILES, TranslateConfig, as_in_0_2
from ml2021.st.config import SentenceConfig, SubtitleConfig


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--script", help="OpenCC conversion of the recognised words, such as s2twp [as in decode.yaml]")
    args = parser.parse_args(argv)
    decode = with_lm_dir(load_config(args.conf / "decode.yaml", "decode", DecodeConfig), args.exp)
    if args.script is not None:
        decode = replace(decode, script=args.script)
    sentences = load_config(args.conf / "decode.yaml", "sentences", SentenceConfig)
    subtitles = load_config(args.conf / "decode.yaml", "subtitles", SubtitleConfig)
    translate = load_config(args.conf / "mt.yaml", "translate", TranslateConfig)
    inputs = [
        Input(args.data / "manifests", 1),
        Input(args.data / "bitext", 7, ("test.jsonl",)),
        Input(args.exp / "asr", 5, ASR_FILES),
        Input(args.exp / "mt", 8, MT_FILES),
    ]
    for name, folder in (("lm", decode.lm_dir), ("lodr", decode.lodr_dir)):
        if folder is not None:  # a user's folder has no stage's mark
            inputs.append(Input(Path(folder), 6 if Path(folder) == args.exp / name else None, LM_FILES))
    if decode.hotwords_file is not None:
        inputs.append(Input(Path(decode.hotwords_file)))
    if decode.lg_file is not None:
        inputs.append(Input(Path(decode.lg_file), is_new=True))
    if decode.lexicon_file is not None:
        lexicon = Path(decode.lexicon_file)
        inputs.append(Input(lexicon, 6 if lexicon.parent == args.exp / "lexicon" else None, is_new=True))
    inputs += recorded_audio(args.data)
    options = {"decode": decode, "sentences": sentences, "subtitles": subtitles, "translate": translate}
    old_options = {name: to_mapping(config) for name, config in options.items()}
    old_options["translate"] = as_in_0_2(translate, args.exp / "mt")
    version = {"windows_version": WINDOWS_VERSION}  # version 0.2 had other windows: none of its results counts
    stage = Stage("st", args.exp / "st", inputs, options | version, old_options=old_options | version)
    if stage.is_done():
        return
    from ml2021.asr.words.options import RecogniserOptions
    from ml2021.st.cascade import Cascade, SentenceTranslator, run_test_lectures

    with stage.work() as out:
        translator = SentenceTranslator(str(args.exp / "mt" / "marian"), translate)
        recognition = RecogniserOptions(decode=decode)
        cascade = Cascade(str(args.exp / "asr"), recognition, sentences, translator)
        folders = args.data / "manifests", args.data / "bitext", out
        run_test_lectures(cascade, *folders, subtitles, decode.decoding_method)


if __name__ == "__main__":
    run_main(main)
