"""Options that transcribe and subtitle share: of recognisers, translators, punctuation and configuration files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.entry import number
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import with_lm_dir
from ml2021.asr.words.options import RecogniserOptions
from ml2021.mt.config import TranslateConfig
from ml2021.st.config import SentenceConfig, SubtitleConfig


class Configs(NamedTuple):
    """The values of --conf."""

    sentences: SentenceConfig
    translate: TranslateConfig
    subtitles: SubtitleConfig


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --mt, --out, --conf, and all that says how a recogniser and a translator work."""
    parser.add_argument("--mt", help="translator: its folder, or its name on the hub [subtitles in one language]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the subtitles")
    parser.add_argument("--language", default="", help="spoken language for the recogniser, such as zh [its choice]")
    parser.add_argument(
        "--script", default="", help="OpenCC conversion of the recognised words, such as s2twp (Taiwan's) [none]"
    )
    parser.add_argument("--hotwords", type=Path, help="file of terms, one per line, that the recogniser is to prefer")
    parser.add_argument("--glossary", type=Path, help="file of terms to translate alike: term<TAB>translation")
    parser.add_argument(
        "--punctuation", type=Path, metavar="FOLDER", help="sherpa-onnx punctuation model, whose marks end sentences"
    )
    parser.add_argument("--device", default="", help="cpu or cuda [cuda if there is one]")
    parser.add_argument("--compute-type", default="default", help="of faster-whisper and Qwen3-ASR: int8, float16 ...")
    parser.add_argument(
        "--conf",
        type=Path,
        help="folder with decode.yaml and mt.yaml [for decoding with a recogniser of this project, the values of its "
        "training; else the defaults]",
    )
    parser.add_argument(
        "--lm-scale",
        type=number,
        help="scale of the language model of a recogniser of this project; 0: none [as --conf, or as trained]",
    )
    parser.add_argument("--redo", action="store_true", help="do again what is done")


def configs_of(conf: Path | None) -> Configs:
    """The values of decode.yaml and mt.yaml in a folder, or the defaults.

    Raises:
      ConfigError: a file is missing, or a value is wrong.
    """
    if conf is None:
        return Configs(SentenceConfig(), TranslateConfig(), SubtitleConfig())
    return Configs(
        load_config(conf / "decode.yaml", "sentences", SentenceConfig),
        load_config(conf / "mt.yaml", "translate", TranslateConfig),
        load_config(conf / "decode.yaml", "subtitles", SubtitleConfig),
    )


def recognition_of(args: argparse.Namespace, asr: str | None) -> RecogniserOptions:
    """How the recogniser `asr` works, from the command line.

    Raises:
      ConfigError: an option is wrong, or is for another kind of recogniser.
      DataError: the values of the recogniser's training are missing or damaged.
    """
    from ml2021.asr.decode.options import decode_config, with_values  # imports torch
    from ml2021.asr.decode.ours import is_ours

    decode = None
    if asr is not None and is_ours(Path(asr)):
        decode = decode_config(Path(asr), args.conf)
        if args.lm_scale is not None:
            decode = with_values(decode, {"lm_scale": args.lm_scale})
        decode = with_lm_dir(decode, Path(asr).parent)
    elif args.lm_scale is not None:
        raise ConfigError(f"--lm-scale is for recognisers of this project, and {asr} is another kind")
    return RecogniserOptions(
        language=args.language,
        hotwords=args.hotwords,
        device=args.device,
        compute_type=args.compute_type,
        decode=decode,
        script=args.script,
    )


def require_files(args: argparse.Namespace) -> None:
    """Raise DataError if a file or folder that an option names does not exist."""
    for name in ("glossary", "punctuation", "conf"):
        path = getattr(args, name)
        if path is not None and not path.exists():
            raise DataError(f"--{name} {path}: no such {'file' if name == 'glossary' else 'folder'}")
