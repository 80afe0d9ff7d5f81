"""Stage 3's files: manifests in, timed supervisions and their error out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from tqdm import tqdm

from lhotse_prep.corpora.source import PARTS
from lhotse_prep.errors import DataError
from lhotse_prep.features import SAMPLE_RATE
from lhotse_prep.prep_config import StretchConfig
from lhotse_prep.stages import write_json
from lhotse_prep.stretches import make_stretches, onset_errors
from ml2021.asr.aligner import align_lectures, read_lecture
from ml2021.config import AlignerConfig

logger = logging.getLogger(__name__)
LOW_CONFIDENCE = 0.3  # where the aligner has learned, the median is above 0.8


def align_corpus(
    manifests: Path, truth: Path, out_dir: Path, config: AlignerConfig, stretch_config: StretchConfig
) -> None:
    """Write ml2021_supervisions_{part}.jsonl.gz and scores.json; the aligner's own folders are kept in out_dir.

    Args:
      manifests: stage 1's folder.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]; it may be absent, and only the scores see it.
      out_dir: where to write.
      config: the acoustic model and its training.
      stretch_config: where supervisions end.
    """
    parts: dict[str, list[SupervisionSegment]] = {}
    lectures = []
    for part in PARTS:
        recordings = load_manifest(manifests / f"ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        parts[part] = list(load_manifest(manifests / f"ml2021_supervisions_{part}.jsonl.gz", SupervisionSet))
        for s in tqdm(parts[part], desc=f"reading {part}", disable=None, leave=False):
            samples, _ = sf.read(recordings[s.recording_id].sources[0].source, dtype="float32")
            lectures.append(read_lecture(s.id, samples, s.text))
            num_words, num_regions = len(lectures[-1].words), len(lectures[-1].regions)
            logger.info("%s: %.0f s, %d words, %d stretches of speech", s.id, s.duration, num_words, num_regions)
    train_ids = {s.id for part in config.train_parts for s in parts[part]}
    if not train_ids:
        raise DataError(f"no lectures in the parts that train the aligner ({', '.join(config.train_parts)})")
    logger.info("%d lectures read, %d of them train the aligner", len(lectures), len(train_ids))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times = align_lectures(lectures, train_ids, config, out_dir / "aligner", device)
    regions = {x.id: x.regions / SAMPLE_RATE for x in lectures}
    errors: list[float] = []
    num_words = num_untimed = 0
    for part, supervisions in parts.items():
        stretches = []
        for s in supervisions:
            own = make_stretches(s, times[s.id], regions[s.id], stretch_config)
            errors += _errors(own, truth / f"{s.id}.json")
            stretches += own
            num_words += len(times[s.id].start)
            num_untimed += int(np.isnan(times[s.id].start).sum())
        SupervisionSet.from_segments(stretches).to_file(out_dir / f"ml2021_supervisions_{part}.jsonl.gz")
        logger.info("%s: %d lectures, %d supervisions", part, len(supervisions), len(stretches))
    logger.info("%d of %d words have no time", num_untimed, num_words)
    confidence = float(np.median(np.concatenate([t.score for t in times.values()])))
    if confidence < LOW_CONFIDENCE:
        logger.warning(
            "the median confidence of a word is %.2f: the aligner has learned too little, do not trust these times; "
            "align more lectures at once, or raise aligner.max_rounds in asr.yaml", confidence,
        )  # fmt: skip
    counts = {"words": num_words, "words_untimed": num_untimed, "confidence_median": round(confidence, 4)}
    write_json(out_dir / "scores.json", counts | _summary(errors))


def _errors(stretches: Sequence[SupervisionSegment], truth: Path) -> list[float]:
    return onset_errors(stretches, json.loads(truth.read_text(encoding="utf-8"))) if truth.is_file() else []


def _summary(errors: Sequence[float]) -> dict[str, float | None]:
    """Milliseconds; a true stretch whose first token has no time counts as infinitely far off."""
    if not errors:
        return {}
    median, p95, worst = (float(1000 * np.quantile(errors, q, method="higher")) for q in (0.5, 0.95, 1.0))
    logger.info("start of true sentences: off by %.0f ms (median), %.0f ms (95%%), %.0f ms (worst)", median, p95, worst)
    values = {"alignment_median_ms": median, "alignment_p95_ms": p95, "alignment_worst_ms": worst}
    return {k: round(v, 1) if np.isfinite(v) else None for k, v in values.items()}
