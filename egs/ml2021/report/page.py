"""The report of a run: one self-contained HTML file for all screen sizes, in a light and a dark theme.

page.html, page.css and page.js beside this file are its frame, style and script; this module writes its sections.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from lhotse_prep.workflow.files import iterate_jsonl, write_text
from ml2021.report.charts import histogram
from ml2021.report.config import PageConfig
from ml2021.report.errors import bootstrap_intervals, confusions, count_at_switches, read_recogs
from ml2021.report.intervals import bleu_interval
from ml2021.report.lectures import Lectures, collect_lectures
from ml2021.report.markup import data_script, escape, note, number, table
from ml2021.report.overview import Overview, write_table
from ml2021.report.provenance import commit, provenance_section
from ml2021.report.results import decode_folders, table_rows
from ml2021.report.training import training_section
from ml2021.scoring.align import EPSILON
from ml2021.scoring.counts import Counts, ErrorRate

NUM_CONFUSIONS = 15  # rows of the table of most frequent errors
NUM_LINKS = 4  # windows that a row of it links to
MOST_ALIGNED = 200  # rows of the table of lectures' alignments
TABLE = "lectures.tsv"
KINDS = {"zh": "Chinese characters", "en": "English words"}


def write_page(
    path: Path, data: Path, exp: Path, conf: Path, results: Mapping[str, Any], has_bars: bool, config: PageConfig
) -> None:
    """Write the page of a run, and beside it TABLE with the figures of all lectures.

    Args:
      path: the HTML file to write.
      data, exp, conf: the folders of the run, as passed to run.sh.
      results: from results.collect_results.
      has_bars: whether the results have bars (targets), as those of the mini corpus do.
      config: limits.
    """
    decoding = decode_folders(exp)[0]
    rate = read_recogs(decoding)
    lectures = collect_lectures(data, exp, rate, config)
    intervals = _intervals(rate, exp)
    sections = [
        ("results", "Results", _tiles(results, intervals) + _results(results, has_bars, intervals)),
        ("lectures", "Lectures", _lectures(lectures, config)),
        ("errors", "Errors", _errors(rate, decoding, {w["id"] for x in lectures.lectures for w in x["windows"]})),
        ("alignment", "Alignment and windows", _histograms(lectures.overview) + _confidence_table(data / "aligned")),
        ("recogniser", "Training of the recogniser", training_section(exp / "asr")),
        ("translator", "Training of the translator", training_section(exp / "mt")),
        ("made", "How this run was made", provenance_section(data, exp, conf, results, has_bars)),
    ]
    write_table(path.parent / TABLE, lectures.overview.lectures)
    write_text(path, _fill(data.name, _summary(lectures.overview), sections, lectures))


def _fill(name: str, summary: str, sections: Sequence[tuple[str, str, str]], lectures: Lectures) -> str:
    """Fill in page.html. The page allows only the script of this package to run and loads nothing from elsewhere."""
    here = files("ml2021.report")
    script, style = (here.joinpath(f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(here.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(f"ml2021: {name}"),
        name=escape(name),
        summary=escape(summary),
        script_hash=digest,
        style=style,
        script=script,
        links="".join(f'<a href="#{key}">{escape(heading)}</a>\n' for key, heading, _ in sections),
        sections="".join(
            f'<section id="{key}" aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{escape(heading)}</h2>\n'
            f"{content}</section>\n"
            for key, heading, content in sections
        ),
        data=data_script("lecture-data", lectures.lectures) + data_script("clip-data", lectures.clips),
    )


def _summary(overview: Overview) -> str:
    hours = sum(lecture.duration for lecture in overview.lectures) / 3600
    return (
        f"{len(overview.lectures)} lectures, {hours:.2f} h, {overview.num_windows} windows · "
        f"commit {commit(Path(__file__).parent)}"
    )


def _intervals(rate: ErrorRate | None, exp: Path) -> dict[str, str]:
    """{row of the table of results: its 95% interval as text}."""
    by_row = {"BLEU, translation of the transcript": bleu_interval(exp / "mt" / "decode" / "hyps.jsonl")}
    if rate is not None:
        names = {"mer": "MER of windows (%)", "zh": "mer_windows zh", "en": "mer_windows en"}
        by_row |= {names[part]: interval for part, interval in bootstrap_intervals(rate).items()}
    return {name: f"{i.low:.1f} – {i.high:.1f}" for name, i in by_row.items() if i}


def _tiles(results: Mapping[str, Any], intervals: Mapping[str, str]) -> str:
    """The main results, in large type."""

    def spread(row: str) -> str:
        return f"95%: {intervals[row]}" if row in intervals else ""

    mer_windows, mer_lecture = ((results[key] or {}).get("mer") for key in ("mer_windows", "mer_lecture"))
    tiles = [
        ("MER, windows", mer_windows, "{:.2f}", "%", spread("MER of windows (%)")),
        ("MER, lectures", mer_lecture, "{:.2f}", "%", spread("MER of whole lectures (%)")),
        ("BLEU, transcript", results["bleu_mt"], "{:.1f}", "", spread("BLEU, translation of the transcript")),
        ("BLEU, cascade", results["bleu_cascade"], "{:.1f}", "", spread("BLEU, cascade on whole lectures")),
        ("Alignment error", results["alignment_median_ms"], "{:.0f}", "ms", "median"),
    ]
    content = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{form.format(value)}<small>{unit}</small></dd>'
        f'<dd class="interval">{escape(below)}</dd></div>\n'
        for name, value, form, unit, below in tiles
        if value is not None
    )
    return f'<dl class="tiles">{content}</dl>\n' if content else ""


def _results(results: Mapping[str, Any], has_bars: bool, intervals: Mapping[str, str]) -> str:
    rows, group = [], ""
    for name, value, bar, mark in table_rows(results, has_bars):
        if not name.startswith(" "):
            group = {"MER of windows (%)": "mer_windows", "MER of whole lectures (%)": "mer_lecture"}.get(name, "")
        part = next((p for p, kind in KINDS.items() if name.strip() == kind), "")
        interval = intervals.get(f"{group} {part}" if part else name, "")
        bar = bar.replace("<=", "≤").replace(">=", "≥")
        mark_cell = f'<td class="mark"><span class="{mark.lower()}">{escape(mark)}</span></td>' if mark else ""
        indent = ' class="part"' if name.startswith(" ") else ""
        rows.append(
            (
                f'<th scope="row"{indent}>{escape(name.strip())}</th>',
                number(value),
                number(interval),
                f'<td class="mark">{escape(bar)}</td>',
                mark_cell,
            )
        )
    head = ["", "value", "95%", "bar", ""] if has_bars else ["", "value", "95%"]
    return table(head, [row[: len(head)] for row in rows], "results") + note(
        "MER is the mixed error rate, counted over Chinese characters and English words. The 95% intervals come from a "
        "bootstrap over windows or sentences; with too few of them, no interval is given."
    )


def _lectures(lectures: Lectures, config: PageConfig) -> str:
    missing = "".join(note(f"Not shown. {text}") for text in lectures.missing)
    if not lectures.lectures:
        return missing or note("Not shown: there are no windows.")
    size = sum(map(len, lectures.clips.values())) / 1e6
    audio = (
        f"Audio of {len(lectures.clips)} of {lectures.overview.num_windows} windows is in this page ({size:.1f} MB, "
        f"limit {config.audio_megabytes:g} MB). Windows were chosen from test, then dev, then train; within each part, "
        "those with the most errors first, then those with the lowest alignment confidence. For every other window, "
        "the page shows a command that plays it."
    )
    num_shown, num_lectures = len(lectures.lectures), len(lectures.overview.lectures)
    selection = (
        f"{num_shown} of {num_lectures} lectures are drawn (lecture_hours: {config.lecture_hours:g}): those of test, "
        "then dev, then train; within each part, those with the most errors first, then those with the lowest "
        f"alignment confidence. {TABLE} beside this page has the figures of all lectures."
    )
    return (
        (note(selection) if num_shown < num_lectures else "")
        + note(audio)
        + missing
        + '<noscript><p class="note">Turn on JavaScript to see the lectures: a script in this page draws them.</p>'
        "</noscript>\n"
        '<div id="lecture-list"></div>\n'
    )


def _errors(rate: ErrorRate | None, decoding: Path, drawn: Collection[str]) -> str:
    if rate is None:
        return note(f"Not shown: there are no recogs-test-*.txt in {decoding}.")
    intervals = bootstrap_intervals(rate)
    by_place = count_at_switches(rate.alignments.values())
    rows = [_count_row("all tokens", rate.total, intervals["mer"])]
    for part, kind in KINDS.items():
        rows.append(_count_row(kind, rate.zh if part == "zh" else rate.en, intervals[part]))
        rows.append(_count_row("at a language switch", by_place[part, True], None, is_part=True))
        rows.append(_count_row("elsewhere", by_place[part, False], None, is_part=True))
    head = ["", "error rate (%)", "95% interval", "tokens", "substituted", "deleted", "inserted"]
    return (
        note(
            f"Errors in the windows of {decoding}. A token is at a language switch if the token before or after it is "
            "in the other language."
        )
        + table(head, rows, "errors by language")
        + "<h3>Most frequent</h3>\n"
        + _confusions(rate, drawn)
    )


def _count_row(name: str, counts: Counts, interval: tuple[float, float] | None, is_part: bool = False) -> list[str]:
    rate = "-" if counts.percent is None else f"{counts.percent:.2f}"
    interval_text = f"{interval[0]:.1f} – {interval[1]:.1f}" if interval else ""
    numbers = [counts.num_ref, counts.substitutions, counts.deletions, counts.insertions]
    indent = ' class="part"' if is_part else ""
    return [
        f'<th scope="row"{indent}>{escape(name)}</th>',
        number(rate),
        number(interval_text),
        *(number(f"{n:,}") for n in numbers),
    ]


def _confusions(rate: ErrorRate, drawn: Collection[str]) -> str:
    """A table of the most frequent errors; its links lead to windows that are drawn."""
    rows = []
    for ref, hyp, count, utterance_ids in confusions(rate.alignments).most_frequent(NUM_CONFUSIONS):
        if EPSILON in (ref, hyp):
            kind, style = ("inserted", "ins") if ref == EPSILON else ("deleted", "del")
            change = f'<{style} class="zh">{escape(ref or hyp)}</{style}> {kind}'
        else:
            change = f'<span class="zh">{escape(ref)} → <b class="sub">{escape(hyp)}</b></span>'
        linked = sorted(utterance_ids, key=lambda i: i not in drawn)[:NUM_LINKS]
        links = ", ".join(
            f'<a href="#w:{escape(quote(i))}">{escape(i)}</a>' if i in drawn else escape(i) for i in linked
        )
        more = f" and {len(utterance_ids) - NUM_LINKS} more" if len(utterance_ids) > NUM_LINKS else ""
        rows.append((change, number(str(count)), links + more))
    return (
        table(["reference → recognised", "times", "windows"], rows, "most frequent errors") if rows else note("None.")
    )


def _histograms(overview: Overview) -> str:
    scores, stretches = overview.word_confidences, overview.stretch_confidences
    durations, rates = overview.durations, overview.rates
    charts = [
        (
            "confidence of words",
            histogram(scores, 0, 1, 40, f"confidence of {len(scores)} words", "confidence"),
            scores,
        ),
        (
            "confidence of stretches",
            histogram(stretches, 0, 1, 40, f"confidence of {len(stretches)} stretches", "confidence"),
            stretches,
        ),
        (
            "length of windows",
            histogram(
                durations,
                0,
                max(durations, default=1),
                30,
                f"lengths of {len(durations)} windows in seconds",
                "seconds",
            ),
            durations,
        ),
        (
            "tokens per second",
            histogram(
                rates, 0, max(rates, default=1), 30, f"tokens per second of {len(rates)} windows", "tokens per second"
            ),
            rates,
        ),
    ]
    figures = "".join(
        f"<figure><figcaption><b>{escape(name)}</b> <span>{len(values):,}</span></figcaption>{chart}</figure>\n"
        for name, chart, values in charts
        if chart
    )
    return f'<div class="charts">{figures}</div>\n' if figures else note("Not shown: there are no aligned windows.")


def _confidence_table(aligned: Path) -> str:
    """A table of how much of each lecture has times, and of its longest run of words without times."""
    path = aligned / "confidence.jsonl"
    if not path.is_file():
        return note(f"Alignment of each lecture is not shown: there is no {path}.")
    num_lectures = sum(1 for _ in iterate_jsonl(path))
    lectures: Iterable[dict[str, Any]] = iterate_jsonl(path)
    if num_lectures > MOST_ALIGNED:
        lectures = heapq.nsmallest(MOST_ALIGNED, lectures, key=lambda r: (r["timed_part"], r["score_mean"]))
    rows = []
    for r in lectures:
        runs = r.get("untimed_runs", [])
        longest = max(runs, key=lambda run: run["num_tokens"])["text"] if runs else ""
        rows.append(
            (
                f'<th scope="row">{escape(r["id"])}</th>',
                number(f"{r['words']:,}"),
                number(f"{100 * r['timed_part']:.2f}"),
                number(f"{r['score_mean']:.3f}"),
                number(f"{100 * r['speech_covered']:.1f}" if "speech_covered" in r else "–"),
                number(str(len(runs))),
                f'<span class="zh">{escape(longest[:60] + (" …" if len(longest) > 60 else ""))}</span>',
            )
        )
    head = [
        "lecture",
        "words",
        "with times (%)",
        "mean confidence",
        "speech with words (%)",
        "runs without times",
        "longest run",
    ]
    text = f"The {len(rows)} of {num_lectures} lectures with the most words without times; {path} has all of them."
    return (note(text) if num_lectures > len(rows) else "") + table(head, rows, "alignment of each lecture")
