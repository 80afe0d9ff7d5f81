"""The files of data/C/bitext: each part's sentence pairs and the rejected ones, from manifests and alignments."""

from __future__ import annotations

import json
import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import IO, Any

from lhotse import SupervisionSegment, SupervisionSet

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.files import write_pairs
from lhotse_prep.bitext.pairs import LectureText, Pair, make_pairs
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import first_token, open_exact_times
from lhotse_prep.manifests.files import TEXTS, iterate_texts, open_part, part_file
from lhotse_prep.manifests.grouped import Grouped, Lookup, Spill, key_digest
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import json_line, whole_file, write_json
from lhotse_prep.workflow.findings import REJECTED

logger = logging.getLogger(__name__)
EXACT_TIMES_SCORE = 10.0  # nats per source unit over chance, for pairs with exact times: above any score of the search

EXACT_TIMES_MARGIN = 100.0  # nats, likewise
MAX_TOKENS = 300_000  # of the transcripts that are paired together, 20 hours; the memory of the search grows with them


def make_bitext(data_dir: Path, out_dir: Path, config: BitextConfig) -> None:
    """Pair all lectures of data_dir; write {train,dev,test,rejected}.jsonl and scores.json to out_dir.

    Text-only lectures go to train. Lectures are paired together, because they share the learned word translations, but
    for a large corpus, which is divided into parts of MAX_TOKENS; the only reference used is the translation of the
    whole lecture. Utterances with exact times and a translation (from stage 1) become pairs without a search; lectures
    without a translation are left out.

    Args:
      data_dir: the corpus' data folder: reads manifests/, aligned/ if it exists, and truth/ for scores.json.
      out_dir: where to write.
      config: of the search and of rejection.
    Raises:
      DataError: no lecture has a translation.
    """
    exact = {part: _ExactPairs(data_dir / "manifests", part, out_dir) for part in PARTS}
    lectures = _read_lectures(data_dir, exact, out_dir)
    if not len(lectures) and not any(len(pairs) for pairs in exact.values()):
        raise DataError(
            f"{data_dir / 'manifests'} has no lecture with a translation; add NAME.en.txt files, or stop after stage 6"
        )
    scores = _Scores(data_dir / "truth")
    paired = groupby(_search(lectures, config), lambda x: x[0])
    part_of_paired, paired_of_part = next(paired, ("", iter(())))
    with whole_file(out_dir / REJECTED) as rejected:
        for part in PARTS:
            judge = _Judge(part, config, rejected)
            searched = scores.counted(paired_of_part) if part == part_of_paired else ()
            write_pairs(out_dir / f"{part}.jsonl", judge.kept(chain(searched, exact[part])))
            judge.log(sum(name == part for name, _ in lectures))
            if part == part_of_paired:
                part_of_paired, paired_of_part = next(paired, ("", iter(())))
    write_json(out_dir / "scores.json", scores.percents())


def _read_lectures(data_dir: Path, exact: Mapping[str, _ExactPairs], work: Path) -> Spill[tuple[str, LectureText]]:
    """(part, lecture) of all lectures to search, in a temporary file, part by part."""
    lectures: Spill[tuple[str, LectureText]] = Spill(work)
    for part in PARTS:
        for lecture in iterate_lectures(data_dir, part, exact[part], work):
            lectures.add((part, lecture))
        if part == "train":
            for lecture in read_text_lectures(data_dir / "manifests" / TEXTS):
                lectures.add((part, lecture))
    return lectures


def _search(
    lectures: Spill[tuple[str, LectureText]], config: BitextConfig
) -> Iterator[tuple[str, LectureText, list[Pair]]]:
    """(part, lecture, its pairs) in order; lectures of about MAX_TOKENS at most are searched together."""
    sizes = [len(lecture.tokens) for _, lecture in lectures]
    groups = equal_groups(sizes, MAX_TOKENS)
    if len(groups) > 1:
        logger.info("%d tokens of transcripts are paired in %d parts, one after the other", sum(sizes), len(groups))
    left = iter(lectures)
    for number in groups:
        together = list(islice(left, number))
        pairs = make_pairs([lecture for _, lecture in together], config)
        for part, lecture in together:
            yield part, lecture, pairs[lecture.id]


