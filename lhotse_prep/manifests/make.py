"""Makes Lhotse manifests of a corpus: a checked recording and supervision per lecture or utterance, in three parts."""

from __future__ import annotations

import contextlib
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import tee
from pathlib import Path
from typing import Any

from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioReport
from lhotse_prep.corpora.detect import Source, open_source
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import SourceLecture, iterate_segments, iterate_source
from lhotse_prep.corpora.source.splits import DECODE, PARTS, TEXT_ONLY
from lhotse_prep.manifests.checks import AudioJob, check_clipping, check_overlap, check_same_audio, check_text, inspect
from lhotse_prep.manifests.exact_times import as_segment, make_segments
from lhotse_prep.manifests.faults import check_unique
from lhotse_prep.manifests.files import TEXTS, UNTRANSLATED, load_part, open_part, part_file, write_manifest
from lhotse_prep.manifests.grouped import Grouped, Lookup, Spill
from lhotse_prep.manifests.paths import lasting_path
from lhotse_prep.manifests.texts import Text, check_languages, check_pair, check_same_texts, check_shared_texts
from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.text.config import TextConfig
from lhotse_prep.text.normalize import normalize_transcript, normalize_translation
from lhotse_prep.text.odd_characters import encoding_errors, odd_characters
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, open_executor
from lhotse_prep.workflow.files import json_line, whole_file, whole_folder, write_jsonl
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)
_Key = tuple[str, str]  # (part, id)
Manifests = dict[str, dict[str, RecordingSet | SupervisionSet]]
_SETS = {"recordings": RecordingSet, "supervisions": SupervisionSet}
_DIGITS = 32  # of a recording's digest that tell it from millions of others


def prepare_ml2021(corpus_dir: Path | str, output_dir: Path | str, num_jobs: int = 1) -> Manifests:
    """Write ml2021_{recordings,supervisions}_{train,dev,test}.jsonl.gz to output_dir, like a recipe of Lhotse.

    Args:
      corpus_dir: a table of lectures or utterances, a folder of recordings with texts, or the output of stage 0.
        Audio that is inside a table, or not 16 kHz mono, is written to output_dir/source.
      output_dir: where the manifests go; what an earlier run wrote there is replaced at once when all is written.
      num_jobs: number of processes.
    Returns:
      {part: {"recordings": ..., "supervisions": ...}}
    Raises:
      DataError: everything that is wrong with the corpus, with ids.
    """
    corpus_dir, output_dir = Path(corpus_dir), Path(output_dir)
    with open_executor(ExecutorConfig(num_jobs=num_jobs)) as executor, new_manifests(corpus_dir, output_dir) as work:
        make_manifests(corpus_dir, work, CorpusConfig(), TextConfig(), CheckConfig(), executor, output_dir)
    return {part: {name: load_part(output_dir, name, part, cls) for name, cls in _SETS.items()} for part in PARTS}


@contextlib.contextmanager
def new_manifests(corpus_dir: Path, output_dir: Path) -> Iterator[Path]:
    """Yield a temporary folder for the manifests of a corpus, which becomes output_dir if there is no exception.

    Raises:
      DataError: the corpus is in output_dir, or that holds files that were not written so.
    """
    if corpus_dir.resolve().is_relative_to(output_dir.resolve()):
        raise DataError(f"{output_dir} would be made anew, and the corpus {corpus_dir} is in it; name another folder")
    with whole_folder(output_dir) as work:
        yield work


def make_manifests(
    corpus_dir: Path,
    output_dir: Path,
    corpus: CorpusConfig,
    text: TextConfig,
    limits: CheckConfig,
    executor: Executor,
    final_dir: Path | None = None,
) -> Manifests:
    """prepare_ml2021 with all its options; the files do not depend on the executor.

    Args:
      output_dir: a new folder.
      final_dir: what output_dir will be renamed to.

    It also writes ml2021_segments_{part}.jsonl.gz if utterances have exact times, ml2021_recordings_decode.jsonl.gz if
    there are recordings without text, texts.jsonl and untranslated.jsonl (lectures without recordings, with and without
    a translation), characters.jsonl (odd characters) and, with limits.skip_bad, rejected.jsonl. A part without data has
    no files, since Lhotse cannot read empty ones. The manifests that it returns are lazy: they read these files.
    """
    with open_source(corpus_dir, output_dir, corpus, limits, executor) as source:
        return write_manifests(source, output_dir, text, limits, executor, final_dir)


