#!/usr/bin/env python3
"""What helps a recogniser that learns from little speech: trainings and decodings of one corpus, side by side.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/little_speech.py --corpus voices/human --conf conf/mini \\
        --out exp/little --seed 42 7 --lm all=all --train plain --train 'sounds=init_tokens_from_aligner: true' \\
        --decode 'ctc=decoding_method: ctc_greedy_search' \\
        --decode 'lm=decoding_method: modified_beam_search, lm_scale: 0.3, lm_dir: all'

The corpus is a folder that stage 0 takes; stages 0 to 4 run once. Each --train is a training of stage 5 with other
values in section asr of the configuration (a dot in a key leads into a section), for each seed; trainings and
language models that are there are kept.
Each --decode is a decoding with values of section decode, where `lm_dir` is a language model of --lm: NAME=train of the
texts of the training windows, NAME=all also of lectures without audio, NAME=FILE also of the lines of a text file.
Prints a table: error rates with their 95% intervals, and how likely a training is better than the first one with the
same decoding and seed (paired bootstrap); between 2.5% and 97.5% the difference is not significant.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.stages import run_stage
from lhotse_prep.manifests.files import TEXTS
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import read_text, write_text
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.options import suffix_of
from ml2021.asr.decode.windows import decode_parts
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.fusion.lexicon import texts_of_corpus, write_lexicon
from ml2021.asr.fusion.train_lm import train_lm
from ml2021.asr.model.spelling import load_spelling
from ml2021.scoring.counts import Counts, ErrorRate, by_utterance
from ml2021.scoring.significance import chance_of_improvement, interval

COLUMNS = (
    *("training", "seed", "decoding", "CER %", "95%", "del", "ins", "sub", "units %"),
    *("better than the first", "training CPU s"),
)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of lectures")
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="[%(default)s]")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--train", action="append", required=True, metavar="NAME[=KEY: VALUE, ...]")
    parser.add_argument("--decode", action="append", required=True, metavar="NAME=KEY: VALUE, ...")
    parser.add_argument("--lm", action="append", default=[], metavar="NAME=train|all|FILE")
    parser.add_argument("--lm-order", type=int, default=3, help="tokens in the longest n-grams [%(default)s]")
    parser.add_argument("--seed", type=int, nargs="+", default=[42], help="of the training [%(default)s]")
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="[%(default)s]")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    data = args.out / "data"
    run_stage("make_corpus.py", args.conf, data, "--corpus", str(args.corpus.resolve()), log=args.out / "log")
    for script in ("make_manifests.py", "make_lang.py", "align.py", "make_windows.py"):
        run_stage(script, args.conf, data, log=args.out / "log")
    for argument in args.lm:
        name, _, kind = argument.partition("=")
        _train_lm(data, args.out / "lm" / name, kind, args.lm_order)
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    first: dict[tuple[int, str], list[Counts]] = {}
    for name, values in options_of(args.train):
        for seed in args.seed:
            exp, seconds = _train(args.out, args.conf, name, nested(values), seed)
            for decoding, chosen in options_of(args.decode):
                rate = _decode(exp, data / "cuts", args.part, decoding, chosen, args.out)
                counts = [u.total for u in by_utterance(rate)]
                baseline = first.setdefault((seed, decoding), counts)
                chance = chance_of_improvement(baseline, counts) if counts is not baseline else None
                row = table_row(rate, counts, chance)
                sys.stdout.write(f"| {' | '.join([name, str(seed), decoding, *row, seconds])} |\n")
                sys.stdout.flush()


def options_of(arguments: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """(name, values) of each NAME=KEY: VALUE, ...; raises ConfigError if the values cannot be read."""
    options = []
    for argument in arguments:
        name, _, rest = argument.partition("=")
        try:
            values = yaml.safe_load(f"{{{rest}}}")
        except yaml.YAMLError as e:
            raise ConfigError(f"{argument}: expected NAME=KEY: VALUE, KEY: VALUE ... ({e})") from e
        if not isinstance(values, dict) or any(not isinstance(key, str) or v is None for key, v in values.items()):
            raise ConfigError(f"{argument}: expected NAME=KEY: VALUE, KEY: VALUE ...")
        options.append((name, values))
    return options


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return result


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Old values with the new ones in their place."""
    both = {key: merged(old[key], value) for key, value in new.items() if isinstance(value, dict) and key in old}
    return {**old, **new, **both}


