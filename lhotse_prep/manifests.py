"""A source folder -> Lhotse manifests: one recording and one supervision a lecture, for each part."""

from __future__ import annotations

import logging
from pathlib import Path

import soundfile as sf
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.corpora.source import PARTS, TEXT_ONLY, SourceLecture, read_source
from lhotse_prep.errors import DataError
from lhotse_prep.normalize import normalize_transcript, normalize_translation
from lhotse_prep.stages import write_jsonl
from lhotse_prep.validate import validate_recordings_and_supervisions

logger = logging.getLogger(__name__)


def prepare_ml2021(corpus_dir: Path, output_dir: Path) -> dict[str, dict[str, RecordingSet | SupervisionSet]]:
    """Write ml2021_{recordings,supervisions}_{train,dev,test}.jsonl.gz and texts.jsonl to output_dir.

    Args:
      corpus_dir: a source folder, as stage 0 leaves it.
      output_dir: where the manifests go.
    Returns:
      {part: {"recordings": ..., "supervisions": ...}}
    Raises:
      DataError: a missing or damaged file, an empty transcript; with the lecture's id.
    """
    lectures = read_source(corpus_dir)
    manifests: dict[str, dict[str, RecordingSet | SupervisionSet]] = {}
    output_dir.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        own = [x for x in lectures if x.part == part]
        recordings = RecordingSet.from_recordings(_recording(x) for x in own)
        supervisions = SupervisionSet.from_segments(_supervision(x, recordings[x.id].duration) for x in own)
        validate_recordings_and_supervisions(recordings, supervisions)
        recordings.to_file(output_dir / f"ml2021_recordings_{part}.jsonl.gz")
        supervisions.to_file(output_dir / f"ml2021_supervisions_{part}.jsonl.gz")
        manifests[part] = {"recordings": recordings, "supervisions": supervisions}
        logger.info("%s: %d lectures, %.2f h", part, len(own), sum(r.duration for r in recordings) / 3600)
    texts = [x for x in lectures if x.part == TEXT_ONLY]
    rows = [{"id": x.id, "text": _transcript(x), "translation": normalize_translation(x.translation)} for x in texts]
    write_jsonl(output_dir / "texts.jsonl", rows)
    logger.info("text only: %d lectures", len(texts))
    return manifests


def _recording(lecture: SourceLecture) -> Recording:
    assert lecture.audio is not None
    try:
        info = sf.info(str(lecture.audio))
    except sf.LibsndfileError as e:
        raise DataError(f"lecture {lecture.id}: {lecture.audio} cannot be read as audio ({e})") from e
    source = AudioSource(type="file", channels=[0], source=str(lecture.audio))
    return Recording(
        id=lecture.id, sources=[source], sampling_rate=info.samplerate, num_samples=info.frames,
        duration=info.frames / info.samplerate,
    )  # fmt: skip


def _supervision(lecture: SourceLecture, duration: float) -> SupervisionSegment:
    translation = normalize_translation(lecture.translation)
    return SupervisionSegment(
        id=lecture.id, recording_id=lecture.id, start=0.0, duration=duration, channel=0, language="zh-en",
        text=_transcript(lecture), custom={"translated_text": {"eng": translation}} if translation else None,
    )  # fmt: skip


def _transcript(lecture: SourceLecture) -> str:
    text = normalize_transcript(lecture.transcript)
    if not text:
        raise DataError(f"lecture {lecture.id}: nothing is left of its transcript once punctuation is taken away")
    return text
