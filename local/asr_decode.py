#!/usr/bin/env python3
"""Stage 6: recognise the test and dev windows and score them; first train the language models that decoding uses.

Of a new model, dev is also recognised by both heads, transducer and CTC.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.decode.config import ASR_FILES, LM_FILES, DecodeConfig, LongFormConfig, with_lm_dir
from ml2021.asr.fusion.config import LODR, LmConfig
from ml2021.asr.fusion.stage import CUTS as LM_CUTS
from ml2021.asr.fusion.stage import TEXTS as LM_TEXTS
from ml2021.asr.fusion.stage import lm_stage
from ml2021.asr.search.config import LEXICON, NO_LM
from ml2021.training.launch import Processes, add_process_options, follow, processes_of, run_processes

if TYPE_CHECKING:
    from ml2021.scoring.counts import ErrorRate

PARTS = ("test", "dev")  # the first must have windows
logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--trainer", choices=("ml2021", "icefall"), default="ml2021", help="[%(default)s]")
    parser.add_argument("--script", help="OpenCC conversion of what is recognised, such as s2twp [as in decode.yaml]")
    add_process_options(parser)
    args = parser.parse_args(argv)
    processes = processes_of(args)
    if processes.follows:  # the training of the language model
        follow(processes)
        return
    config = load_config(args.conf / "decode.yaml", "decode", DecodeConfig)
    if args.script is not None:
        config = replace(config, script=args.script)
    if args.trainer == "icefall":
        _decode_with_icefall(args, config)
        return
    _decode(args, config, processes)
    if config.both_heads:
        _compare_heads(args, config.script)


def _decode(args: Namespace, config: DecodeConfig, processes: Processes) -> None:
    """Decode dev and test into exp/asr/METHOD."""
    if config.lexicon_file is not None and config.lexicon_texts:
        raise ConfigError(
            "lexicon_texts are for the lexicon that stage 6 makes: leave out lexicon_file, or add words to it"
        )
    config = with_lm_dir(config, args.exp)
    lm = load_config(args.conf / "decode.yaml", "lm", LmConfig)
    inputs = _inputs(args)
    texts = args.data / "manifests" / LM_TEXTS[0]
    models = (("lm", config.lm_dir, lm, texts), ("lodr", config.lodr_dir, LODR, None))
    for name, folder, lm_config, lm_texts in models:
        if folder is not None:
            is_trained_here = Path(folder) == args.exp / name
            if is_trained_here:
                _train_lm(args, args.exp / name, lm_config, lm_texts, processes)
            inputs.append(Input(Path(folder), 6 if is_trained_here else None, LM_FILES))
    if config.lexicon_file is not None:
        is_made_here = Path(config.lexicon_file) == args.exp / "lexicon" / LEXICON
        if is_made_here:
            _make_lexicon(args, config)
        inputs.append(Input(Path(config.lexicon_file), 6 if is_made_here else None, is_new=True))
    if config.hotwords_file is not None:
        inputs.append(Input(Path(config.hotwords_file)))
    if config.lg_file is not None:
        inputs.append(Input(Path(config.lg_file), is_new=True))
    out_dir, old_options = args.exp / "asr" / config.decoding_method, to_mapping(config)
    stage = Stage("asr-decode", out_dir, inputs, {"decode": _of_windows(config)}, old_options=old_options)
    if stage.is_done():
        return
    from ml2021.asr.decode.options import suffix_of
    from ml2021.asr.decode.windows import decode_parts

    cuts, suffix = args.data / "cuts", suffix_of(config, "", False)
    parts = [part for part in PARTS if part == PARTS[0] or _has_windows(cuts, part)]
    with stage.work() as out:
        rates = decode_parts(args.exp / "asr", cuts, parts, out, config, None, suffix)
        write_json(out / "scores.json", _scores(rates, args.data / "manifests"))


def _compare_heads(args: Namespace, script: str) -> None:
    """Decode dev by transducer and CTC into exp/asr/heads/dev, once for each model."""
    windows = Input(args.data / "cuts", 4, ("ml2021_cuts_dev*", "feats_dev*"))
    inputs = [windows, Input(args.exp / "asr", 5, ASR_FILES)]
    stage = Stage("asr-heads", args.exp / "asr" / "heads" / "dev", inputs, {"script": script})
    if stage.is_done():
        return
    from lhotse_prep.windows.read import read_windows
    from ml2021.asr.decode.heads import compare_heads

    with stage.work() as out:
        if any(True for _ in read_windows(args.data / "cuts", "dev")):
            compare_heads(args.exp / "asr", args.data / "cuts", out, script)


def _inputs(args: Namespace) -> list[Input]:
    """The windows and transcripts of the parts, and the recogniser."""
    windows = tuple(f"{name}_{part}*" for part in PARTS for name in ("ml2021_cuts", "feats"))
    transcripts = tuple(f"ml2021_supervisions_{part}*" for part in PARTS)
    manifests = Input(args.data / "manifests", 1, transcripts)
    return [Input(args.data / "cuts", 4, windows), manifests, Input(args.exp / "asr", 5, ASR_FILES)]


def _of_windows(config: DecodeConfig) -> DecodeConfig:
    """The configuration without what only whole lectures need."""
    return replace(config, long_form=LongFormConfig())


def _has_windows(cuts: Path, part: str) -> bool:
    """Whether a part has windows to decode; logs if not."""
    from lhotse_prep.windows.read import read_windows

    if any(True for _ in read_windows(cuts, part)):
        return True
    logger.info("%s: it has no windows, so it is not decoded", part)
    return False


def _scores(rates: Mapping[str, ErrorRate], manifests: Path) -> dict[str, Any]:
    """The content of scores.json; logs how much of each part's transcripts is in windows.

    Returns:
      Of the test part: `mer_windows`; `coverage_windows`, how many of the transcripts' words are in windows; and
      `mer_windows_complete`, the rate with the other words as deletions; `units_error_windows`, the error rate of units
      of pronunciation in percent, if the model has a head on them. Keys of the dev part end in `_dev`.
    """
    from lhotse import SupervisionSet

    from lhotse_prep.manifests.files import load_part
    from ml2021.scoring.coverage import coverage

    scores: dict[str, Any] = {}
    for part, rate in rates.items():
        suffix = "" if part == PARTS[0] else f"_{part}"
        lectures = load_part(manifests, "supervisions", part, SupervisionSet)
        covered = coverage(rate, (s.text or "" for s in lectures))
        logger.info("%s: MER of windows %s; %s", part, rate.total, covered)
        scores[f"mer_windows{suffix}"] = rate.percents()
        if rate.units is not None:
            scores[f"units_error_windows{suffix}"] = rate.units.percent
        scores[f"coverage_windows{suffix}"] = covered.summary()
        scores[f"mer_windows_complete{suffix}"] = covered.complete.percents()
    return scores


def _decode_with_icefall(args: Namespace, config: DecodeConfig) -> None:
    """Decode dev and test with icefall's decode.py into exp/asr/icefall-METHOD."""
    if config.decoding_method == "lexicon_search":
        raise ConfigError("icefall's decode.py has no lexicon_search: choose another decoding_method in decode.yaml")
    scales = {**NO_LM, "blank_penalty": 0.0, "ctc_scale": 0.0, "units_rescore_scale": 0.0}
    unused: dict[str, Any] = {**scales, "hotwords_file": None, "script": ""}
    if any(getattr(config, name) != value for name, value in unused.items()):
        logger.warning("icefall's decode.py does not use %s", ", ".join(unused))
        config = replace(config, **unused)
    out_dir = args.exp / "asr" / f"icefall-{config.decoding_method}"
    options, old_options = {"decode": _of_windows(config), "trainer": "icefall"}, to_mapping(config)
    stage = Stage("asr-decode", out_dir, _inputs(args), options, old_options=old_options | {"trainer": "icefall"})
    if stage.is_done():
        return
    from ml2021.asr.icefall.checkout import find_checkout
    from ml2021.asr.icefall.config import IcefallConfig
    from ml2021.asr.icefall.decode import decode_with_icefall
    from ml2021.asr.icefall.options import NEEDED

    checkout = find_checkout(NEEDED, load_config(args.conf / "asr.yaml", "icefall", IcefallConfig))
    with stage.work() as out:
        rates = decode_with_icefall(checkout, args.exp / "asr", args.data / "cuts", out, config)
        write_json(out / "scores.json", _scores(rates, args.data / "manifests"))


