"""Where the recogniser errs: by language, at switches between languages, which tokens; with bootstrap intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.stage import stage_files
from ml2021.scoring.counts import Alignment, Counts, ErrorRate, at_switches, by_utterance, score
from ml2021.scoring.significance import Interval, interval
from ml2021.scoring.texts import read_texts


@dataclass
class Confusions:
    """How often tokens were taken for others, and in which utterances."""

    counts: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    where: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def most_frequent(self, limit: int) -> list[tuple[str, str, int, list[str]]]:
        """(reference, hypothesis, count, ids of the utterances), most frequent first."""
        found = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return [(*pair, n, list(dict.fromkeys(self.where[pair]))) for pair, n in found]


def read_recogs(folder: Path) -> ErrorRate | None:
    """The score of the recogs-*.txt that stage 6 left in a folder; None where there are none."""
    pairs: dict[str, tuple[str, str, str]] = {}
    for path in stage_files(folder, "recogs-*.txt"):
        refs, hyps = read_texts(path, "ref"), read_texts(path, "hyp")
        pairs |= {i: (i, refs[i], hyps[i]) for i in refs if i in hyps}
    return score(pairs.values()) if pairs else None


def count_at_switches(alignments: Iterable[Alignment]) -> dict[tuple[str, bool], Counts]:
    """Errors by (language, is it at a switch), as scoring tells them (see ml2021.scoring.error_rate)."""
    table = {(name, at_switch): Counts() for name in ("zh", "en") for at_switch in (False, True)}
    for alignment in alignments:
        for (ref, hyp), at_switch in zip(alignment, at_switches(alignment)):
            table["zh" if is_han((ref or hyp)[0]) else "en", at_switch].add(ref, hyp)
    return table


def confusions(alignments: Mapping[str, Alignment]) -> Confusions:
    """All pairs of the alignments that differ."""
    found = Confusions()
    for utterance_id, alignment in alignments.items():
        for pair in alignment:
            if pair[0] != pair[1]:
                found.counts[pair] += 1
                found.where[pair].append(utterance_id)
    return found


def bootstrap_intervals(rate: ErrorRate) -> dict[str, Interval | None]:
    """95% intervals of the error rate and of its parts: {"mer", "zh", "en"}; None where there is too little to tell."""
    own = by_utterance(rate)
    return {
        "mer": interval([u.total for u in own]),
        "zh": interval([u.zh for u in own]),
        "en": interval([u.en for u in own]),
    }
