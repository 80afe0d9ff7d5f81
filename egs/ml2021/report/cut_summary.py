"""Summarise the text of a manifest of cuts: tokens per second, languages, confidences, words without times."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from lhotse_prep.manifests.files import open_cuts
from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.counts import mer_tokens

QUANTILES = (0.05, 0.5, 0.95)


@dataclass
class CutSummary:
    """Statistics of a set of cuts. Lists have one entry per cut unless stated otherwise."""

    recordings: set[str] = field(default_factory=set)
    durations: list[float] = field(default_factory=list)  # seconds
    rates: list[float] = field(default_factory=list)  # tokens per second
    languages: dict[str, int] = field(default_factory=lambda: {"zh": 0, "en": 0, "mixed": 0, "no text": 0})  # cuts
    num_zh: int = 0  # Chinese characters
    num_en: int = 0  # English words
    num_switches: int = 0  # changes of language between adjacent tokens of a cut
    # one entry per word with a score, eight bytes each
    confidences: MutableSequence[float] = field(default_factory=lambda: array("d"))
    num_words: int = 0
    num_timed: int = 0  # words with times

    def add(self, cut: Cut) -> None:
        """Add a cut."""
        tokens = [token for s in cut.supervisions for token in mer_tokens(s.text or "")]
        han = [is_han(token[0]) for token in tokens]
        self.recordings |= {s.recording_id for s in cut.supervisions}
        self.durations.append(cut.duration)
        self.rates.append(len(tokens) / cut.duration)
        self.languages["no text" if not han else "zh" if all(han) else "mixed" if any(han) else "en"] += 1
        self.num_zh += sum(han)
        self.num_en += len(han) - sum(han)
        self.num_switches += sum(a != b for a, b in zip(han, han[1:]))
        items = [w for s in cut.supervisions for w in (s.alignment or {}).get("word", [])]
        self.confidences.extend(w.score for w in items if w.score is not None)
        self.num_words += sum(len((s.text or "").split()) for s in cut.supervisions)
        self.num_timed += len(items)


def read_cuts(path: Path) -> CutSet:
    """Read a manifest of cuts.

    Raises:
      DataError: there is no such file; in iteration, it is damaged, or does not contain cuts.
    """
    if not path.is_file():
        raise DataError(f"no file {path}; stage 4 writes data/C/cuts/ml2021_cuts_{{train,dev,test}}.jsonl.gz")
    return open_cuts(path)


def find_cut(cuts: CutSet, cut_id: str, path: Path) -> Cut:
    """Find a cut by its id; raises DataError if there is none."""
    examples: list[str] = []
    for cut in cuts:
        if cut.id == cut_id:
            return cut
        if len(examples) < 3:
            examples.append(cut.id)
    raise DataError(f"{path} has no cut {cut_id!r}; the first cuts are {', '.join(examples) or '(none)'}")


def summarise(cuts: Iterable[Cut]) -> CutSummary:
    """Summarise cuts."""
    summary = CutSummary()
    for cut in cuts:
        summary.add(cut)
    return summary


def render(name: str, s: CutSummary) -> str:
    """Format a summary as lines to print."""
    if not s.durations:
        return f"{name}: no cuts"
    num_tokens = s.num_zh + s.num_en
    kinds = ", ".join(f"{n} {kind}" for kind, n in s.languages.items() if n)
    rows = [
        ("cuts", f"{len(s.durations)} of {len(s.recordings)} recordings, {sum(s.durations) / 3600:.2f} h"),
        ("seconds per cut", _spread(s.durations, "{:.1f}")),
        ("tokens per second", _spread(s.rates, "{:.2f}")),
        ("languages of cuts", kinds),
    ]
    if num_tokens:
        shares = f"{_percent(s.num_zh, num_tokens)} Chinese characters, {_percent(s.num_en, num_tokens)} English words"
        rows.append(("tokens", f"{num_tokens}: {shares}, {s.num_switches} language switches"))
        rows.append(("words with times", f"{s.num_timed} of {s.num_words} ({_percent(s.num_timed, s.num_words)})"))
    if s.confidences:
        low = sum(c < 0.5 for c in s.confidences)
        rows.append(
            (
                "confidence of words",
                f"{_spread(s.confidences, '{:.3f}')}; {_percent(low, len(s.confidences))} below 0.5",
            )
        )
    else:
        rows.append(("confidence of words", "none: the words have no scores"))
    return "\n".join([name, *(f"  {key:<20} {value}" for key, value in rows)])


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = (form.format(v) for v in np.quantile(values, QUANTILES))
    return f"median {middle}, 5% to 95%: {low} to {high}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"
