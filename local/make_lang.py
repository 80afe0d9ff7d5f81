#!/usr/bin/env python3
"""Stage 2: the recogniser's tokens, learned from the training transcripts or copied from an existing lang folder.

The BPE is also trained on transcripts of lectures without audio, with or without a translation.
"""

from __future__ import annotations

from pathlib import Path

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "prep.yaml", "lang", LangConfig)
    manifests = args.data / "manifests"
    inputs = [Input(manifests, 1, ("ml2021_supervisions_train.jsonl.gz", "texts.jsonl", "untranslated.jsonl"))]
    if config.from_dir is not None:
        inputs.append(Input(Path(config.from_dir)))
    stage = Stage("lang", args.data / "lang", inputs, {"lang": config}, old_options=to_mapping(config))
    if stage.is_done():
        return
    from lhotse import SupervisionSet

    from lhotse_prep.manifests.files import open_part, text_only_transcripts
    from lhotse_prep.tokens.lang import make_lang

    texts = (s.text or "" for s in open_part(manifests, "supervisions", "train", SupervisionSet))
    with stage.work() as out:
        make_lang(texts, text_only_transcripts(manifests), out, config)


if __name__ == "__main__":
    run_main(main)
