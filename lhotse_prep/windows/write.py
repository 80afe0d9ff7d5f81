"""The files of stage 4: reads manifests and timed supervisions, writes cuts with features."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from lhotse import CutSet, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.files import AUDIO, load_part, part_file, write_manifest
from lhotse_prep.manifests.paths import lasting_path
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.cut import make_windows
from lhotse_prep.windows.features import store_features, with_storage_in
from lhotse_prep.windows.shar import write_shar
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import write_json, write_jsonl

logger = logging.getLogger(__name__)
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
      DataError: a manifest is missing or damaged, or there are no training windows.
    """
    executor = executor or SerialExecutor()
    left_out: list[dict[str, object]] = []
    scores: dict[str, object] = {}
    for part in PARTS:
        recordings = load_part(manifests, "recordings", part, RecordingSet, AUDIO)
        lectures = load_part(manifests, "supervisions", part, SupervisionSet)
        timed = load_part(aligned, "supervisions", part, SupervisionSet)
        cuts, dropped = _cut_part(recordings, timed, config, for_training=part == "train")
        if part == "train" and not len(cuts):
            raise DataError("no training windows: see times and confidences of the aligned supervisions (stage 3)")
        speeds = config.speed_factors if part == "train" else ()
        for name, windows in [(part, cuts), *((f"{part}_sp{x:g}", cuts.perturb_speed(x)) for x in speeds)]:
            stored = store_features(windows, out_dir / f"feats_{name}", executor)
            place = Path(lasting_path(final_dir / f"feats_{name}", final_dir))
            placed = with_storage_in(stored, place)
            write_manifest(part_file(out_dir, "cuts", name), placed)
            if config.shar:
                write_shar(stored, out_dir / "shar" / name, config.shard_size)
        left_out += [
            {
                "id": s.id,
                "part": part,
                "start": s.start,
                "duration": s.duration,
                "confidence": (s.custom or {}).get("confidence"),
                "text": s.text,
            }
            for s in dropped
        ]
        scores[f"windows_{part}"] = summary = _summary(cuts, dropped, recordings, lectures)
        logger.info(
            "%s: %d windows, %.2f h of %.2f h, %d of %d tokens; %d left out, %d without audio",
            part,
            summary["windows"],
            summary["hours"],
            summary["hours_recorded"],
            summary["tokens"],
            summary["tokens_transcribed"],
            summary["tokens_left_out"],
            summary["tokens_without_audio"],
        )
    write_jsonl(out_dir / "left_out.jsonl", left_out)
    write_json(out_dir / "scores.json", scores)


def _cut_part(
    recordings: RecordingSet, timed: SupervisionSet, config: WindowConfig, for_training: bool
) -> tuple[CutSet, list[SupervisionSegment]]:
    """The windows of all lectures of a part, and the supervisions that were left out."""
    by_lecture: dict[str, list[SupervisionSegment]] = {}
    for s in timed:
        by_lecture.setdefault(s.recording_id, []).append(s)
    cuts, dropped = [], []
    for recording in recordings:
        windows, left_out = make_windows(recording, by_lecture.get(recording.id, []), config, for_training)
        cuts += list(windows)
        dropped += left_out
    return CutSet.from_cuts(cuts), dropped


def _summary(
    cuts: CutSet, left_out: Sequence[SupervisionSegment], recordings: RecordingSet, lectures: SupervisionSet
) -> dict[str, float]:
    """Counts of a part: each token is in a window, left out or without audio; hours are in a window or not."""
    num_kept, hours = _num_tokens(s for c in cuts for s in c.supervisions), sum(c.duration for c in cuts) / 3600
    num_transcribed, hours_recorded = _num_tokens(lectures), sum(r.duration for r in recordings) / 3600
    return {
        "windows": len(cuts),
        "hours": round(hours, 4),
        "hours_recorded": round(hours_recorded, 4),
        "hours_without_window": round(hours_recorded - hours, 4),
        "tokens": num_kept,
        "tokens_transcribed": num_transcribed,
        "tokens_left_out": _num_tokens(left_out),
        "tokens_without_audio": num_transcribed - num_kept - _num_tokens(left_out),
    }


def _num_tokens(supervisions: Iterable[SupervisionSegment]) -> int:
    return sum(len((s.text or "").split()) for s in supervisions)