def _train(out: Path, conf: Path, name: str, values: dict[str, Any], seed: int) -> tuple[Path, str]:
    """Run stage 5; returns its folder, and the processor seconds that it took, '-' if it was there."""
    exp = out / f"{name}-{seed}"
    folder = exp / "conf"
    shutil.copytree(conf, folder, dirs_exist_ok=True)
    content = yaml.safe_load((conf / "asr.yaml").read_text(encoding="utf-8"))
    content["asr"] = merged(content["asr"], merged(values, {"train": {**values.get("train", {}), "seed": seed}}))
    write_text(folder / "asr.yaml", yaml.safe_dump(content, sort_keys=False))
    was_there, before = (exp / "asr" / "pretrained.pt").is_file(), os.times()
    run_stage("asr_train.py", folder, out / "data", "--exp", str(exp.resolve()), log=exp / "log")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return exp / "asr", "-" if was_there else f"{seconds:.0f}"


def _train_lm(data: Path, folder: Path, kind: str, order: int) -> None:
    """Train an n-gram model on the training windows, or also on lectures without audio, unless it is there."""
    is_file = kind not in ("train", "all")
    if is_file and not Path(kind).is_file():
        raise ConfigError(f"--lm: expected NAME=train, NAME=all or NAME=FILE, and {kind!r} is no file")
    if (folder / "lm.arpa").is_file():
        return
    texts = data / "manifests" / TEXTS
    if is_file:
        of_corpus = read_text(texts) or ""
        folder.mkdir(parents=True, exist_ok=True)
        texts = folder / TEXTS
        write_text(texts, of_corpus + as_texts(Path(kind).read_text(encoding="utf-8")))
    train_lm(data / "cuts", None if kind == "train" else texts, data / "lang", folder, LmConfig("ngram", order))


def as_texts(content: str) -> str:
    """Lines of text, normalised, as lines of texts.jsonl; those without a word are left out."""
    lines = (normalize_transcript(line) for line in content.splitlines())
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in lines if text)


def _decode(exp: Path, cuts: Path, part: str, name: str, values: Mapping[str, Any], out: Path) -> ErrorRate:
    """Decode the windows of a part; the files of results are in EXP/NAME."""
    config = from_mapping(dict(values), DecodeConfig, "--decode")
    if config.lm_dir is not None:
        config = replace(config, lm_dir=str(out / "lm" / config.lm_dir))
    if config.decoding_method == "lexicon_search" and config.lexicon_file is None:
        config = replace(config, lexicon_file=str(exp / "lexicon.txt"))
        if not (exp / "lexicon.txt").is_file():
            texts = texts_of_corpus(cuts, [out / "data" / "manifests" / TEXTS])
            write_lexicon(exp / "lexicon.txt", texts, load_spelling(exp, load_lang(exp / "lang")).units)
    return decode_parts(exp, cuts, [part], exp / name, config, None, suffix_of(config, "", False))[part]


def table_row(rate: ErrorRate, counts: list[Counts], chance: float | None) -> list[str]:
    """The cells from the error rate to the comparison."""
    t = rate.total
    cells = ["-" if t.percent is None else f"{t.percent:.2f}", str(interval(counts))]
    cells += [str(t.deletions), str(t.insertions), str(t.substitutions)]
    cells.append("-" if rate.units is None or rate.units.percent is None else f"{rate.units.percent:.2f}")
    return [*cells, "-" if chance is None else f"{chance:.1%}"]


if __name__ == "__main__":
    run_main(main)
