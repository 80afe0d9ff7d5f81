"""The files of stage 4: reads manifests and timed supervisions, writes cuts with features."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from lhotse import CutSet, MonoCut, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import AUDIO, open_cuts, open_part, part_file, write_manifest
from lhotse_prep.manifests.grouped import Grouped, key_digest
from lhotse_prep.manifests.paths import lasting_path
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.cut import make_windows
from lhotse_prep.windows.features import store_features, with_storage_in
from lhotse_prep.windows.shar import write_shar
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import json_line, whole_file, write_json

logger = logging.getLogger(__name__)
_AGAIN = "check the manifests (python -m lhotse_prep validate) and make them again"
PATTERNS = ("ml2021_cuts_*.jsonl.gz", "scores.json", "left_out.jsonl", "feats_*", "shar")  # all outputs


def write_windows(
    manifests: Path,
    aligned: Path,
    out_dir: Path,
    final_dir: Path,
    config: WindowConfig,
    executor: Executor | None = None,
) -> None:
    """Write ml2021_cuts_{part}.jsonl.gz with features, left_out.jsonl, scores.json and, if config.shar, shar/.

    Training windows at another speed go to separate files, such as ml2021_cuts_train_sp0.9.jsonl.gz.

    Args:
      manifests: stage 1's folder.
      aligned: stage 3's folder.
      out_dir: where to write.
      final_dir: where out_dir is moved at the end of the stage; paths in the cuts point there.
      config: sizes and thresholds.
      executor: where features are computed; this process if None.
    Raises:
      DataError: a manifest is missing or damaged, names a recording twice, or there are no training windows. All of the
        manifests are read before features are computed.
    """
    executor = executor or SerialExecutor()
    parts = [_Part(part, manifests, aligned, config, out_dir) for part in PARTS]
    with whole_file(out_dir / "left_out.jsonl") as left_out:
        for part in parts:
            write_cuts(part.name, _counted(part, left_out), out_dir, final_dir, config, executor)
            if part.name == "train" and not part.num_windows:
                raise DataError("no training windows: see times and confidences of the aligned supervisions (stage 3)")
            for speed in config.speed_factors if part.name == "train" else ():
                faster = (cut.perturb_speed(speed) for cuts, _ in part.lectures() for cut in cuts)
                write_cuts(f"{part.name}_sp{speed:g}", faster, out_dir, final_dir, config, executor)
            summary = part.summary()
            logger.info(
                "%s: %d windows, %.2f h of %.2f h, %d of %d tokens; %d left out, %d without audio",
                part.name,
                summary["windows"],
                summary["hours"],
                summary["hours_recorded"],
                summary["tokens"],
                summary["tokens_transcribed"],
                summary["tokens_left_out"],
                summary["tokens_without_audio"],
            )
    write_json(out_dir / "scores.json", {f"windows_{part.name}": part.summary() for part in parts})


class _Part:
    """A part's manifests, of which one lecture is in memory at a time, and counts of its windows."""

    def __init__(self, name: str, manifests: Path, aligned: Path, config: WindowConfig, work: Path) -> None:
        """Read the manifests once, so that their errors are raised before any work; raises DataError."""
        self.name, self._config = name, config
        self._recordings = open_part(manifests, "recordings", name, RecordingSet, AUDIO)
        timed = open_part(aligned, "supervisions", name, SupervisionSet)
        self.num_windows = self._num_kept = self._num_left_out = 0
        self._seconds = self._seconds_recorded = 0.0
        ids: set[bytes] = set()
        for r in self._recordings:
            if (digest := key_digest(r.id)) in ids:
                raise DataError(
                    f"{part_file(manifests, 'recordings', name)}: recording {r.id} is in it twice; {_AGAIN}"
                )
            ids.add(digest)
            self._seconds_recorded += r.duration
        self._num_transcribed = _num_tokens(open_part(manifests, "supervisions", name, SupervisionSet))
        strange = Counter[str]()
        self._timed = Grouped(lambda: timed, _recording_id, work, _keys(timed, ids, strange))
        if strange:
            logger.warning(
                "%s: %d timed supervisions are of recordings that the manifests do not have, such as %s",
                name,
                sum(strange.values()),
                next(iter(strange)),
            )

    def lectures(self) -> Iterator[tuple[CutSet, list[SupervisionSegment]]]:
        """The windows of each lecture, and the supervisions that are left out."""
        timed = self._timed.lookup()
        for recording in self._recordings:
            yield make_windows(recording, timed.rows_of(recording.id), self._config, self.name == "train")

    def count(self, cuts: Iterable[MonoCut], left_out: Iterable[SupervisionSegment]) -> None:
        """Count a lecture's windows and left-out supervisions for the summary."""
        for cut in cuts:
            self.num_windows += 1
            self._seconds += cut.duration
            self._num_kept += _num_tokens(cut.supervisions)
        self._num_left_out += _num_tokens(left_out)

    def summary(self) -> dict[str, float]:
        """Counts of the part: each token is in a window, left out or without audio; hours are in a window or not."""
        hours, hours_recorded = self._seconds / 3600, self._seconds_recorded / 3600
        return {
            "windows": self.num_windows,
            "hours": round(hours, 4),
            "hours_recorded": round(hours_recorded, 4),
            "hours_without_window": round(hours_recorded - hours, 4),
            "tokens": self._num_kept,
            "tokens_transcribed": self._num_transcribed,
            "tokens_left_out": self._num_left_out,
            "tokens_without_audio": self._num_transcribed - self._num_kept - self._num_left_out,
        }


def _counted(part: _Part, left_out: IO[str]) -> Iterator[MonoCut]:
    """The windows of a part, which are counted; the supervisions that are left out are written."""
    for cuts, dropped in part.lectures():
        part.count(cuts, dropped)
        left_out.writelines(
            json_line(
                {
                    "id": s.id,
                    "part": part.name,
                    "start": s.start,
                    "duration": s.duration,
                    "confidence": (s.custom or {}).get("confidence"),
                    "text": s.text,
                }
            )
            for s in dropped
        )
        yield from cuts


def write_cuts(
    name: str, windows: Iterable[MonoCut], out_dir: Path, final_dir: Path, config: WindowConfig, executor: Executor
) -> None:
    """Write windows to ml2021_cuts_NAME.jsonl.gz, their features to feats_NAME/ and, if config.shar, shar/NAME/."""
    folder, path = f"feats_{name}", part_file(out_dir, "cuts", name)
    place = Path(lasting_path(final_dir / folder, final_dir))
    stored = store_features(windows, out_dir / folder, executor)
    write_manifest(path, (with_storage_in(cut, place) for cut in stored))
    if config.shar and path.is_file():
        cuts = open_cuts(path).map(partial(with_storage_in, folder=out_dir / folder))
        write_shar(cuts, out_dir / "shar" / name, config.shard_size)


def _keys(timed: Iterable[SupervisionSegment], ids: Container[bytes], strange: Counter[str]) -> Iterator[str]:
    """The recordings of timed supervisions; those that are not among `ids` (digests) are counted in `strange`."""
    for s in timed:
        if key_digest(s.recording_id) not in ids:
            strange[s.recording_id] += 1
        yield s.recording_id


def _recording_id(s: SupervisionSegment) -> str:
    return str(s.recording_id)


def _num_tokens(supervisions: Iterable[SupervisionSegment]) -> int:
    return sum(len((s.text or "").split()) for s in supervisions)
