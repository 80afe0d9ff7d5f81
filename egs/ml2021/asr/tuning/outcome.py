"""What the combinations of a grid give on a part: the choice among them, a table, and the files of the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import read_text, write_json, write_text
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.search.config import NO_LM
from ml2021.asr.tuning.grid import Combination
from ml2021.scoring.counts import Counts
from ml2021.scoring.significance import chance_of_improvement, interval

_WORSE = 0.975  # chance that the best one makes fewer errors from which the other one is significantly worse
_HEADER = "# Values of decoding chosen"  # a file that begins with it may be written again
RULE = (
    "chosen: the fewest errors; of equally many, the values nearest to 0, those of the first options first. "
    "* not significantly worse than the chosen one (paired bootstrap, 97.5%)"
)


@dataclass(frozen=True)
class Outcome:
    """The errors of a combination in each window, in the order of their ids."""

    combination: Combination
    windows: Sequence[Counts]

    @cached_property
    def total(self) -> Counts:
        """Over all windows."""
        names = ("num_ref", "insertions", "deletions", "substitutions")
        return Counts(*(sum(getattr(w, name) for w in self.windows) for name in names))


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes with the chosen one first: by errors, then by the order of the combinations."""
    return sorted(outcomes, key=lambda o: (o.total.errors, o.combination.order))


def is_worse(outcome: Outcome, best: Outcome) -> bool:
    """Whether it is significantly worse than the best one; False for too few windows to say so."""
    if outcome is best:
        return False
    chance = chance_of_improvement(outcome.windows, best.windows)
    return chance is not None and chance >= _WORSE


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """What table and JSON say of ranked outcomes: values, mer in percent, its interval, counts, is_worse."""
    rows = []
    for outcome in outcomes:
        total, confidence = outcome.total, interval(outcome.windows)
        rows.append(
            {
                "values": dict(outcome.combination.values),
                "mer": total.percent,
                "interval": None if confidence is None else [round(x, 3) for x in confidence],
                "errors": total.errors,
                "num_ref": total.num_ref,
                "insertions": total.insertions,
                "deletions": total.deletions,
                "substitutions": total.substitutions,
                "is_worse": is_worse(outcome, outcomes[0]),
            }
        )
    return rows


def table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Rows of rows_of as lines of text, with a column for each named option; - where it has no effect."""
    lines = [[*names, "MER", "95%", "errors", "ins", "del", "sub", ""]]
    for row in rows:
        values = [_shown(row["values"][name]) if name in row["values"] else "-" for name in names]
        mer = "-" if row["mer"] is None else f"{row['mer']:.2f}%"
        confidence = "-" if row["interval"] is None else "[{:.2f}, {:.2f}]".format(*row["interval"])
        counts = [str(row[name]) for name in ("insertions", "deletions", "substitutions")]
        mark = "" if row["is_worse"] else "chosen" if row is rows[0] else "*"
        lines.append([*values, mer, confidence, f"{row['errors']} / {row['num_ref']}", *counts, mark])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() + "\n" for line in lines)


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def require_writable(out: Path) -> None:
    """Raise ConfigError unless `out` names a YAML file that is not there, or that write_choice wrote."""
    if out.suffix != ".yaml":
        raise ConfigError(f"--out {out}: name a file that ends in .yaml, such as exp/mini/asr/chosen/decode.yaml")
    if (content := read_text(out)) is not None and not content.startswith(_HEADER):
        raise ConfigError(f"--out {out} is there, and this command did not write it: name another file")
    if content is None and out.with_suffix(".json").exists():
        raise ConfigError(f"--out {out}: {out.with_suffix('.json')} would be overwritten: name another file")


def write_choice(out: Path, part: str, best: Outcome, rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write the values of the best outcome to `out`, as decode.yaml, and all rows of rows_of as JSON beside it.

    Args:
      about: what else the JSON file says.
    """
    config = best.combination.written
    values, default = to_mapping(config), to_mapping(DecodeConfig())
    of_words = ("word_score", "token_scale") if config.decoding_method == "lexicon_search" else ()
    scales = (*NO_LM, "ctc_scale", *of_words)  # also where 0: a decode.yaml that they are copied to may have others
    kept = {k: v for k, v in values.items() if v != default[k] or k in best.combination.values or k in scales}
    section = {"decode": {"decoding_method": config.decoding_method, **kept}}
    header = f"{_HEADER} on {part}, {len(best.windows)} windows: MER {best.total}\n"
    content = {**about, "part": part, "windows": len(best.windows), "rule": RULE, "chosen": rows[0]["values"]}
    write_json(out.with_suffix(".json"), {**content, "combinations": rows})
    write_text(out, header + yaml.safe_dump(section, sort_keys=False, allow_unicode=True))
