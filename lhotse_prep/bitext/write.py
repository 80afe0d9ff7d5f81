"""The files of data/C/bitext: each part's sentence pairs and the rejected ones, from manifests and alignments."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lhotse import SupervisionSet

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.files import write_pairs
from lhotse_prep.bitext.pairs import LectureText, Pair, make_pairs
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import first_token, read_exact_times
from lhotse_prep.manifests.files import TEXTS, load_part, load_safely, part_file, read_texts
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json, write_jsonl
from lhotse_prep.workflow.findings import REJECTED

logger = logging.getLogger(__name__)
EXACT_TIMES_SCORE = 10.0  # nats per source unit over chance, for pairs with exact times: above any score of the search

EXACT_TIMES_MARGIN = 100.0  # nats, likewise


def make_bitext(data_dir: Path, out_dir: Path, config: BitextConfig) -> None:
    """Pair all lectures of data_dir; write {train,dev,test,rejected}.jsonl and scores.json to out_dir.

    Text-only lectures go to train. All lectures are paired together, because they share the learned word translations;
    the only reference used is the translation of the whole lecture. Utterances with exact times and a translation
    (from stage 1) become pairs without a search; lectures without a translation are left out.

    Args:
      data_dir: the corpus' data folder: reads manifests/, aligned/ if it exists, and truth/ for scores.json.
      out_dir: where to write.
      config: of the search and of rejection.
    Raises:
      DataError: no lecture has a translation.
    """
    exact_rows = {part: _exact_rows(data_dir / "manifests", part) for part in PARTS}
    lectures: dict[str, list[LectureText]] = {
        part: read_lectures(data_dir, part, exact={row["lecture"] for row in exact_rows[part]}) for part in PARTS
    }
    lectures["train"] = lectures["train"] + read_text_lectures(data_dir / "manifests" / TEXTS)
    all_lectures = [x for part in PARTS for x in lectures[part]]
    if not all_lectures and not any(exact_rows.values()):
        raise DataError(
            f"{data_dir / 'manifests'} has no lecture with a translation; add NAME.en.txt files, or stop after stage 6"
        )
    pairs = make_pairs(all_lectures, config) if all_lectures else {}
    rejected: list[dict[str, Any]] = []
    for part in PARTS:
        rows = [row for lecture in lectures[part] for row in _rows(lecture, pairs[lecture.id])]
        rows += exact_rows[part]
        reasons = [_reason_to_reject(row, config) for row in rows]
        kept = [row for row, reason in zip(rows, reasons) if reason is None]
        rejected += [row | {"reason": reason} for row, reason in zip(rows, reasons) if reason is not None]
        write_pairs(out_dir / f"{part}.jsonl", kept)
        num_rejected = len(rows) - len(kept)
        logger.info("%s: %d lectures, %d pairs, %d rejected", part, len(lectures[part]), len(kept), num_rejected)
        _log_doubtful(part, rows, reasons)
    write_jsonl(out_dir / REJECTED, rejected)
    write_json(out_dir / "scores.json", _scores(all_lectures, pairs, data_dir / "truth"))


def read_lectures(data_dir: Path, part: str, exact: Collection[str] = ()) -> list[LectureText]:
    """The recorded lectures of a part that have a translation, with pauses from the alignment if there is one.

    Lectures without a translation are left out with a warning.

    Args:
      data_dir: the corpus' data folder.
      part: train, dev or test.
      exact: ids of lectures whose pairs are known already; they are left out.
    """
    aligned = part_file(data_dir / "aligned", "supervisions", part)
    stretches: dict[str, list[Any]] = {}
    for stretch in load_safely(aligned, SupervisionSet) if aligned.is_file() else []:
        stretches.setdefault(stretch.recording_id, []).append(stretch)
    lectures, untranslated = [], []
    for lecture in load_part(data_dir / "manifests", "supervisions", part, SupervisionSet):
        if lecture.id in exact:
            continue
        translation = ((lecture.custom or {}).get("translated_text") or {}).get("eng", "")
        if not translation.split():
            untranslated.append(lecture.id)
            continue
        tokens = (lecture.text or "").split()
        pauses = token_pauses(len(tokens), stretches.get(lecture.recording_id, []))
        lectures.append(LectureText(lecture.id, tokens, translation.split(), pauses))
    if untranslated:
        logger.warning("%s: %d lectures have no translation: %s", part, len(untranslated), ", ".join(untranslated[:10]))
    return lectures


def _exact_rows(manifests: Path, part: str) -> list[dict[str, Any]]:
    """One row for each utterance of a part that has exact times and a translation."""
    rows: list[dict[str, Any]] = []
    for lecture, segments in read_exact_times(manifests, part).items():
        for number, s in enumerate(segments):
            translation = ((s.custom or {}).get("translated_text") or {}).get("eng", "")
            source = (s.text or "").split()
            if source and translation.split():
                place = {"first_token": first_token(s), "num_tokens": len(source)}
                row = {"id": f"{lecture}-{number:04d}", "lecture": lecture, "source": " ".join(source)}
                sure = {"score": EXACT_TIMES_SCORE, "margin": EXACT_TIMES_MARGIN}
                rows.append(row | {"target": translation} | sure | place)
    return rows


def token_pauses(num_tokens: int, stretches: Sequence[Any]) -> list[float | None] | None:
    """Seconds of silence before each token of a lecture, from its aligned supervisions.

    Args:
      num_tokens: of the lecture's transcript.
      stretches: supervisions with custom["first_token"] and a word alignment; the start and end of a stretch stand in
        for the times of its first and last token if those have none.
    Returns:
      None for a token if it or the token before it has no time; None instead of the list if there are no stretches.
    Raises:
      DataError: an aligned token is not in its stretch's text.
    """
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    for stretch in stretches:
        first, tokens = first_token(stretch), stretch.text.split()
        for index, item in _positions(tokens, (stretch.alignment or {}).get("word", []), first):
            starts[index], ends[index] = item.start, item.start + item.duration
        starts.setdefault(first, stretch.start)
        ends.setdefault(first + len(tokens) - 1, stretch.end)
    if not starts:
        return None
    return [starts[i] - ends[i - 1] if i in starts and i - 1 in ends else None for i in range(num_tokens)]


def read_text_lectures(path: Path) -> list[LectureText]:
    """Text-only lectures from texts.jsonl; none if there is no such file."""
    if not path.is_file():
        return []
    return [LectureText(row["id"], row["text"].split(), row["translation"].split()) for row in read_texts(path)]


def _positions(tokens: Sequence[str], items: Sequence[Any], first: int) -> list[tuple[int, Any]]:
    """(index in the lecture, item) of each aligned item of a stretch; some of its tokens may have no item."""
    positions = []
    at = 0
    for item in items:
        while at < len(tokens) and tokens[at] != item.symbol:
            at += 1
        if at == len(tokens):
            raise DataError(f"aligned token {item.symbol!r} at {item.start:.2f} s is not in its text; rerun stage 3")
        positions.append((first + at, item))
        at += 1
    return positions


def _rows(lecture: LectureText, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{lecture.id}-{number:04d}",
            "lecture": lecture.id,
            "source": " ".join(lecture.tokens[p.first_token : p.first_token + p.num_tokens]),
            "target": " ".join(lecture.words[p.first_word : p.first_word + p.num_words]),
            "score": round(p.score, 4) if p.num_tokens and p.num_words else None,
            "margin": round(p.margin, 4),
            "first_token": p.first_token,
            "num_tokens": p.num_tokens,
        }
        for number, p in enumerate(pairs)
    ]


def _reason_to_reject(row: dict[str, Any], config: BitextConfig) -> str | None:
    """Why a pair cannot be used for training or scoring; None if it can."""
    num_tokens, num_words = row["num_tokens"], len(row["target"].split())
    if row["score"] is None:
        return "no translation" if num_tokens else "no transcript"
    if row["score"] < config.min_score:
        return f"score below {config.min_score}"
    if row["margin"] < config.min_margin:
        return f"place in doubt: margin below {config.min_margin}"
    ratio = max(num_tokens / num_words, num_words / num_tokens)
    if ratio > config.max_length_ratio and max(num_tokens, num_words) > 8:
        return f"lengths differ by more than {config.max_length_ratio} times"
    return None


def _log_doubtful(part: str, rows: Sequence[dict[str, Any]], reasons: Sequence[str | None]) -> None:
    """Warn about lectures most of whose tokens are in rejected pairs."""
    tokens: dict[str, list[int]] = {}
    for row, reason in zip(rows, reasons):
        counts = tokens.setdefault(row["lecture"], [0, 0])
        counts[0] += row["num_tokens"]
        counts[1] += row["num_tokens"] if reason is not None else 0
    for lecture, (total, num_rejected) in tokens.items():
        if 2 * num_rejected > total:
            logger.warning(
                "%s: the pairs of lecture %s that are left out hold %d of its %d tokens; look at rejected.jsonl, and "
                "check that its translation is of this transcript",
                part,
                lecture,
                num_rejected,
                total,
            )


def _scores(lectures: Sequence[LectureText], pairs: dict[str, list[Pair]], truth_dir: Path) -> dict[str, float]:
    """Percentage of true pairs that were found exactly, for recorded and for text-only lectures; {} without a truth."""
    hits: dict[str, list[int]] = {"bitext_exact_percent": [], "bitext_exact_percent_text_only": []}
    for lecture in lectures:
        truth = truth_dir / f"{lecture.id}.tsv"
        if truth.is_file():
            recorded = lecture.pauses is not None or (truth_dir / f"{lecture.id}.json").is_file()
            key = "bitext_exact_percent" if recorded else "bitext_exact_percent_text_only"
            hits[key] += exact_pairs(lecture, pairs[lecture.id], truth)
    scores = {key: round(100 * sum(values) / len(values), 2) for key, values in hits.items() if values}
    if scores:
        logger.info("exact sentence pairs in percent: %s", json.dumps(scores))
    return scores


def exact_pairs(lecture: LectureText, pairs: Sequence[Pair], truth: Path) -> list[int]:
    """For each true pair 1 if `pairs` holds it with the same tokens and words at the same positions, else 0.

    Args:
      lecture: the texts.
      pairs: of the search.
      truth: a file with one true pair per line, "tokens<TAB>words".
    """
    places = {(p.first_token, p.num_tokens, p.first_word, p.num_words) for p in pairs}
    hits = []
    at_token = at_word = 0
    for line in truth.read_text(encoding="utf-8").splitlines():
        source, target = (side.split() for side in line.split("\t"))
        hits.append(int((at_token, len(source), at_word, len(target)) in places))
        at_token, at_word = at_token + len(source), at_word + len(target)
    if (at_token, at_word) != (len(lecture.tokens), len(lecture.words)):
        logger.warning("%s does not have the texts of lecture %s; its score means little", truth, lecture.id)
    return hits
