"""The command line of decoding (icefall's flags, and values of decode.yaml), and the suffix of its files' names."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import from_mapping, load_config
from ml2021.asr.decode.config import DecodeConfig, with_files_of_project, with_lm_dir
from ml2021.asr.search.config import DECODING_METHODS, FUSION_METHODS, NO_LM, SUBTRACTED
from ml2021.asr.train.options import boolean

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)
CUTS_FLAGS = ("--cuts", "--manifest-dir")  # icefall calls it --manifest-dir
CUTS_HELP = "stage 4's folder, such as data/mini/cuts"
PARTS = ("train", "dev", "test")
# flag: (type, help); its value replaces that of the key with the same name in section decode of decode.yaml
VALUES: dict[str, tuple[type, str]] = {
    "max-duration": (float, "seconds of audio in a batch"),
    "blank-penalty": (float, "subtracted from the blank's logit, for fewer deletions"),
    "beam-size": (int, f"hypotheses of {', '.join(FUSION_METHODS)}"),
    "max-sym-per-frame": (int, "tokens per frame that beam_search may emit, with a model of rnnt_type regular"),
    "beam": (float, "fast_beam_search: a path is dropped if its log-probability is this far below the best"),
    "max-contexts": (int, "fast_beam_search: decoder contexts per frame"),
    "max-states": (int, "fast_beam_search: states of the graph per frame"),
    "num-paths": (int, "fast_beam_search_nbest: paths drawn from the lattice"),
    "nbest-scale": (float, "fast_beam_search_nbest: scale of the scores while paths are drawn"),
    "lg-file": (str, "fast_beam_search_nbest_LG: the graph, from python -m ml2021.asr.search.lg_graph"),
    "ngram-lm-scale": (float, "fast_beam_search_nbest_LG: scale of the graph's scores"),
    "ctc-scale": (float, "weight of the CTC head's scores in modified_beam_search, below 1; 0: none"),
    "ctc-lag": (int, "with --ctc-scale: frames of 40 ms by which tokens may lie apart from the CTC head's"),
    "lm-scale": (float, f"scale of the language model, with {' or '.join(FUSION_METHODS)}; 0: none"),
    "lm-dir": (str, "its folder, from python -m ml2021.asr.fusion.train or with an lm.arpa; else lm beside EXP_DIR"),
    "lodr-scale": (float, "scale of a bigram of the training transcripts, subtracted from the language model (LODR)"),
    "lodr-dir": (str, "its folder, as that of --lm-dir; else lodr beside EXP_DIR"),
    "ilm-scale": (float, "scale of the transducer's internal language model, which is subtracted (ILME)"),
    "lexicon-file": (str, "words and their units for lexicon_search; else lexicon/lexicon.txt beside EXP_DIR"),
    "word-score": (float, "lexicon_search: added for each word"),
    "token-scale": (float, "lexicon_search: weight of the CTC head on tokens among words that sound alike"),
    "units-rescore-scale": (float, "modified_beam_search: weight of the head on units for its last hypotheses"),
    "hotwords-file": (str, f"terms that get a bonus, one per line, with {' or '.join(FUSION_METHODS)}"),
    "hotwords-score": (float, "bonus of each token of a hotword"),
    "script": (str, "OpenCC conversion of what is recognised, such as s2twp; also with --recogniser"),
}
OF_ALL_RECOGNISERS = ("beam-size", "hotwords-file", "script")
# flag: (type, default, help); of --recogniser only
OF_OTHERS: dict[str, tuple[type, Any, str]] = {
    "language": (str, "", "such as zh or en; empty: the recogniser's own choice"),
    "device": (str, "", "cpu, cuda or cuda:1; empty: cuda if there is one"),
    "compute-type": (str, "default", "of faster-whisper: float32, float16, int8 ..."),
    "num-threads": (int, 0, "of the CPU; 0: all"),
}


def parser() -> argparse.ArgumentParser:
    """The options of python -m ml2021.asr.decode."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.decode",
        allow_abbrev=False,
        description="Decode with the model of an experiment folder: windows (--cuts), or whole lectures of any length "
        "(--manifests or --audio). Windows, and lectures with a transcript, are also scored. Lectures that --out-dir "
        "has already are not decoded again. --a_b is the same as --a-b.",
    )
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument(*CUTS_FLAGS, dest="cuts", type=Path, metavar="DIR", help=f"decode windows: {CUTS_HELP}")
    source.add_argument(
        "--manifests",
        type=Path,
        metavar="DIR",
        help="decode whole lectures: stage 1's folder, such as data/mini/manifests",
    )
    source.add_argument(
        "--audio", type=Path, nargs="+", metavar="FILE", help="decode whole lectures: recordings, 16 kHz, mono"
    )
    p.add_argument("--long", action="store_true", help="decode whole lectures; --manifests and --audio imply it")
    p.add_argument("--part", choices=PARTS, default="test", help="of --cuts or --manifests [%(default)s]")
    p.add_argument(
        "--recogniser",
        metavar="FOLDER|NAME",
        help="instead of --exp-dir: a folder of sherpa-onnx, faster-whisper or Qwen3-ASR, or a model's name such as "
        "large-v3, for whole lectures; the options for it are --beam-size, --hotwords, --script and those at the end",
    )
    add_model_options(p, is_required=False)
    add_value_options(p)
    p.add_argument(
        "--out-dir", type=Path, help="where the files go [EXP_DIR/METHOD, for whole lectures EXP_DIR/METHOD-long]"
    )
    others = p.add_argument_group("options of --recogniser only")
    for flag, (kind, default, text) in OF_OTHERS.items():
        others.add_argument(f"--{flag}", type=kind, help=f"{text} [{default or 'empty'}]")
    return p


