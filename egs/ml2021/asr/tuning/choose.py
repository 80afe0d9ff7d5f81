"""Choose values of decoding by the errors on dev.

python -m ml2021.asr.tuning.choose --exp-dir exp/mini/asr --cuts data/mini/cuts \\
    --decoding-method modified_beam_search --option lm_scale=0,0.1,0.2 --option ctc_scale=0,0.3 --out chosen/decode.yaml
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.decode.options import (
    CUTS_FLAGS,
    CUTS_HELP,
    add_model_options,
    add_value_options,
    decode_config,
    given_values,
    weights_of,
)
from ml2021.asr.tuning.grid import combinations, parse_choices

logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Decode the windows of dev with all combinations of some values, and choose the one with the fewest errors.

    Prints a table, and writes the chosen values as a decode.yaml, with the table as JSON beside it. All other options
    are those of ml2021.asr.decode.
    """
    args = _parser().parse_args(argv)
    require_part(args.part)
    choices = parse_choices(args.option)
    from ml2021.asr.tuning.outcome import RULE, require_writable, rows_of, table, write_choice

    require_writable(args.out)
    config, fixed = decode_config(args.exp_dir, args.conf), given_values(args)
    grid = combinations(config, fixed, choices, args.exp_dir.parent)
    weights, name = weights_of(args)
    from ml2021.asr.tuning.decode_grid import outcomes_of

    outcomes = outcomes_of(args.exp_dir, args.cuts, args.part, grid, weights)
    rows = rows_of(outcomes)
    sys.stdout.write(f"{table(rows, list(choices))}{RULE}\n")
    write_choice(
        args.out, args.part, outcomes[0], rows, {"exp_dir": str(args.exp_dir), "weights": name or "pretrained"}
    )
    num_alike = sum(not row["is_worse"] for row in rows[1:])
    logger.info(
        "%s, %d windows: MER %s; %d of the %d other combinations are not significantly worse",
        args.part,
        len(outcomes[0].windows),
        outcomes[0].total,
        num_alike,
        len(rows) - 1,
    )
    how = f"decode with --conf {args.out.parent}, or " if args.out.name == "decode.yaml" else ""
    logger.info("%s has the chosen values: %scopy them into section decode of your decode.yaml", args.out, how)


def require_part(part: str) -> None:
    """Raise ConfigError unless values may be chosen on a part: dev, train, or train at another speed."""
    if part.startswith("test"):
        raise ConfigError(
            "values chosen on the test part make its error rate too good: it would no longer be a test; choose on dev"
        )
    if part != "dev" and part != "train" and not part.startswith("train_sp"):
        raise ConfigError(f"--part {part}: choose on dev, or on train")


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m ml2021.asr.tuning.choose", allow_abbrev=False, description=main.__doc__)
    p.add_argument(*CUTS_FLAGS, dest="cuts", type=Path, metavar="DIR", required=True, help=CUTS_HELP)
    p.add_argument("--part", default="dev", help="never test [%(default)s]")
    p.add_argument(
        "--option",
        action="append",
        required=True,
        metavar="NAME=VALUE,VALUE,...",
        help="values of an option to choose from, such as lm_scale=0,0.1,0.2; null: none; may be given several times",
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE.yaml", help="gets the values; FILE.json the table")
    add_model_options(p)
    add_value_options(p)
    return p


if __name__ == "__main__":
    run_main(main)
