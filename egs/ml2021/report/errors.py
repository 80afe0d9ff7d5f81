"""Analyse recognition errors by language, at language switches and by token, with bootstrap intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.stage import stage_files
from ml2021.scoring.align import Alignment
from ml2021.scoring.counts import Counts, ErrorRate, at_switches, by_utterance, score
from ml2021.scoring.significance import Interval, interval
from ml2021.scoring.texts import read_texts


@dataclass
class Confusions:
    """How often each token was confused with another, and in which utterances."""

    counts: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    utterance_ids: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def most_frequent(self, limit: int) -> list[tuple[str, str, int, list[str]]]:
        """(reference, hypothesis, count, ids of the utterances), most frequent first."""
        most = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [(*pair, n, list(dict.fromkeys(self.utterance_ids[pair]))) for pair, n in most]


def read_recogs(folder: Path) -> ErrorRate | None:
    """Score the recogs-test-*.txt that stage 6 wrote to a folder, not those of dev; None if there are none."""
    pairs: dict[str, tuple[str, str, str]] = {}
    for path in stage_files(folder, "recogs-test-*.txt"):
        refs, hyps = read_texts(path, "ref"), read_texts(path, "hyp")
        pairs |= {i: (i, refs[i], hyps[i]) for i in refs if i in hyps}
    return score(pairs.values()) if pairs else None


def count_at_switches(alignments: Iterable[Alignment]) -> dict[tuple[str, bool], Counts]:
    """Count errors by (language, whether at a language switch), as ml2021.scoring.error_rate defines them."""
    table = {(name, at_switch): Counts() for name in ("zh", "en") for at_switch in (False, True)}
    for alignment in alignments:
        for (ref, hyp), at_switch in zip(alignment, at_switches(alignment)):
            table["zh" if is_han((ref or hyp)[0]) else "en", at_switch].add(ref, hyp)
    return table


def confusions(alignments: Mapping[str, Alignment]) -> Confusions:
    """Collect all pairs of different tokens in the alignments."""
    result = Confusions()
    for utterance_id, alignment in alignments.items():
        for pair in alignment:
            if pair[0] != pair[1]:
                result.counts[pair] += 1
                result.utterance_ids[pair].append(utterance_id)
    return result


def bootstrap_intervals(rate: ErrorRate) -> dict[str, Interval | None]:
    """95% intervals of the error rate and its parts, {"mer", "zh", "en"}; None if there is too little data."""
    totals, zh, en = zip(*((u.total, u.zh, u.en) for u in by_utterance(rate)), strict=True)
    return {"mer": interval(totals), "zh": interval(zh), "en": interval(en)}
