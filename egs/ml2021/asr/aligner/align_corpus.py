"""Stage 3's files: manifests in, timed supervisions and their error out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from numpy.typing import NDArray
from tqdm import tqdm

from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.hypotheses import write_ctm
from lhotse_prep.alignment.stretches import make_stretches, onset_errors
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import exact_times_report, read_exact_times
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json, write_jsonl
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.given_model import times_of_model
from ml2021.asr.aligner.rounds import align_lectures, read_lecture

logger = logging.getLogger(__name__)
LOW_CONFIDENCE = 0.3  # where the aligner has learned, the median is above 0.8


@dataclass(frozen=True)
class _Source:
    """One lecture of stage 1."""

    supervision: SupervisionSegment
    audio: Path
    part: str

    def samples(self) -> NDArray[np.float32]:
        """The recording, (num_samples,)."""
        samples, _ = sf.read(self.audio, dtype="float32")
        return samples


def align_corpus(
    manifests: Path, truth: Path, out_dir: Path, config: AlignerConfig, stretch_config: StretchConfig
) -> None:
    """Write ml2021_supervisions_{part}.jsonl.gz, ml2021_{part}.ctm, confidence.jsonl and scores.json.

    An aligner that is trained here is kept in out_dir/aligner. Lectures whose utterances have exact times in stage 1's
    manifests take those, and are not aligned.

    Args:
      manifests: stage 1's folder.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]; it may be absent, and only the scores see it.
      out_dir: where to write.
      config: the acoustic model and its training.
      stretch_config: where supervisions end.
    """
    sources, given = [], {part: read_exact_times(manifests, part) for part in PARTS}
    for part in PARTS:
        recordings = load_manifest(manifests / f"ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        for s in load_manifest(manifests / f"ml2021_supervisions_{part}.jsonl.gz", SupervisionSet):
            if s.recording_id not in given[part]:
                sources.append(_Source(s, Path(recordings[s.recording_id].sources[0].source), part))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    times: dict[str, WordTimes] = {}
    regions: dict[str, NDArray[np.int64]] = {}
    if config.model and sources:
        heard = [(x.supervision.id, x.samples, (x.supervision.text or "").split()) for x in sources]
        times, regions = times_of_model(Path(config.model), heard, config, device)
    elif sources:
        times, regions = _trained(sources, out_dir / "aligner", config, device)
    reports, errors = [], []
    for part in PARTS:
        own = [x.supervision for x in sources if x.part == part]
        stretches = [s for exact in given[part].values() for s in exact]
        reports += [exact_times_report(recording, exact) for recording, exact in given[part].items()]
        for s in own:
            stretches += (made := make_stretches(s, times[s.id], regions[s.id] / SAMPLE_RATE, stretch_config))
            errors += _errors(made, truth / f"{s.id}.json")
            reports.append(confidence_report(s.id, (s.text or "").split(), times[s.id]))
            logger.info("%s", report_line(reports[-1]))
        SupervisionSet.from_segments(stretches).to_file(out_dir / f"ml2021_supervisions_{part}.jsonl.gz")
        write_ctm(out_dir / f"ml2021_{part}.ctm", stretches)
        logger.info(
            "%s: %d recordings aligned, %d with exact times, %d supervisions",
            part,
            len(own),
            len(given[part]),
            len(stretches),
        )
    write_jsonl(out_dir / "confidence.jsonl", reports)
    write_json(out_dir / "scores.json", (_counts(times) if times else {}) | _summary(errors))


def _trained(
    sources: Sequence[_Source], exp_dir: Path, config: AlignerConfig, device: torch.device
) -> tuple[dict[str, WordTimes], dict[str, NDArray[np.int64]]]:
    """Times of words and stretches of speech (R, 2), in samples, of each lecture, from an aligner trained on them."""
    lectures = []
    for x in tqdm(sources, desc="reading", disable=None, leave=False):
        s = x.supervision
        lectures.append(read_lecture(s.id, x.samples(), s.text or ""))
        num_words, num_regions = len(lectures[-1].words), len(lectures[-1].regions)
        logger.info("%s: %.0f s, %d words, %d stretches of speech", s.id, s.duration, num_words, num_regions)
    train_ids = {x.supervision.id for x in sources if x.part in config.train_parts}
    if not train_ids:
        raise DataError(f"no lectures in the parts that train the aligner ({', '.join(config.train_parts)})")
    logger.info("%d lectures read, %d of them train the aligner", len(lectures), len(train_ids))
    return align_lectures(lectures, train_ids, config, exp_dir, device), {x.id: x.regions for x in lectures}


def _counts(times: Mapping[str, WordTimes]) -> dict[str, float]:
    """Words, those without a time, and the median confidence, with a warning where that is low."""
    num_words = sum(len(t.start) for t in times.values())
    num_untimed = sum(int(np.isnan(t.start).sum()) for t in times.values())
    logger.info("%d of %d words have no time", num_untimed, num_words)
    confidence = float(np.median(np.concatenate([t.score for t in times.values()])))
    if confidence < LOW_CONFIDENCE:
        logger.warning(
            "the median confidence of a word is %.2f: the aligner has learned too little, do not trust these times; "
            "align more lectures at once, or raise aligner.max_rounds in asr.yaml",
            confidence,
        )
    return {"words": num_words, "words_untimed": num_untimed, "confidence_median": round(confidence, 4)}


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