def parse_options(argv: Sequence[str]) -> argparse.Namespace:
    """The values of parser()'s options; exits with 2 if they are wrong."""
    p = parser()
    args = p.parse_args(argv)
    if args.long and args.cuts is not None:
        p.error(
            "--long decodes whole lectures, but --cuts names windows: give --manifests DIR or --audio FILE... instead "
            "of --cuts, or leave --long out"
        )
    if (args.exp_dir is None) == (args.recogniser is None):
        p.error("give either --exp-dir, a folder of stage 5, or --recogniser, any recogniser")
    if args.recogniser is not None and (args.cuts is not None or args.out_dir is None):
        p.error("--recogniser decodes whole lectures: it needs --manifests or --audio, and --out-dir")
    if wrong := _given(args, OF_OTHERS if args.recogniser is None else ()):
        p.error(f"{wrong} goes with --recogniser, not with --exp-dir")
    return args


def require_options_of_others(args: argparse.Namespace) -> None:
    """Raise ConfigError if an option is given that only recognisers of this project have."""
    ours = [flag for flag in VALUES if flag not in OF_ALL_RECOGNISERS]
    if wrong := _given(args, [*ours, "decoding-method", "conf", "epoch", "iter"]):
        raise ConfigError(f"{wrong} is for recognisers of this project, and {args.recogniser} is none: leave it out")


def _given(args: argparse.Namespace, flags: Iterable[str]) -> str:
    """Those of the flags that are on the command line, as they are written there."""
    return ", ".join(f"--{flag}" for flag in flags if getattr(args, flag.replace("-", "_")) not in (None, 0))


def add_model_options(p: argparse.ArgumentParser, is_required: bool = True) -> None:
    """Add the options that say which model decodes; see weights_of. With is_required, --exp-dir must be given."""
    p.add_argument("--exp-dir", type=Path, required=is_required, help="stage 5's folder, such as exp/mini/asr")
    p.add_argument("--epoch", type=int, help="decode with epoch-N.pt; without --epoch and --iter: pretrained.pt")
    p.add_argument("--iter", type=int, default=0, help="decode with checkpoint-N.pt, instead of --epoch")
    p.add_argument("--avg", type=int, default=1, help="average over this many epochs or checkpoints [%(default)s]")
    p.add_argument("--use-averaged-model", type=boolean, default=True, help="average by model_avg [%(default)s]")


def add_value_options(p: argparse.ArgumentParser) -> None:
    """Add the options that say how it decodes; see config_of."""
    p.add_argument(
        "--conf",
        type=Path,
        metavar="DIR",
        help="folder with the decode.yaml to take values from [the values that EXP_DIR was trained with]",
    )
    p.add_argument("--decoding-method", type=method, help=f"{', '.join(DECODING_METHODS)} [as --conf]")
    for flag, (kind, text) in VALUES.items():
        also = ["--hotwords"] if flag == "hotwords-file" else []
        p.add_argument(f"--{flag}", *also, type=kind, help=f"{text} [as --conf]")


