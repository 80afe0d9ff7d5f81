"""Makes Lhotse manifests of a corpus: a checked recording and supervision per lecture or utterance, in three parts."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioReport
from lhotse_prep.corpora.detect import Source, open_source
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import SourceLecture, read_segments, read_source
from lhotse_prep.corpora.source.splits import DECODE, PARTS, TEXT_ONLY
from lhotse_prep.manifests.checks import AudioJob, check_clipping, check_overlap, check_same_audio, check_text, inspect
from lhotse_prep.manifests.exact_times import as_segment, make_segments
from lhotse_prep.manifests.faults import check_unique
from lhotse_prep.manifests.files import TEXTS, UNTRANSLATED, part_file, write_manifest
from lhotse_prep.manifests.paths import lasting_path
from lhotse_prep.manifests.texts import Text, check_languages, check_pair, check_same_texts, check_shared_texts
from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.text.config import TextConfig
from lhotse_prep.text.normalize import normalize_transcript, normalize_translation
from lhotse_prep.text.odd_characters import encoding_errors, odd_characters
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, open_executor
from lhotse_prep.workflow.files import whole_folder, write_jsonl
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)
_Key = tuple[str, str]  # (part, id)
Manifests = dict[str, dict[str, RecordingSet | SupervisionSet]]


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
        return make_manifests(corpus_dir, work, CorpusConfig(), TextConfig(), CheckConfig(), executor, output_dir)


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
    no files, since Lhotse cannot read empty ones.
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
    """make_manifests of a source folder; the manifests name its recordings where they will be when it is complete."""
    output_dir.mkdir(parents=True, exist_ok=True)
    lectures = read_source(source.folder)
    recorded = [x for x in lectures if x.part != TEXT_ONLY]
    texts = {(x.part, x.id): convert_script(normalize_transcript(x.transcript), text.script) for x in lectures}
    reports, findings = _inspect(recorded, limits, executor)
    findings += _text_findings(lectures, reports, texts, limits)
    bad = settle(findings, len(lectures), limits.policy(), output_dir)
    good = [x for x in lectures if (x.part, x.id) not in bad]
    places = {(x.part, x.id): _place(source.final(x.audio), output_dir, final_dir) for x in good if x.audio is not None}
    manifests = _write_parts(good, reports, texts, places, output_dir)
    _write_segments(source.folder, manifests, output_dir)
    decode = [_recording(x, reports[x.part, x.id], places[x.part, x.id]) for x in good if x.part == DECODE]
    write_manifest(part_file(output_dir, "recordings", DECODE), decode)
    if decode:
        logger.info("%d recordings without text, for decoding only", len(decode))
    _write_texts([x for x in good if x.part == TEXT_ONLY], texts, output_dir)
    _write_characters(good, texts, output_dir)
    return manifests


def _inspect(
    lectures: Sequence[SourceLecture], limits: CheckConfig, executor: Executor
) -> tuple[dict[_Key, AudioReport], list[Finding]]:
    """Read every recording to its end: a report of each good one, and findings on single ones and on all together."""
    jobs = [AudioJob(x.id, x.part, x.audio, limits) for x in lectures if x.audio is not None]
    reports: dict[_Key, AudioReport] = {}
    findings: list[Finding] = []
    for job, report in zip(jobs, executor.map(inspect, jobs, "reading")):
        if isinstance(report, Finding):
            findings.append(report)
        else:
            reports[job.part, job.id] = report
            findings += check_clipping(job.id, job.part, report, limits)
    for part in PARTS:
        findings += check_unique("recording", part, (x.id for x in lectures if x.part == part))
    digests = {part: {i: r.digest for (p, i), r in reports.items() if p == part} for part in PARTS}
    for part in PARTS:
        findings += check_same_audio(part, digests[part])
    return reports, findings + check_overlap(digests)


def _text_findings(
    lectures: Sequence[SourceLecture], reports: dict[_Key, AudioReport], texts: dict[_Key, str], limits: CheckConfig
) -> list[Finding]:
    """Findings on the transcripts and translations of single lectures, and of all together."""
    findings: list[Finding] = []
    pairs: list[Text] = []
    for x in lectures:
        report = reports.get((x.part, x.id))
        if x.part == DECODE or (report is None and x.part != TEXT_ONLY):
            continue
        pairs.append(Text(x.id, x.part, texts[x.part, x.id], normalize_translation(x.translation)))
        if report is None:
            findings += check_pair(x.id, x.part, pairs[-1].transcript, pairs[-1].translation)
        else:
            seconds = report.num_samples / SAMPLE_RATE
            findings += check_text(x.id, x.part, pairs[-1].transcript, pairs[-1].translation, seconds, limits)
    findings += check_unique("lecture", TEXT_ONLY, (x.id for x in lectures if x.part == TEXT_ONLY))
    return (
        findings + check_languages(pairs) + check_same_texts(pairs) + check_shared_texts(pairs, limits.max_shared_text)
    )


def _write_parts(
    lectures: Sequence[SourceLecture],
    reports: dict[_Key, AudioReport],
    texts: dict[_Key, str],
    places: dict[_Key, Path],
    output_dir: Path,
) -> Manifests:
    manifests: Manifests = {}
    for part in PARTS:
        in_part = [x for x in lectures if x.part == part]
        recordings = RecordingSet.from_recordings(
            _recording(x, reports[part, x.id], places[part, x.id]) for x in in_part
        )
        supervisions = SupervisionSet.from_segments(
            _supervision(x, texts[part, x.id], reports[part, x.id].num_samples / SAMPLE_RATE) for x in in_part
        )
        write_manifest(part_file(output_dir, "recordings", part), recordings)
        write_manifest(part_file(output_dir, "supervisions", part), supervisions)
        manifests[part] = {"recordings": recordings, "supervisions": supervisions}
        kinds = (
            f"{sum(not x.is_utterance for x in in_part)} lectures, {sum(x.is_utterance for x in in_part)} utterances"
        )
        if in_part:
            logger.info("%s: %s, %.2f h", part, kinds, sum(r.duration for r in recordings) / 3600)
    if empty := [part for part, sets in manifests.items() if not len(sets["recordings"])]:
        logger.info("no recordings in %s, so there are no manifests of it", " and ".join(empty))
    return manifests


def _write_segments(source_dir: Path, manifests: Manifests, output_dir: Path) -> None:
    """Write the supervisions with exact times: those of single utterances, and of lectures joined from utterances."""
    segments_of = read_segments(source_dir)
    utterances = {(x.part, x.id) for x in read_source(source_dir) if x.is_utterance}
    for part, manifest in manifests.items():
        segments: list[SupervisionSegment] = []
        for s in manifest["supervisions"]:
            if (part, s.id) in utterances:
                segments.append(as_segment(s))
            elif s.recording_id in segments_of:
                segments += make_segments(s, segments_of[s.recording_id])
        write_manifest(part_file(output_dir, "segments", part), segments)
        if segments:
            logger.info("%s: %d supervisions have exact times and are not aligned", part, len(segments))


def _write_texts(lectures: Sequence[SourceLecture], texts: dict[_Key, str], output_dir: Path) -> None:
    rows = [
        {"id": x.id, "text": texts[x.part, x.id], "translation": normalize_translation(x.translation)} for x in lectures
    ]
    translated = [r for r in rows if r["translation"]]
    untranslated = [{"id": r["id"], "text": r["text"]} for r in rows if not r["translation"]]
    write_jsonl(output_dir / TEXTS, translated)
    if untranslated:
        write_jsonl(output_dir / UNTRANSLATED, untranslated)
    logger.info("text only: %d lectures, %d more without translation", len(translated), len(untranslated))


def _write_characters(lectures: Sequence[SourceLecture], texts: dict[_Key, str], output_dir: Path) -> None:
    transcripts = ((x.id, texts[x.part, x.id]) for x in lectures)
    translations = ((f"{x.id}.en", normalize_translation(x.translation)) for x in lectures)
    broken = encoding_errors(raw for x in lectures for raw in ((x.id, x.transcript), (f"{x.id}.en", x.translation)))
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


def _recording(x: SourceLecture, report: AudioReport, audio: Path) -> Recording:
    return Recording(
        id=x.id,
        sources=[AudioSource(type="file", channels=[0], source=str(audio))],
        sampling_rate=report.sampling_rate,
        num_samples=report.num_samples,
        duration=report.num_samples / report.sampling_rate,
    )


def _supervision(x: SourceLecture, text: str, duration: float) -> SupervisionSegment:
    translation = normalize_translation(x.translation)
    custom: dict[str, object] = {"translated_text": {"eng": translation}} if translation else {}
    if x.lecture is not None:
        custom |= {"lecture": x.lecture, "number": x.number}
    return SupervisionSegment(
        id=x.id,
        recording_id=x.id,
        start=0.0,
        duration=duration,
        channel=0,
        language="zh-en",
        text=text,
        custom=custom or None,
    )
