"""Windows with their translations: the sentence pairs of stage 7 attached to the windows of stage 4."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.utils import fastcopy

from lhotse_prep.bitext.files import iterate_pairs
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import first_token
from lhotse_prep.manifests.files import open_part, part_file, write_manifest
from lhotse_prep.manifests.grouped import Grouped, key_digest

logger = logging.getLogger(__name__)
_NEEDED = ("lecture", "target", "first_token", "num_tokens")  # of a sentence pair


def write_translated_cuts(cuts_dir: Path, bitext_dir: Path, out_dir: Path) -> None:
    """Write out_dir/ml2021_cuts_{part}.jsonl.gz: stage 4's windows with the translations of bitext_dir/{part}.jsonl.

    The windows and the pairs of one lecture at a time are in memory.
    """
    for part in PARTS:
        cuts = open_part(cuts_dir, "cuts", part, CutSet)
        counts = _Counts()
        pairs = _by_lecture(partial(iterate_pairs, bitext_dir / f"{part}.jsonl", _NEEDED), out_dir)
        write_manifest(part_file(out_dir, "cuts", part), _with_translations(cuts, pairs, counts))
        logger.info("%s: %d windows; %d sentence pairs in no window as a whole", part, counts.cuts, counts.left_out)


def with_translations(cuts: CutSet, pairs: Sequence[Mapping[str, Any]]) -> tuple[CutSet, int]:
    """Give each supervision the translations of the sentences that begin in it.

    Args:
      cuts: windows; each supervision has custom["first_token"], and the transcript's tokens as its text.
      pairs: rows of bitext/*.jsonl, with "lecture", "first_token", "num_tokens" and "target".
    Returns:
      The cuts, with custom["translated_text"]["eng"] on each supervision in which a sentence begins; and the number of
      pairs of these lectures that were left out because no window holds all tokens of the sentence.
    """
    counts = _Counts()
    translated = list(_with_translations(cuts, _by_lecture(lambda: pairs, None), counts))
    return CutSet.from_cuts(translated), counts.left_out


@dataclass
class _Counts:
    """Of cuts, of the sentence pairs of their lectures, and of those that are in a cut as a whole."""

    cuts: int = 0
    pairs: int = 0
    placed: int = 0

    @property
    def left_out(self) -> int:
        """Pairs of which no cut holds all tokens; one that two cuts hold counts twice as placed."""
        return self.pairs - self.placed


def _by_lecture(read: Callable[[], Iterable[Mapping[str, Any]]], work: Path | None) -> Grouped[Mapping[str, Any]]:
    return Grouped(read, lambda pair: str(pair["lecture"]), work, None)


def _with_translations(
    cuts: Iterable[MonoCut], pairs: Grouped[Mapping[str, Any]], counts: _Counts
) -> Iterator[MonoCut]:
    """with_translations, one lecture after the other; the windows of a lecture may stand apart."""
    lookup = pairs.lookup(keeps=True)
    counted: set[bytes] = set()  # lectures
    for lecture, cuts_of_lecture in groupby(cuts, lambda cut: str(cut.recording_id)):
        pairs_of_lecture = [p for p in lookup.rows_of(lecture) if p["num_tokens"] and p["target"]]
        pairs_of_lecture.sort(key=lambda p: int(p["first_token"]))
        if (digest := key_digest(lecture)) not in counted:
            counts.pairs += len(pairs_of_lecture)
            counted.add(digest)
        for cut in cuts_of_lecture:
            tokens = {t for s in cut.supervisions for t in _tokens(s)}
            whole = [
                p
                for p in pairs_of_lecture
                if int(p["first_token"]) in tokens and int(p["first_token"]) + int(p["num_tokens"]) - 1 in tokens
            ]
            counts.cuts += 1
            counts.placed += len(whole)
            yield _translated(cut, whole)


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