def experiment_decode_config(exp_dir: Path) -> DecodeConfig:
    """The values for decoding that an experiment was trained with: key `decode` of its config.json, or the defaults.

    Raises:
      DataError: config.json is missing or damaged.
      ConfigError: a value is out of range.
    """
    return _recorded_decode_config(exp_dir)[0]


def decode_config(exp_dir: Path, conf: Path | None) -> DecodeConfig:
    """The values of conf/decode.yaml, or without conf those that the experiment was trained with; logs which.

    Raises:
      DataError, ConfigError: see experiment_decode_config and load_config.
    """
    if conf is not None:
        logger.info("decoding with the values of %s", conf / "decode.yaml")
        return with_files_of_project(load_config(conf / "decode.yaml", "decode", DecodeConfig))
    config, is_recorded = _recorded_decode_config(exp_dir)
    values = "the values that the model was trained with" if is_recorded else "default values, since the model has none"
    logger.info("decoding with %s (%s); --conf DIR takes those of a decode.yaml", values, exp_dir / "config.json")
    return with_files_of_project(config)


def _recorded_decode_config(exp_dir: Path) -> tuple[DecodeConfig, bool]:
    """See experiment_decode_config; also whether config.json has the values."""
    from ml2021.asr.model.load import read_config

    path = exp_dir / "config.json"
    values = read_config(path)
    return from_mapping(values.get("decode") or {}, DecodeConfig, f"{path}: decode"), "decode" in values


def config_of(args: argparse.Namespace) -> DecodeConfig:
    """The values of decode_config, replaced by those on the command line.

    Raises:
      DataError: the experiment's config.json is missing or damaged.
      ConfigError: a value is out of range, or the method takes no language model or hotwords.
    """
    config = with_values(decode_config(args.exp_dir, args.conf), given_values(args))
    return with_lm_dir(config, args.exp_dir.parent)


def given_values(args: argparse.Namespace) -> dict[str, Any]:
    """{key of section decode: value} of those options of add_value_options that are on the command line."""
    names = ["decoding_method", *(flag.replace("-", "_") for flag in VALUES)]
    return {name: value for name in names if (value := vars(args).get(name)) is not None}


def with_values(config: DecodeConfig, values: Mapping[str, Any]) -> DecodeConfig:
    """The configuration with some values replaced; a method among them is without what is for other methods.

    Raises:
      ConfigError: a value is out of range, or is given and is not for the method.
    """
    other: dict[str, Any] = dict(NO_LM) if values.get("lm_scale") == 0 else {}
    if "decoding_method" in values:  # decode.yaml may have them for another method
        if values["decoding_method"] not in FUSION_METHODS:
            other |= {**NO_LM, "hotwords_file": None}
        other |= {name: 0.0 for name, methods in SUBTRACTED.items() if values["decoding_method"] not in methods}
        if values["decoding_method"] != "modified_beam_search":
            other |= {"ctc_scale": 0.0, "units_rescore_scale": 0.0}
        if values["decoding_method"] != "lexicon_search":
            other |= {"word_score": 0.0, "token_scale": 0.0, "lexicon_texts": ()}
    return replace(config, **(other | dict(values)))