def write_manifests(
    source: Source,
    output_dir: Path,
    text: TextConfig,
    limits: CheckConfig,
    executor: Executor,
    final_dir: Path | None = None,
) -> Manifests:
    """make_manifests of a source folder; the manifests name its recordings where they will be when it is complete.

    Texts lie in a temporary file of output_dir meanwhile; in memory are the ids and digests of all recordings.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    lectures = Spill(output_dir, (_Lecture.of(x, text.script) for x in iterate_source(source.folder)))
    audio, findings = _inspect(lectures, limits, executor)
    findings += _text_findings(lectures, audio, limits)
    bad = settle(findings, len(lectures), limits.policy(), output_dir)
    del findings
    corpus = _Corpus(lectures, audio, bad, lambda audio: _place(source.final(audio), output_dir, final_dir))
    _write_parts(corpus, output_dir)
    _write_segments(source.folder, corpus, output_dir)
    num_decode = write_manifest(part_file(output_dir, "recordings", DECODE), corpus.recordings(DECODE))
    if num_decode:
        logger.info("%d recordings without text, for decoding only", num_decode)
    _write_texts(corpus.good(TEXT_ONLY), output_dir)
    _write_characters(corpus, output_dir)
    return {part: {name: open_part(output_dir, name, part, cls) for name, cls in _SETS.items()} for part in PARTS}


@dataclass(frozen=True)
class _Lecture:
    """A lecture or utterance of a source folder, with its texts as the manifests have them."""

    source: SourceLecture
    text: str
    translation: str

    @classmethod
    def of(cls, x: SourceLecture, script: str) -> _Lecture:
        text = convert_script(normalize_transcript(x.transcript), script)
        return cls(x, text, normalize_translation(x.translation))

    @property
    def key(self) -> _Key:
        return self.source.part, self.source.id

    @property
    def has_audio(self) -> bool:
        return self.source.part != TEXT_ONLY and self.source.audio is not None


class _Audio:
    """Samples and rate of the recordings of a source folder, by their number in it; 0 samples: it cannot be used."""

    def __init__(self) -> None:
        self.num_samples, self.sampling_rates = array("q"), array("q")

    def add(self, report: AudioReport | None) -> None:
        """Append those of the next lecture; None: it has none, or they cannot be used."""
        self.num_samples.append(report.num_samples if report is not None else 0)
        self.sampling_rates.append(report.sampling_rate if report is not None else 0)


@dataclass(frozen=True)
class _Corpus:
    """The lectures that are written to manifests; each method reads them again."""

    lectures: Iterable[_Lecture]
    audio: _Audio
    bad: Container[_Key]
    place: Callable[[Path], Path]

    def good(self, part: str | None = None) -> Iterator[_Lecture]:
        """The lectures that are not left out; of one part if it is given."""
        return (x for x in self.lectures if part in (None, x.source.part) and x.key not in self.bad)

    def recordings(self, part: str) -> Iterator[Recording]:
        """The recordings of a part."""
        for number, x in enumerate(self.lectures):
            if x.source.part == part and x.key not in self.bad:
                assert x.source.audio is not None
                num_samples, rate = self.audio.num_samples[number], self.audio.sampling_rates[number]
                source = AudioSource(type="file", channels=[0], source=str(self.place(x.source.audio)))
                yield Recording(x.source.id, [source], rate, num_samples, num_samples / rate)

    def supervisions(self, part: str) -> Iterator[SupervisionSegment]:
        """The supervisions of a part, in the order of its recordings."""
        for number, x in enumerate(self.lectures):
            if x.source.part == part and x.key not in self.bad:
                yield _supervision(x, self.audio.num_samples[number] / SAMPLE_RATE)


def _inspect(lectures: Iterable[_Lecture], limits: CheckConfig, executor: Executor) -> tuple[_Audio, list[Finding]]:
    """Read every recording to its end; returns findings on single ones and on all together."""
    audio, findings = _Audio(), list[Finding]()
    ids: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
    digests: dict[str, dict[str, str]] = {part: {} for part in PARTS}
    read, ahead = tee(lectures)  # `ahead` is as far before `read` as the executor submits jobs
    jobs = (
        AudioJob(x.source.id, x.source.part, x.source.audio, limits)
        for x in ahead
        if x.has_audio and x.source.audio is not None
    )
    reports = executor.map(inspect, jobs, "reading", sum(x.has_audio for x in lectures))
    for x in read:
        part, name = x.key
        report = next(reports) if x.has_audio else None
        if part in ids:
            ids[part][name] += 1
        audio.add(report if isinstance(report, AudioReport) else None)
        if isinstance(report, AudioReport):
            findings += check_clipping(name, part, report, limits)
            if part in digests:
                digests[part][name] = report.digest[:_DIGITS]
        elif report is not None:
            findings.append(report)
    for part in PARTS:
        findings += check_unique("recording", part, ids[part].elements())
    for part in PARTS:
        findings += check_same_audio(part, digests[part])
    return audio, findings + check_overlap(digests)


def _text_findings(lectures: Iterable[_Lecture], audio: _Audio, limits: CheckConfig) -> list[Finding]:
    """Findings on the transcripts and translations of single lectures, and of all together."""
    findings: list[Finding] = []
    for x, num_samples in zip(lectures, audio.num_samples):
        part, name = x.key
        if part == TEXT_ONLY:
            findings += check_pair(name, part, x.text, x.translation)
        elif part != DECODE and num_samples:
            findings += check_text(name, part, x.text, x.translation, num_samples / SAMPLE_RATE, limits)
    findings += check_unique("lecture", TEXT_ONLY, (x.source.id for x in lectures if x.source.part == TEXT_ONLY))
    texts = _Texts(lectures, audio)
    return (
        findings + check_languages(texts) + check_same_texts(texts) + check_shared_texts(texts, limits.max_shared_text)
    )


@dataclass(frozen=True)
class _Texts:
    """The texts that are compared with each other: those of lectures without a recording or with a good one."""

    lectures: Iterable[_Lecture]
    audio: _Audio

    def __iter__(self) -> Iterator[Text]:
        for x, num_samples in zip(self.lectures, self.audio.num_samples):
            if x.source.part == TEXT_ONLY or (x.source.part != DECODE and num_samples):
                yield Text(x.source.id, x.source.part, x.text, x.translation)


def _write_parts(corpus: _Corpus, output_dir: Path) -> None:
    empty = []
    for part in PARTS:
        num_recordings = write_manifest(part_file(output_dir, "recordings", part), corpus.recordings(part))
        write_manifest(part_file(output_dir, "supervisions", part), corpus.supervisions(part))
        if not num_recordings:
            empty.append(part)
            continue
        num_utterances = sum(x.source.is_utterance for x in corpus.good(part))
        hours = sum(r.duration for r in corpus.recordings(part)) / 3600
        kinds = f"{num_recordings - num_utterances} lectures, {num_utterances} utterances"
        logger.info("%s: %s, %.2f h", part, kinds, hours)
    if empty:
        logger.info("no recordings in %s, so there are no manifests of it", " and ".join(empty))


def _write_segments(source_dir: Path, corpus: _Corpus, output_dir: Path) -> None:
    """Write the supervisions with exact times: those of single utterances, and of lectures joined from utterances."""
    rows: Grouped[dict[str, Any]] = Grouped(
        lambda: iterate_segments(source_dir), lambda row: str(row["lecture"]), output_dir, None
    )
    for part in PARTS:
        segments = _segments(corpus, part, rows.lookup())
        num_segments = write_manifest(part_file(output_dir, "segments", part), segments)
        if num_segments:
            logger.info("%s: %d supervisions have exact times and are not aligned", part, num_segments)


def _segments(corpus: _Corpus, part: str, rows: Lookup[dict[str, Any]]) -> Iterator[SupervisionSegment]:
    for x, supervision in zip(corpus.good(part), corpus.supervisions(part)):
        if x.source.is_utterance:
            yield as_segment(supervision)
        elif rows_of_lecture := rows.rows_of(x.source.id):
            yield from make_segments(supervision, rows_of_lecture)


def _write_texts(lectures: Iterable[_Lecture], output_dir: Path) -> None:
    num_translated = num_untranslated = 0
    path = output_dir / UNTRANSLATED
    with whole_file(output_dir / TEXTS) as translated, whole_file(path) as untranslated:
        for x in lectures:
            row = {"id": x.source.id, "text": x.text}
            if x.translation:
                translated.write(json_line(row | {"translation": x.translation}))
                num_translated += 1
            else:
                untranslated.write(json_line(row))
                num_untranslated += 1
    if not num_untranslated:
        path.unlink()
    logger.info("text only: %d lectures, %d more without translation", num_translated, num_untranslated)


def _write_characters(corpus: _Corpus, output_dir: Path) -> None:
    transcripts = ((x.source.id, x.text) for x in corpus.good())
    translations = ((f"{x.source.id}.en", x.translation) for x in corpus.good())
    raw_texts = (
        text
        for x in corpus.good()
        for text in ((x.source.id, x.source.transcript), (f"{x.source.id}.en", x.source.translation))
    )
    broken = encoding_errors(raw_texts)
    odd = [*odd_characters(transcripts), *odd_characters(translations)]
    write_jsonl(output_dir / "characters.jsonl", [asdict(o) for o in (*broken, *odd)])
    if broken:
        logger.warning(
            "%d characters are signs of a wrong encoding and left out: %s; convert these texts to UTF-8 again "
            "from what they were (see characters.jsonl)",
            sum(o.count for o in broken),
            ", ".join(f"{o.code} ({o.count} times, {o.id})" for o in broken[:5]),
        )
    if odd:
        examples = ", ".join(f"{o.char} ({o.code}, {o.count} times, {o.id})" for o in odd[:5])
        logger.info("%d characters are outside the expected classes: %s; all in characters.jsonl", len(odd), examples)


def _place(audio: Path, output_dir: Path, final_dir: Path | None) -> Path:
    """How the manifests name a recording: where it will be, so that it is found in other folders too."""
    if final_dir is None:
        return Path(lasting_path(audio, output_dir))
    if audio.is_relative_to(output_dir):
        audio = final_dir / audio.relative_to(output_dir)
    return Path(lasting_path(audio, final_dir))


def _supervision(x: _Lecture, duration: float) -> SupervisionSegment:
    custom: dict[str, object] = {"translated_text": {"eng": x.translation}} if x.translation else {}
    if x.source.lecture is not None:
        custom |= {"lecture": x.source.lecture, "number": x.source.number}
    return SupervisionSegment(
        id=x.source.id,
        recording_id=x.source.id,
        start=0.0,
        duration=duration,
        channel=0,
        language="zh-en",
        text=x.text,
        custom=custom or None,
    )