def _train_lm(args: Namespace, lm_dir: Path, config: LmConfig, texts: Path | None, processes: Processes) -> None:
    """Train a language model unless it is up to date, also on the texts of text-only lectures if they are given."""
    if config.kind == "none":
        raise ConfigError("decode.lm_scale is not 0, but lm.kind is none: choose ngram or rnn, or set decode.lm_dir")
    inputs = [Input(args.data / "cuts", 4, LM_CUTS), Input(args.data / "lang", 2)]
    if texts is not None:
        inputs.append(Input(args.data / "manifests", 1, LM_TEXTS))
    stage = lm_stage(inputs, lm_dir, config, args.redo)
    if stage.is_done():
        return
    from ml2021.asr.fusion.train_lm import train_lm

    cuts, lang = args.data / "cuts", args.data / "lang"
    with stage.work() as out:
        if processes.size > 1 and config.kind == "rnn" and texts is not None:
            from ml2021.asr.fusion.worker import arguments_of

            run_processes("ml2021.asr.fusion.worker", arguments_of(cuts, texts, lang, out, config), processes)
        else:
            train_lm(cuts, texts, lang, out, config)


def _make_lexicon(args: Namespace, config: DecodeConfig) -> None:
    """Make exp/lexicon from the texts that a language model is trained on and those of the configuration."""
    inputs = [
        Input(args.data / "cuts", 4, LM_CUTS[:1]),
        Input(args.exp / "asr", 5, ("units/*",)),
        Input(args.data / "manifests", 1, LM_TEXTS),
        *(Input(Path(file)) for file in config.lexicon_texts),
    ]
    stage = Stage("lexicon", args.exp / "lexicon", inputs, {})
    if stage.is_done():
        return
    from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
    from ml2021.asr.fusion.lexicon import texts_of_corpus, write_lexicon
    from ml2021.asr.model.spelling import UNITS

    if not (args.exp / "asr" / UNITS).is_dir():
        raise ConfigError("lexicon_search needs a head on units: train with asr.model.units_ctc_scale > 0 (asr.yaml)")
    files = [args.data / "manifests" / LM_TEXTS[0], *map(Path, config.lexicon_texts)]
    texts = texts_of_corpus(args.data / "cuts", files)
    with stage.work() as out:
        write_lexicon(out / LEXICON, texts, PronunciationUnits.load(args.exp / "asr" / UNITS))


if __name__ == "__main__":
    run_main(main)