def equal_groups(sizes: Sequence[int], limit: int) -> list[int]:
    """How many neighbours go into each group so that the sums of groups are about equal, and about `limit` at most."""
    total = sum(sizes)
    num_groups = -(-total // limit)
    groups = [0] * num_groups
    before = 0
    for size in sizes:
        groups[min(num_groups - 1, (before + size // 2) * num_groups // total)] += 1
        before += size
    return [number for number in groups if number]


class _ExactPairs:
    """The pairs of a part's utterances that have exact times and a translation, read again in each iteration."""

    def __init__(self, manifests: Path, part: str, work: Path) -> None:
        segments = open_exact_times(manifests, part)
        self._lectures: set[bytes] = set()
        self._segments = Grouped(lambda: segments, _recording_id, work, self._keys(segments))

    def __len__(self) -> int:
        """The number of lectures that have such pairs."""
        return len(self._lectures)

    def __contains__(self, lecture: object) -> bool:
        return key_digest(str(lecture)) in self._lectures

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of one lecture after the other."""
        return (_exact_rows(lecture, segments) for lecture, segments in self._segments.groups())

    def _keys(self, segments: Iterable[SupervisionSegment]) -> Iterator[str]:
        for s in segments:
            if _translation(s).split() and (s.text or "").split():
                self._lectures.add(key_digest(s.recording_id))
            yield s.recording_id


class _Judge:
    """Tells the pairs of a part that are kept from those that are rejected, and counts both."""

    def __init__(self, part: str, config: BitextConfig, rejected: IO[str]) -> None:
        self._part, self._config, self._rejected = part, config, rejected
        self._num_kept = self._num_rejected = 0
        self._doubtful: list[tuple[str, int, int]] = []  # lectures, with their tokens and those of rejected pairs

    def kept(self, lectures: Iterable[Sequence[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """The rows to keep; the others are written to the file of rejected ones, with the reason.

        Args:
          lectures: the rows of one lecture after the other.
        """
        for rows in lectures:
            reasons = [_reason_to_reject(row, self._config) for row in rows]
            for row, reason in zip(rows, reasons):
                if reason is None:
                    self._num_kept += 1
                    yield row
                else:
                    self._num_rejected += 1
                    self._rejected.write(json_line(row | {"reason": reason}))
            total = sum(row["num_tokens"] for row in rows)
            num_rejected = sum(row["num_tokens"] for row, reason in zip(rows, reasons) if reason is not None)
            if 2 * num_rejected > total:
                self._doubtful.append((rows[0]["lecture"], total, num_rejected))

    def log(self, num_lectures: int) -> None:
        """Log the counts, and a warning for each lecture most of whose tokens are in rejected pairs."""
        counts = (num_lectures, self._num_kept, self._num_rejected)
        logger.info("%s: %d lectures, %d pairs, %d rejected", self._part, *counts)
        for lecture, total, num_rejected in self._doubtful:
            logger.warning(
                "%s: the pairs of lecture %s that are left out hold %d of its %d tokens; look at rejected.jsonl, and "
                "check that its translation is of this transcript",
                self._part,
                lecture,
                num_rejected,
                total,
            )


def read_lectures(data_dir: Path, part: str) -> list[LectureText]:
    """All that iterate_lectures yields, also those with exact times."""
    return list(iterate_lectures(data_dir, part))


def iterate_lectures(
    data_dir: Path, part: str, exact: Container[str] = (), work: Path | None = None
) -> Iterator[LectureText]:
    """The recorded lectures of a part that have a translation, with pauses from the alignment if there is one.

    Lectures without a translation are left out with a warning.

    Args:
      data_dir: the corpus' data folder.
      part: train, dev or test.
      exact: ids of lectures whose pairs are known already; they are left out.
      work: folder for a temporary file; None: the system's.
    """
    untranslated = []
    pauses = _Pauses(data_dir / "aligned", part, work)
    for lecture in open_part(data_dir / "manifests", "supervisions", part, SupervisionSet):
        if lecture.id in exact:
            continue
        translation = _translation(lecture)
        if not translation.split():
            untranslated.append(lecture.id)
            continue
        tokens = (lecture.text or "").split()
        yield LectureText(lecture.id, tokens, translation.split(), pauses.of(lecture, len(tokens)))
    if untranslated:
        logger.warning("%s: %d lectures have no translation: %s", part, len(untranslated), ", ".join(untranslated[:10]))


class _Pauses:
    """The pauses of lectures from the aligned supervisions of a part, which are opened when the first is asked for."""

    def __init__(self, aligned: Path, part: str, work: Path | None) -> None:
        self._aligned, self._part, self._work = aligned, part, work
        self._lookup: Lookup[SupervisionSegment] | None = None

    def of(self, lecture: SupervisionSegment, num_tokens: int) -> list[float | None] | None:
        """token_pauses of a lecture."""
        if self._lookup is None and part_file(self._aligned, "supervisions", self._part).is_file():
            stretches = open_part(self._aligned, "supervisions", self._part, SupervisionSet)
            self._lookup = Grouped(lambda: stretches, _recording_id, self._work, None).lookup(keeps=True)
        return token_pauses(num_tokens, self._lookup.rows_of(lecture.recording_id) if self._lookup else [])


def _exact_rows(lecture: str, segments: Iterable[SupervisionSegment]) -> list[dict[str, Any]]:
    """One row for each utterance of a lecture that has a translation."""
    rows: list[dict[str, Any]] = []
    for number, s in enumerate(segments):
        source, translation = (s.text or "").split(), _translation(s)
        if source and translation.split():
            place = {"first_token": first_token(s), "num_tokens": len(source)}
            row = {"id": f"{lecture}-{number:04d}", "lecture": lecture, "source": " ".join(source)}
            sure = {"score": EXACT_TIMES_SCORE, "margin": EXACT_TIMES_MARGIN}
            rows.append(row | {"target": translation} | sure | place)
    return rows


def _translation(s: SupervisionSegment) -> str:
    return str(((s.custom or {}).get("translated_text") or {}).get("eng", ""))


def _recording_id(s: SupervisionSegment) -> str:
    return str(s.recording_id)


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


def read_text_lectures(path: Path) -> Iterator[LectureText]:
    """Text-only lectures from texts.jsonl; none if there is no such file."""
    for row in iterate_texts(path) if path.is_file() else ():
        yield LectureText(row["id"], row["text"].split(), row["translation"].split())


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


class _Scores:
    """Which true pairs are there exactly, of recorded and of text-only lectures; nothing is known without a truth."""

    def __init__(self, truth_dir: Path) -> None:
        self._truth_dir = truth_dir
        self._hits: dict[str, list[int]] = {"bitext_exact_percent": [], "bitext_exact_percent_text_only": []}

    def counted(self, lectures: Iterable[tuple[str, LectureText, list[Pair]]]) -> Iterator[list[dict[str, Any]]]:
        """The rows of each lecture, whose pairs are held against the truth."""
        for _, lecture, pairs in lectures:
            truth = self._truth_dir / f"{lecture.id}.tsv"
            if truth.is_file():
                recorded = lecture.pauses is not None or (self._truth_dir / f"{lecture.id}.json").is_file()
                key = "bitext_exact_percent" if recorded else "bitext_exact_percent_text_only"
                self._hits[key] += exact_pairs(lecture, pairs, truth)
            yield _rows(lecture, pairs)

    def percents(self) -> dict[str, float]:
        """Percentages of both; {} without a truth."""
        scores = {key: round(100 * sum(hits) / len(hits), 2) for key, hits in self._hits.items() if hits}
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
