#!/usr/bin/env python3
"""Stage 11: export the recogniser for sherpa-onnx and the translator for CTranslate2, and check both by decoding."""

from __future__ import annotations

from pathlib import Path

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.files import write_json, write_text
from lhotse_prep.workflow.stage import Input, Stage, stage_files
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import ASR_FILES, DecodeConfig
from ml2021.mt.config import MT_FILES, TranslateConfig, as_in_0_2

NUM_CUTS = 60  # cuts of the test part that are decoded with sherpa-onnx
NUM_SENTENCES = 20  # sentences of the test bitext that are translated with CTranslate2


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    decode = load_config(args.conf / "decode.yaml", "decode", DecodeConfig)
    translate = load_config(args.conf / "mt.yaml", "translate", TranslateConfig)
    decoded = args.exp / "asr" / decode.decoding_method
    inputs = [
        Input(args.data / "cuts", 4, ("ml2021_cuts_test*", "feats_test*")),
        Input(args.exp / "asr", 5, ASR_FILES),
        Input(decoded, 6, ("recogs-test-*",)),
        Input(args.data / "bitext", 7, ("test.jsonl",)),
        Input(args.exp / "mt", 8, MT_FILES),
    ]
    old_options = {"translate": as_in_0_2(translate, args.exp / "mt")}
    stage = Stage("export", args.exp / "export", inputs, {"translate": translate}, old_options=old_options)
    if stage.is_done():
        return
    with stage.work() as out:
        scores = {
            **_export_recogniser(args.exp / "asr", args.data / "cuts", decoded, out / "sherpa-onnx"),
            **_export_translator(args.exp / "mt" / "marian", args.data / "bitext", translate, out / "ctranslate2"),
        }
        write_json(out / "scores.json", scores)


def _export_recogniser(exp_dir: Path, cuts: Path, decoded: Path, out_dir: Path) -> dict[str, float | None]:
    from ml2021.asr.export.model_card import model_card
    from ml2021.asr.export.offline import export_onnx, write_pretrained
    from ml2021.asr.export.sherpa import compare_with_ours
    from ml2021.asr.export.streaming import can_stream, export_streaming
    from ml2021.asr.model.load import load_model
    from ml2021.scoring.counts import score
    from ml2021.scoring.texts import read_texts

    model, tokens = load_model(exp_dir)
    export_onnx(model, tokens, out_dir)
    write_pretrained(model, out_dir)
    recogs = min(stage_files(decoded, "recogs-test-*.txt"), default=decoded / "recogs-test.txt")
    refs, hyps = read_texts(recogs, "ref"), read_texts(recogs, "hyp")
    test = cuts / "ml2021_cuts_test.jsonl.gz"
    sherpa_scores = compare_with_ours(model, tokens, out_dir, test, refs, NUM_CUTS)
    if can_stream(model):
        export_streaming(model, tokens, out_dir / "streaming")
        sherpa_scores |= compare_with_ours(model, tokens, out_dir / "streaming", test, refs, NUM_CUTS, streaming=True)
    mer = score((i, ref, hyps[i]) for i, ref in refs.items()).percents()
    write_text(out_dir / "README.md", model_card(model, tokens, out_dir, decoded.name, mer, sherpa_scores))
    return sherpa_scores


def _export_translator(marian: Path, bitext: Path, config: TranslateConfig, out_dir: Path) -> dict[str, float | None]:
    from ml2021.mt.check_export import compare_translations
    from ml2021.mt.export import convert

    convert(marian, out_dir)
    return compare_translations(marian, out_dir, bitext / "test.jsonl", config, NUM_SENTENCES)


if __name__ == "__main__":
    run_main(main)
