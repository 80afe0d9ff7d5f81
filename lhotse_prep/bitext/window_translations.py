"""The translation goes with its window: sentence pairs of stage 7 on the windows of stage 4."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, SupervisionSegment, load_manifest
from lhotse.utils import fastcopy

from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.files import read_jsonl

logger = logging.getLogger(__name__)


def write_translated_windows(cuts_dir: Path, bitext_dir: Path) -> None:
    """Write bitext_dir/ml2021_cuts_{part}.jsonl.gz: stage 4's windows with the sentences of {part}.jsonl there."""
    for part in PARTS:
        cuts = load_manifest(cuts_dir / f"ml2021_cuts_{part}.jsonl.gz", CutSet)
        translated, num_left_out = with_translations(cuts, read_jsonl(bitext_dir / f"{part}.jsonl"))
        translated.to_file(bitext_dir / f"ml2021_cuts_{part}.jsonl.gz")
        logger.info("%s: %d windows, %d sentence pairs in none of them whole", part, len(translated), num_left_out)


def with_translations(cuts: CutSet, pairs: Sequence[Mapping[str, Any]]) -> tuple[CutSet, int]:
    """Give supervisions the translation of the sentences that begin in them.

    Args:
      cuts: windows, whose supervisions have `first_token` and the transcript's tokens as text.
      pairs: rows of bitext/*.jsonl: "lecture", "first_token", "num_tokens" and "target".
    Returns:
      The cuts with custom["translated_text"]["eng"] where a sentence begins, and how many pairs of their lectures were
      left out since the tokens of the sentence are not all in one window.
    """
    by_lecture: dict[str, list[Mapping[str, Any]]] = {cut.recording_id: [] for cut in cuts}
    for pair in sorted(pairs, key=lambda p: int(p["first_token"])):
        if pair["num_tokens"] and pair["target"] and pair["lecture"] in by_lecture:
            by_lecture[pair["lecture"]].append(pair)
    result, num_placed = [], 0
    for cut in cuts:
        held = {t for s in cut.supervisions for t in _tokens(s)}
        whole = [
            p
            for p in by_lecture[cut.recording_id]
            if int(p["first_token"]) in held and int(p["first_token"]) + int(p["num_tokens"]) - 1 in held
        ]
        num_placed += len(whole)
        result.append(_translated(cut, whole))
    return CutSet.from_cuts(result), sum(len(p) for p in by_lecture.values()) - num_placed


def _translated(cut: MonoCut, pairs: Sequence[Mapping[str, Any]]) -> MonoCut:
    supervisions = []
    for s in cut.supervisions:
        begun = " ".join(p["target"] for p in pairs if int(p["first_token"]) in _tokens(s))
        custom = (s.custom or {}) | ({"translated_text": {"eng": begun}} if begun else {})
        supervisions.append(fastcopy(s, custom=custom))
    return fastcopy(cut, supervisions=supervisions)


def _tokens(s: SupervisionSegment) -> range:
    first = int((s.custom or {})["first_token"])
    return range(first, first + len((s.text or "").split()))
