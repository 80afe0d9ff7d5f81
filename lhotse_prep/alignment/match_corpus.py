"""Alignment without a model: a recogniser's words matched to the transcripts, exact times where they are known."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import soundfile as sf
from lhotse import RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.hypotheses import Hypothesis, read_hypotheses, write_ctm
from lhotse_prep.alignment.matching import match_times
from lhotse_prep.alignment.stretches import make_stretches
from lhotse_prep.alignment.word_times import complete
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import exact_times_report, read_exact_times
from lhotse_prep.manifests.files import load_safely, write_manifest
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl

logger = logging.getLogger(__name__)
PATTERNS = ("ml2021_supervisions_*.jsonl.gz", "ml2021_*.ctm", "confidence.jsonl")  # what match_corpus writes
_UNITS_PER_WORD = 2  # of words, for those that are timed from their neighbours


def match_corpus(manifests: Path, words: Path | None, out_dir: Path, config: StretchConfig) -> None:
    """Write ml2021_supervisions_{part}.jsonl.gz, ml2021_{part}.ctm and confidence.jsonl.

    Args:
      manifests: stage 1's folder.
      words: a recogniser's .ctm or .jsonl, or a folder of them; may be None where all times are given.
      out_dir: where to write.
      config: where supervisions end.
    Raises:
      DataError: a lecture has no words with times, or hardly any that match.
    """
    hypotheses = read_hypotheses(words) if words is not None else {}
    out_dir.mkdir(parents=True, exist_ok=True)
    reports = []
    for part in PARTS:
        given = read_exact_times(manifests, part)
        recordings = load_safely(manifests / f"ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        audio = {r.id: Path(r.sources[0].source) for r in recordings}  # Lhotse's own look-up is a search
        stretches: list[SupervisionSegment] = []
        for s in load_safely(manifests / f"ml2021_supervisions_{part}.jsonl.gz", SupervisionSet):
            if s.recording_id in given:
                stretches += given[s.recording_id]
                reports.append(exact_times_report(s.recording_id, given[s.recording_id]))
                continue
            made, report = _matched(s, audio[s.recording_id], hypotheses, config)
            stretches += made
            reports.append(report)
            logger.info("%s", report_line(report))
        write_manifest(out_dir / f"ml2021_supervisions_{part}.jsonl.gz", stretches)
        write_ctm(out_dir / f"ml2021_{part}.ctm", stretches)
        logger.info("%s: %d supervisions with times", part, len(stretches))
    write_jsonl(out_dir / "confidence.jsonl", reports)


def _matched(
    s: SupervisionSegment, audio: Path, hypotheses: dict[str, Hypothesis], config: StretchConfig
) -> tuple[list[SupervisionSegment], dict[str, object]]:
    """Stretches of one lecture and the report on them."""
    if s.recording_id not in hypotheses:
        raise DataError(
            f"lecture {s.recording_id} has no words with times; give them with --words, or align it with a model: "
            "./run.sh --stage 3 --stop-stage 3 (this package knows no models)"
        )
    tokens = (s.text or "").split()
    samples, _ = sf.read(audio, dtype="float32")
    regions = speech_regions(samples, s.recording_id) / SAMPLE_RATE
    matched = match_times(tokens, hypotheses[s.recording_id], s.recording_id)
    times = complete(matched, np.full(len(tokens), _UNITS_PER_WORD), regions)
    return make_stretches(s, times, regions, config), confidence_report(s.id, tokens, times)
