"""Label recordings, each once: NAME.jsonl.gz has all windows of a recording, with what both searches gave.

It is written when the recording is done; a later run makes only what is missing.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lhotse import AudioSource, CutSet, Recording
from tqdm import tqdm

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import as_16k_mono
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError
from lhotse_prep.manifests.files import open_cuts, write_manifest
from lhotse_prep.manifests.paths import lasting_path
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.resumable import Failure, ResultFolder, attempt, list_failures
from ml2021.asr.decode.lectures import Lecture
from ml2021.asr.pseudo_labels.recognise import Label
from ml2021.asr.pseudo_labels.select import cut_of
from ml2021.asr.words.recording import open_recording
from ml2021.asr.words.timed_word import NoSpeechError

logger = logging.getLogger(__name__)
_SUFFIX = ".jsonl.gz"
LabelsOf = Callable[[Path], list[Label]]


def label_recordings(
    labels_of: LabelsOf, lectures: Sequence[Lecture], folder: Path, digests: Mapping[str, Any]
) -> dict[str, CutSet]:
    """Label the recordings that the folder does not have yet; write NAME.jsonl.gz of each, with all of its windows.

    A recording that is not 16 kHz, mono, is kept in the folder as NAME.flac.

    Args:
      labels_of: gives the windows of a recording of 16 kHz, mono.
      lectures: the recordings.
      folder: where the files go; those that were made with other digests are replaced.
      digests: everything besides the recording that the labels depend on.
    Returns:
      {recording: its windows, see select.cut_of, which are read when they are iterated over; none without speech}.
    Raises:
      DataError: before anything is recognised, files of two recordings would have the same name, one is missing, or a
        file in the folder is damaged; at the end, the recordings that failed, with the reason of each. Whatever a
        recording raises, the others are labelled.
    """
    recordings = [(lecture.id, lecture.audio) for lecture in lectures]
    results = ResultFolder(folder, ".labels", (_SUFFIX,), digest_json(digests), may_be_edited=False)
    results.check(recordings)
    missing = results.missing(recordings)
    missing |= {x.id: "" for x in lectures if x.id not in missing and not _has_audio(folder / f"{x.id}{_SUFFIX}")}
    failures = []
    todo = [lecture for lecture in lectures if lecture.id in missing]
    for lecture in tqdm(todo, desc="recordings", disable=not sys.stderr.isatty() or len(todo) < 2):
        work = partial(_label, labels_of, lecture, results, missing[lecture.id])
        result = attempt(work, lecture.audio, results.work_dir(lecture.id))
        if isinstance(result, Failure):
            failures.append(result.line)
            logger.error("%s", result.line)
    if failures:
        raise DataError(f"{len(failures)} of {len(lectures)} recordings have no labels: {list_failures(failures)}")
    return {lecture.id: open_cuts(folder / f"{lecture.id}{_SUFFIX}") for lecture in lectures}


def _label(labels_of: LabelsOf, lecture: Lecture, results: ResultFolder, digest: str) -> None:
    """Write the windows of a recording; none, with a warning, if it has no speech."""
    started = time.time()
    with results.work(lecture.id, digest or digest_file(lecture.audio)) as work_dir:
        audio, labels = lecture.audio, list[Label]()
        try:
            audio = as_16k_mono(lecture.audio, work_dir, AudioLimits())
            labels = labels_of(audio)
        except (AudioError, NoSpeechError) as e:
            if isinstance(e, AudioError) and e.check != "silent":
                raise
            logger.warning("%s; it has no windows", str(e).replace(str(audio), str(lecture.audio)))
        path = work_dir / f"{lecture.id}{_SUFFIX}"
        if labels:
            recording = _recording(lecture, audio, results.folder)
            write_manifest(path, (cut_of(recording, number, label) for number, label in enumerate(labels)))
        else:
            path.touch()
    logger.info("%s: %d windows in %.1f s", lecture.id, len(labels), time.time() - started)


def _recording(lecture: Lecture, audio: Path, folder: Path) -> Recording:
    """The recording of a lecture; `audio` is its file, or a converted copy, which is moved to the folder."""
    with open_recording(audio) as f:
        num_samples = f.frames
    place = lecture.audio
    if audio != lecture.audio:
        place = folder / f"{lecture.id}.flac"
        os.replace(audio, place)
    source = AudioSource("file", [0], lasting_path(place, folder))
    return Recording(lecture.id, [source], SAMPLE_RATE, num_samples, num_samples / SAMPLE_RATE)


def _has_audio(path: Path) -> bool:
    """Whether the audio of labelled windows is still where it was."""
    first = next(iter(open_cuts(path)), None)
    return first is None or plain_audio(first.recording).is_file()
