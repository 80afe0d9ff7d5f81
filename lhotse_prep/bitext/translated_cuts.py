"""Windows with their translations: the sentence pairs of stage 7 attached to the windows of stage 4."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.utils import fastcopy

from lhotse_prep.bitext.files import read_pairs
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import first_token
from lhotse_prep.manifests.files import load_part, part_file, write_manifest

logger = logging.getLogger(__name__)
_NEEDED = ("lecture", "target", "first_token", "num_tokens")  # of a sentence pair


def write_translated_cuts(cuts_dir: Path, bitext_dir: Path, out_dir: Path) -> None:
    """Write out_dir/ml2021_cuts_{part}.jsonl.gz: stage 4's windows with the translations of bitext_dir/{part}.jsonl."""
    for part in PARTS:
        cuts = load_part(cuts_dir, "cuts", part, CutSet)
        translated, num_left_out = with_translations(cuts, read_pairs(bitext_dir / f"{part}.jsonl", _NEEDED))
        write_manifest(part_file(out_dir, "cuts", part), translated)
        logger.info("%s: %d windows; %d sentence pairs in no window as a whole", part, len(translated), num_left_out)


def with_translations(cuts: CutSet, pairs: Sequence[Mapping[str, Any]]) -> tuple[CutSet, int]:
    """Give each supervision the translations of the sentences that begin in it.

    Args:
      cuts: windows; each supervision has custom["first_token"], and the transcript's tokens as its text.
      pairs: rows of bitext/*.jsonl, with "lecture", "first_token", "num_tokens" and "target".
    Returns:
      The cuts, with custom["translated_text"]["eng"] on each supervision in which a sentence begins; and the number of
      pairs of these lectures that were left out because no window holds all tokens of the sentence.
    """
    pairs_of: dict[str, list[Mapping[str, Any]]] = {cut.recording_id: [] for cut in cuts}
    for pair in sorted(pairs, key=lambda p: int(p["first_token"])):
        if pair["num_tokens"] and pair["target"] and pair["lecture"] in pairs_of:
            pairs_of[pair["lecture"]].append(pair)
    translated, num_placed = [], 0
    for cut in cuts:
        tokens = {t for s in cut.supervisions for t in _tokens(s)}
        whole = [
            p
            for p in pairs_of[cut.recording_id]
            if int(p["first_token"]) in tokens and int(p["first_token"]) + int(p["num_tokens"]) - 1 in tokens
        ]
        num_placed += len(whole)
        translated.append(_translated(cut, whole))
    return CutSet.from_cuts(translated), sum(len(p) for p in pairs_of.values()) - num_placed


def _translated(cut: MonoCut, pairs: Sequence[Mapping[str, Any]]) -> MonoCut:
    """The cut with the pairs' translations, each on the supervision that holds the sentence's first token."""
    supervisions = []
    for s in cut.supervisions:
        translation = " ".join(p["target"] for p in pairs if int(p["first_token"]) in _tokens(s))
        custom = (s.custom or {}) | ({"translated_text": {"eng": translation}} if translation else {})
        supervisions.append(fastcopy(s, custom=custom))
    return fastcopy(cut, supervisions=supervisions)


def _tokens(s: SupervisionSegment) -> range:
    """The positions of the supervision's tokens in the lecture's transcript."""
    first = first_token(s)
    return range(first, first + len((s.text or "").split()))