def weights_of(args: argparse.Namespace) -> tuple[dict[str, Tensor] | None, str]:
    """The weights that --epoch, --iter and --avg name, and a name for them; (None, ""): those of pretrained.pt.

    Raises:
      ConfigError: the options contradict each other.
      DataError: a checkpoint is missing or damaged, or was trained with other tokens.
    """
    if args.avg < 1 or args.iter < 0 or (args.epoch is not None and args.epoch < 1):
        raise ConfigError(f"--avg and --epoch must be >= 1, --iter >= 0; got {args.avg}, {args.epoch}, {args.iter}")
    if args.iter > 0 and args.epoch is not None:
        raise ConfigError("give --epoch or --iter, not both")
    if args.iter == 0 and args.epoch is None:
        if args.avg != 1:
            raise ConfigError(f"--avg {args.avg} needs --epoch or --iter: pretrained.pt is already an average")
        return None, ""
    if args.iter > 0:
        newest, name = args.exp_dir / f"checkpoint-{args.iter}.pt", f"iter-{args.iter}"
    else:
        newest, name = args.exp_dir / f"epoch-{args.epoch}.pt", f"epoch-{args.epoch}"
    from ml2021.asr.model.load import require_same_vocabulary
    from ml2021.training.checkpoint import load_averaged, load_checkpoint

    require_same_vocabulary(newest, load_checkpoint(newest), args.exp_dir / "lang")
    if args.iter > 0:
        weights = _averaged_steps(args.exp_dir, args.iter, args.avg, args.use_averaged_model)
    else:
        weights = load_averaged(args.exp_dir, args.epoch, args.avg, args.use_averaged_model)
    return weights, f"{name}-avg-{args.avg}"


def suffix_of(config: DecodeConfig, weights_name: str, use_averaged_model: bool) -> str:
    """The suffix of the files' names, as in icefall: weights, method and its sizes, penalty, scales of fusion."""
    c = config
    parts = [weights_name] if weights_name else []
    parts.append(c.decoding_method)
    if c.decoding_method.startswith("fast_beam_search"):
        parts.append(f"beam-{c.beam:g}-max-contexts-{c.max_contexts}-max-states-{c.max_states}")
        if "nbest" in c.decoding_method:
            parts.append(f"nbest-scale-{c.nbest_scale:g}-num-paths-{c.num_paths}")
        if "LG" in c.decoding_method:
            parts.append(f"ngram-lm-scale-{c.ngram_lm_scale:g}")
    elif c.decoding_method in FUSION_METHODS:
        parts.append(f"beam-size-{c.num_hypotheses}")
    if c.decoding_method == "lexicon_search" and c.word_score:
        parts.append(f"word-score-{c.word_score:g}")
    if c.decoding_method == "lexicon_search" and c.token_scale:
        parts.append(f"token-scale-{c.token_scale:g}")
    if c.decoding_method == "modified_beam_search" and c.units_rescore_scale:
        parts.append(f"units-rescore-scale-{c.units_rescore_scale:g}")
    if c.blank_penalty:
        parts.append(f"blank-penalty-{c.blank_penalty:g}")
    if c.ctc_scale:
        parts.append(f"ctc-scale-{c.ctc_scale:g}")
    if c.lm_scale:
        parts.append(f"lm-scale-{c.lm_scale:g}")
    if c.lodr_scale:
        parts.append(f"lodr-scale-{c.lodr_scale:g}")
    if c.ilm_scale:
        parts.append(f"ilm-scale-{c.ilm_scale:g}")
    if c.hotwords_file is not None:
        parts.append(f"hotwords-score-{c.hotwords_score:g}")
    if c.script:
        parts.append(c.script)
    if weights_name and use_averaged_model:
        parts.append("use-averaged-model")
    return "-".join(parts)


def _averaged_steps(exp_dir: Path, step: int, avg: int, use_averaged_model: bool) -> dict[str, Tensor]:
    """Average over the last `avg` files checkpoint-N.pt with N <= step.

    With use_averaged_model, the average is over all steps since the checkpoint before them.
    """
    from ml2021.training.checkpoint import (
        average_checkpoints,
        average_with_running_average,
        load_checkpoint,
        step_numbers,
    )

    paths = [exp_dir / f"checkpoint-{n}.pt" for n in step_numbers(exp_dir) if n <= step]
    num_needed = avg + 1 if use_averaged_model else avg
    if len(paths) < num_needed:
        raise DataError(
            f"--iter {step} --avg {avg} needs {num_needed} checkpoints up to that step, {exp_dir} has {len(paths)}"
        )
    if use_averaged_model:
        return average_with_running_average(paths[-num_needed], paths[-1])
    return load_checkpoint(paths[-1])["model"] if avg == 1 else average_checkpoints(paths[-avg:])


def method(text: str) -> str:
    """A decoding method, with hyphens or underscores, as an option of argparse."""
    name = text.replace("-", "_")
    if name not in DECODING_METHODS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(DECODING_METHODS)}, got {text!r}")
    return name
