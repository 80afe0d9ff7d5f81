"""Findings: what is wrong with the data, by id, value, limit and remedy; they are logged, written, or stop the run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.config import RejectPolicy
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl

logger = logging.getLogger(__name__)
REJECTED = "rejected.jsonl"
_MAX_LISTED = 10  # findings in a message or in the log


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one recording, supervision or row."""

    check: str  # the name of the check that failed: "silent", "empty-text"
    kind: str  # what `id` names: recording, supervision, lecture, utterance
    id: str
    part: str  # train, dev, test, text or decode
    message: str  # the value and the limit
    remedy: str  # what to do
    is_error: bool = True  # False: a warning, which neither stops the run nor leaves anything out

    def __str__(self) -> str:
        return f"{self.kind} {self.id}: {self.message}; {self.remedy}"


def settle(findings: Sequence[Finding], num_rows: int, policy: RejectPolicy, out_dir: Path) -> set[tuple[str, str]]:
    """Log the warnings; raise DataError for errors, or with skip_bad return what to leave out.

    Args:
      findings: of one corpus or one set of manifests.
      num_rows: number of recordings or rows that were checked.
      policy: whether bad ones are left out, and what share of them at most.
      out_dir: where rejected.jsonl goes; lines that this run wrote to it before are kept.
    Returns:
      (part, id) of what to leave out; empty if there is no error.
    Raises:
      DataError: there are errors, and skip_bad is off or there are too many.
    """
    warnings = [f for f in findings if not f.is_error]
    for warning in warnings[:_MAX_LISTED]:
        logger.warning("%s", warning)
    if more := warnings[_MAX_LISTED:]:
        logger.warning("and %d more warnings: %s", len(more), summary(more))
    errors = [f for f in findings if f.is_error]
    if not errors:
        return set()
    if not policy.skip_bad:
        raise DataError(describe(errors))
    bad = {(f.part, f.id) for f in errors}
    if len(bad) > policy.max_rejected * num_rows:
        raise DataError(
            f"{len(bad)} of {num_rows} are bad ({len(bad) / max(num_rows, 1):.1%}), more than --max-rejected "
            f"{policy.max_rejected:g} allows; fix the corpus, or allow more. {describe(errors)}"
        )
    write_rejected(out_dir / REJECTED, errors)
    logger.warning("left out %d of %d: %s (listed in %s)", len(bad), num_rows, summary(errors), REJECTED)
    return bad


def describe(errors: Sequence[Finding]) -> str:
    """One message for all errors: a single one as it is, several as counts by check and a list of the first ten."""
    if len(errors) == 1:
        return str(errors[0])
    listed = "".join(f"\n  {e}" for e in errors[:_MAX_LISTED])
    more = f"\n  and {len(errors) - _MAX_LISTED} more" if len(errors) > _MAX_LISTED else ""
    return f"{len(errors)} errors ({summary(errors)}); --skip-bad leaves such data out:{listed}{more}"


def summary(findings: Iterable[Finding]) -> str:
    """Counts by check: 'empty-text 2, silent 1'."""
    return ", ".join(f"{check} {n}" for check, n in sorted(Counter(f.check for f in findings).items()))


def write_rejected(path: Path, errors: Iterable[Finding]) -> None:
    """Append one JSON object per finding to the file; findings that are already in it are not repeated."""
    rows: list[dict[str, Any]] = read_jsonl(path) if path.is_file() else []
    written = {digest_json(row) for row in rows}
    new = [{k: v for k, v in asdict(e).items() if k != "is_error"} for e in errors]
    write_jsonl(path, rows + [row for row in new if digest_json(row) not in written])
