"""Import a checkpoint of icefall into an experiment folder, to decode with it or to fine-tune it.

    python -m ml2021.asr.icefall.import_checkpoint --checkpoint exp/pretrained.pt --lang-dir data/lang_bbpe_2000 \\
        --model conf/zipformer/medium.yaml --exp-dir exp/multi_zh_en
    python -m ml2021.asr.decode --exp-dir exp/multi_zh_en --cuts data/mini/cuts
    python -m ml2021.asr.train --init-from exp/multi_zh_en/pretrained.pt --lang-dir exp/multi_zh_en/lang ...

A model trained on simplified characters also writes simplified characters; only scoring converts between the scripts.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.first_weights import has_ctc_head, init_from
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)


def import_checkpoint(checkpoint: Path, lang_dir: Path, exp_dir: Path, config: TransducerConfig, case: str) -> None:
    """Write pretrained.pt, config.json and lang/ to exp_dir.

    Args:
      checkpoint: icefall's pretrained.pt or epoch-N.pt; the weights under its key `model` are used.
      lang_dir: folder with the tokens.txt and bpe.model or bbpe.model that it was trained with.
      exp_dir: created if missing.
      config: the model configuration it was trained with; ctc_loss_scale becomes 0 if it has no CTC head.
      case: case of the English tokens, as in LangConfig.case.
    Raises:
      DataError: the checkpoint does not fit the configuration or the tokens; exp_dir is left untouched.
    """
    weights = load_checkpoint(checkpoint)["model"]
    tokens = load_lang(lang_dir)
    embedding = weights.get("decoder.embedding.weight")
    if embedding is None or len(embedding) != len(tokens):
        num = "no" if embedding is None else len(embedding)
        raise DataError(
            f"{checkpoint} has {num} tokens, {lang_dir} has {len(tokens)}: take both from the same training run"
        )
    if not has_ctc_head(weights):
        config = replace(config, ctc_loss_scale=0.0)
    model = AsrModel(config, len(tokens))
    init_from(model, checkpoint)
    lang = LangConfig(kind=tokens.kind, from_dir=str(lang_dir), case=case)
    tokens = make_lang([], [], exp_dir / "lang", lang)  # written only now that everything fits
    save_checkpoint(exp_dir / "pretrained.pt", {"model": model.state_dict()})
    write_json(exp_dir / "config.json", to_mapping(AsrConfig(model=config)))
    logger.info("%s: %d tokens of kind %s, in capitals: %s", exp_dir, len(tokens), tokens.kind, tokens.upper_case)


def main(argv: Sequence[str]) -> None:
    """Import a checkpoint of icefall's Zipformer transducer into an experiment folder."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.asr.icefall.import_checkpoint", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="pretrained.pt or epoch-N.pt of icefall")
    parser.add_argument("--lang-dir", type=Path, required=True, help="its tokens.txt and bpe.model or bbpe.model")
    parser.add_argument("--model", type=Path, required=True, help="its configuration: conf/zipformer/medium.yaml")
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder to write the files to")
    parser.add_argument(
        "--case", choices=("auto", "lower", "upper"), default="auto", help="case of its English tokens [%(default)s]"
    )
    args = parser.parse_args(argv)
    config = load_config(args.model, "model", TransducerConfig)
    import_checkpoint(args.checkpoint, args.lang_dir, args.exp_dir, config, args.case)


if __name__ == "__main__":
    run_main(main)
