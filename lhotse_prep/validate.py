"""What Lhotse's own validation lets pass: manifests that could run code, repeated ids, empty texts, damaged audio.

python -m lhotse_prep.validate data/mini/manifests
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from lhotse import RecordingSet, SupervisionSet, load_manifest

from lhotse_prep.corpora.source import PARTS, SAMPLE_RATE
from lhotse_prep.errors import DataError
from lhotse_prep.stages import run_main

logger = logging.getLogger(__name__)
TOLERANCE = 0.025  # seconds that a supervision may reach past its recording
_BLOCK = 1 << 20  # samples


def validate_recordings_and_supervisions(recordings: RecordingSet, supervisions: SupervisionSet) -> None:
    """Raise DataError, naming the ids, where a manifest is not what later stages rely on; reads all audio."""
    require_unique("recording", (r.id for r in recordings))
    require_unique("supervision", (s.id for s in supervisions))
    durations = {}
    for recording in recordings:
        check_sources(recording)
        _check_audio(recording)
        durations[recording.id] = recording.duration
    for s in supervisions:
        if s.recording_id not in durations:
            raise DataError(f"supervision {s.id}: there is no recording {s.recording_id}")
        if not (s.text or "").split():
            raise DataError(f"supervision {s.id}: its text is empty")
        if s.start < 0 or s.duration <= 0 or s.end > durations[s.recording_id] + TOLERANCE:
            raise DataError(
                f"supervision {s.id} spans {s.start:.3f}-{s.end:.3f} s, recording {s.recording_id} "
                f"has {durations[s.recording_id]:.3f} s; make the manifests again from the audio that is there"
            )


def require_unique(kind: str, ids: Iterable[str]) -> None:
    """Raise DataError that lists ids that occur more than once."""
    repeated = sorted(i for i, n in Counter(ids).items() if n > 1)
    if repeated:
        shown = ", ".join(repeated[:10])
        raise DataError(f"{len(repeated)} {kind} ids occur more than once: {shown}; ids must be unique in a part")


def check_sources(recording: Any) -> None:
    """Only plain files may be opened: Lhotse would run a `command` source, and fetch a `url`."""
    for source in recording.sources:
        if source.type != "file" or str(source.source).startswith("pipe:"):
            raise DataError(
                f"recording {recording.id}: its audio source is of type {source.type!r}; only files are read here, "
                "since a command in a manifest would be executed"
            )


def _check_audio(recording: Any) -> None:
    path = Path(recording.sources[0].source)
    if recording.sampling_rate != SAMPLE_RATE:
        raise DataError(f"recording {recording.id}: {recording.sampling_rate} Hz, expected {SAMPLE_RATE}; run stage 0")
    if not path.is_file():
        raise DataError(f"recording {recording.id}: no file {path}")
    num_samples, peak = 0, 0.0
    try:
        for block in sf.blocks(str(path), _BLOCK, dtype="float32"):
            if not np.isfinite(block).all():
                at = (num_samples + int(np.flatnonzero(~np.isfinite(block))[0])) / SAMPLE_RATE
                raise DataError(
                    f"recording {recording.id}: {path} has samples that are not numbers, first at {at:.2f} s"
                )
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            num_samples += len(block)
    except sf.LibsndfileError as e:
        raise DataError(
            f"recording {recording.id}: {path} is damaged after {num_samples / SAMPLE_RATE:.2f} s ({e})"
        ) from e
    if num_samples != recording.num_samples:
        raise DataError(
            f"recording {recording.id}: {path} has {num_samples} samples, its header or manifest says "
            f"{recording.num_samples}; it was cut short or replaced: restore it or make the manifests again"
        )
    if peak == 0:
        raise DataError(f"recording {recording.id}: {path} is silent from beginning to end")


def main(argv: list[str]) -> None:
    """Check the manifests of a folder."""
    parser = argparse.ArgumentParser(prog="python -m lhotse_prep.validate", description=main.__doc__)
    parser.add_argument(
        "manifests", type=Path, help="folder with ml2021_recordings_*.jsonl.gz and ml2021_supervisions_*"
    )
    folder = parser.parse_args(argv).manifests
    for part in PARTS:
        paths = [folder / f"ml2021_{kind}_{part}.jsonl.gz" for kind in ("recordings", "supervisions")]
        for path in paths:
            if not path.is_file():
                raise DataError(f"no {path}; stage 1 makes it")
        recordings, supervisions = (load_manifest(p) for p in paths)
        validate_recordings_and_supervisions(recordings, supervisions)
        print(f"{part}: {len(recordings)} recordings, {len(supervisions)} supervisions, all good")


if __name__ == "__main__":
    run_main(main)
