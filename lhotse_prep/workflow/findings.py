"""What is wrong with the data: findings that name the id, the value, the limit and the remedy; and what follows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl

logger = logging.getLogger(__name__)
REJECTED = "rejected.jsonl"
_SHOWN = 10  # findings that a message lists


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one recording, supervision or row."""

    check: str  # a short name, the same for all findings of a kind: "nan", "empty-text"
    kind: str  # what `id` names: recording, supervision, lecture, utterance
    id: str
    part: str  # train, dev, test, text or decode
    message: str  # the value and the limit
    remedy: str  # what to do
    is_error: bool = True  # a warning does not stop anything and leaves nothing out

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.message}; {self.remedy}"


@dataclass(frozen=True)
class RejectPolicy:
    """What follows from errors in the data."""

    skip_bad: bool = False  # leave out what has an error, count it, write rejected.jsonl; else stop
    max_rejected: float = 0.05  # of the rows, in 0..1: past it everything stops, since then the corpus is at fault

    def __post_init__(self) -> None:
        if not 0 <= self.max_rejected <= 1:
            raise ConfigError(f"max_rejected must be in 0..1, got {self.max_rejected}")


def settle(findings: Sequence[Finding], num_rows: int, policy: RejectPolicy, out_dir: Path) -> set[tuple[str, str]]:
    """Log the warnings; stop for errors, or with skip_bad name what to leave out.

    Args:
      findings: of one corpus or one set of manifests.
      num_rows: recordings or rows that were looked at.
      policy: whether bad ones are left out, and how many at most.
      out_dir: where rejected.jsonl goes; what this run wrote there before is kept.
    Returns:
      (part, id) of what is to be left out; empty where there is no error.
    Raises:
      DataError: there are errors, and skip_bad is off or they are too many.
    """
    for finding in [f for f in findings if not f.is_error][:_SHOWN]:
        logger.warning("%s", finding)
    errors = [f for f in findings if f.is_error]
    if not errors:
        return set()
    if not policy.skip_bad:
        raise DataError(describe(errors))
    bad = {(f.part, f.id) for f in errors}
    if len(bad) > policy.max_rejected * num_rows:
        raise DataError(
            f"{len(bad)} of {num_rows} are bad ({len(bad) / max(num_rows, 1):.1%}), more than --max-rejected "
            f"{policy.max_rejected:g} allows; put the corpus right, or allow more. {describe(errors)}"
        )
    write_rejected(out_dir / REJECTED, errors)
    logger.warning("left out %d of %d: %s (see %s)", len(bad), num_rows, summary(errors), out_dir / REJECTED)
    return bad


def describe(errors: Sequence[Finding]) -> str:
    """One message for all: the finding itself where it is alone, else counts and a list."""
    if len(errors) == 1:
        return str(errors[0])
    shown = "".join(f"\n  {e}" for e in errors[:_SHOWN])
    more = f"\n  and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    return f"{len(errors)} errors ({summary(errors)}); --skip-bad leaves such data out:{shown}{more}"


def summary(findings: Iterable[Finding]) -> str:
    """Counts by check: 'nan 2, silent 1'."""
    return ", ".join(f"{check} {n}" for check, n in sorted(Counter(f.check for f in findings).items()))


def write_rejected(path: Path, errors: Iterable[Finding]) -> None:
    """Add one JSON object a finding to those that are there."""
    rows: list[dict[str, Any]] = read_jsonl(path) if path.is_file() else []
    new = [{k: v for k, v in asdict(e).items() if k != "is_error"} for e in errors]
    write_jsonl(path, rows + [row for row in new if row not in rows])
