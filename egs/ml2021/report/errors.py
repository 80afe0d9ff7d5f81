"""Where the recogniser errs: by language, at switches between languages, which tokens; with bootstrap intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lhotse_prep.normalize import is_han
from ml2021.scoring.error_rate import EPSILON, Alignment, Counts, ErrorRate, score
from ml2021.scoring.texts import read_texts

REPLICATIONS = 2000  # of the bootstrap
MIN_UTTERANCES = 10  # fewer say nothing about the spread between utterances
Interval = tuple[float, float]  # 2.5% and 97.5% points


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
    """The score of all recogs-*.txt in a folder; None where there are none."""
    pairs: dict[str, tuple[str, str, str]] = {}
    for path in sorted(folder.glob("recogs-*.txt")):
        refs, hyps = read_texts(path, "ref"), read_texts(path, "hyp")
        pairs |= {i: (i, refs[i], hyps[i]) for i in refs if i in hyps}
    return score(pairs.values()) if pairs else None


def language(token: str) -> str:
    """zh or en, as scoring counts a token."""
    return "zh" if is_han(token[0]) else "en"


def count_at_switches(alignments: Iterable[Alignment]) -> dict[tuple[str, bool], Counts]:
    """Errors by (language, is it at a switch).

    A reference token is at a switch where the reference token before or after it is of the other language; an inserted
    token (which counts as of its own language) where the reference tokens around it differ in language.
    """
    table = {(name, at_switch): Counts() for name in ("zh", "en") for at_switch in (False, True)}
    for alignment in alignments:
        for (ref, hyp), at_switch in zip(alignment, _at_switch(alignment)):
            counts = table[language(ref or hyp), at_switch]
            counts.num_ref += ref != EPSILON
            counts.insertions += ref == EPSILON
            counts.deletions += hyp == EPSILON
            counts.substitutions += EPSILON not in (ref, hyp) and ref != hyp
    return table


def _at_switch(alignment: Alignment) -> list[bool]:
    languages = [language(ref) if ref else "" for ref, _ in alignment]
    before, after = _last_seen(languages), _last_seen(languages[::-1])[::-1]
    flags = []
    for own, left, right in zip(languages, before, after):
        if own:
            flags.append(bool((left and left != own) or (right and right != own)))
        else:
            flags.append(bool(left and right and left != right))
    return flags


def _last_seen(languages: Sequence[str]) -> list[str]:
    """For each place, the last language that is named before it; "" where there is none."""
    seen, last = [], ""
    for name in languages:
        seen.append(last)
        last = name or last
    return seen


def confusions(alignments: Mapping[str, Alignment]) -> Confusions:
    """All pairs of the alignments that differ."""
    found = Confusions()
    for utterance_id, alignment in alignments.items():
        for pair in alignment:
            if pair[0] != pair[1]:
                found.counts[pair] += 1
                found.where[pair].append(utterance_id)
    return found


def bootstrap_intervals(alignments: Iterable[Alignment]) -> dict[str, Interval | None]:
    """95% intervals, in percent, of the error rate and of its parts: utterances are drawn with replacement.

    Bisani and Ney, 2004: "Bootstrap estimates for confidence intervals in ASR performance evaluation".

    Returns:
      {"mer", "zh", "en"}; None where there are too few utterances, or no reference token of the kind.
    """
    rows = []
    for alignment in alignments:
        row = dict.fromkeys(("zh", "en", "zh_ref", "en_ref"), 0)
        for ref, hyp in alignment:
            name = language(ref or hyp)
            row[name] += ref != hyp
            row[f"{name}_ref"] += ref != EPSILON
        rows.append(list(row.values()))
    if len(rows) < MIN_UTTERANCES:
        return dict.fromkeys(("mer", "zh", "en"))
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=REPLICATIONS)
    zh, en, zh_ref, en_ref = (draws @ np.array(rows)).T
    return {"mer": _interval(zh + en, zh_ref + en_ref), "zh": _interval(zh, zh_ref), "en": _interval(en, en_ref)}


def _interval(errors: np.ndarray, num_ref: np.ndarray) -> Interval | None:
    rates = 100 * errors[num_ref > 0] / num_ref[num_ref > 0]
    if not len(rates):
        return None
    low, high = np.percentile(rates, [2.5, 97.5])
    return round(float(low), 3), round(float(high), 3)
