"""Times of lectures from an aligner that is trained on some of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from lhotse_prep.alignment.corpus import Regions, TimedLecture, Times
from lhotse_prep.alignment.lecture_times import finish_each, time_each
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import MIN_CONTRAST, CtcTimes
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.prepared import Preparation, PreparedLecture
from ml2021.asr.aligner.rounds import train_aligner

logger = logging.getLogger(__name__)
_LEARNED = 0.8  # median confidence of a word, below which an aligner has not learned the lectures
_GOLDEN = 0.5 * (5**0.5 - 1)  # its multiples modulo 1 are spread evenly, however many there are


def times_of_trained_model(
    lectures: Sequence[Lecture], exp_dir: Path, config: AlignerConfig, device: torch.device
) -> tuple[Times, Regions]:
    """Times of words, and stretches of speech, of each lecture, from an aligner that is trained on them."""
    work_dir = exp_dir / "work"
    timed = list(time_with_trained_model(lectures, exp_dir, config, Machinery(device, work_dir=work_dir)))
    shutil.rmtree(work_dir)
    return {x.id: times for x, times, _ in timed}, {x.id: regions for x, _, regions in timed}


def time_with_trained_model(
    lectures: Iterable[Lecture], exp_dir: Path, config: AlignerConfig, machinery: Machinery
) -> Iterator[TimedLecture]:
    """Yield the times of words, and the stretches of speech, of each lecture in order.

    An aligner is trained on at most config.train_hours of them. Their features lie in files meanwhile; of the other
    lectures, one is in memory at a time.

    Args:
      lectures: gone through several times.
      exp_dir: for the aligner.
      config: of the aligner.
      machinery: where it runs; its work_dir has the files, and may be removed afterwards.
    Raises:
      DataError: no lecture is in the parts that train; or a lecture is damaged, or has no speech, no transcript or that
        of another recording.
    """
    assert machinery.work_dir is not None
    train_ids, is_all = training_lectures(lectures, config)
    # where all lectures of these parts train, the others show too whether the aligner is sure
    takes_part = (x for x in lectures if is_all or x.id in train_ids)
    prepared = {x.id: x for x in _prepared(takes_part, machinery)}
    logger.info("%d lectures read, %d of them train the aligner", len(prepared), len(train_ids))
    texts = [" ".join(x.words) for x in lectures]
    confidence = train_aligner(list(prepared.values()), texts, train_ids, config, exp_dir, machinery)
    del texts
    # a model that knows most lectures tells a wrong transcript among them
    least_contrast = MIN_CONTRAST if confidence >= _LEARNED else 0.0
    weights = exp_dir / "pretrained.pt"
    kept = machinery.kept_log_probs(weights)
    work = CtcTimes(exp_dir, str(machinery.device), config, least_contrast=least_contrast, kept=kept)
    options = [digest_file(weights), config.costs, config.min_island]
    results = machinery.results("aligned", options)
    items: Iterable[Lecture | PreparedLecture] = (prepared.get(x.id, x) for x in lectures)
    timed = time_each(work, items, machinery.executor, results, "aligning", machinery.batched(work))
    yield from finish_each(lectures, timed, results)


def training_lectures(lectures: Iterable[Lecture], config: AlignerConfig) -> tuple[set[str], bool]:
    """The ids of the lectures that train the aligner, and whether these are all of config.train_parts.

    If there are more than config.train_hours, they are chosen evenly over all in their order, by the seed. If even the
    shortest lecture is longer than that, it is taken alone.

    Raises:
      DataError: there are none in these parts.
    """
    ids, seconds = [], []
    for x in lectures:
        if x.part in config.train_parts:
            ids.append(x.id)
            seconds.append(x.supervision.duration)
    if not ids:
        raise DataError(f"no lectures in the parts that train the aligner ({', '.join(config.train_parts)})")
    limit, total = 3600 * config.train_hours, sum(seconds)
    if total <= limit:
        return set(ids), True
    places = (np.random.default_rng(config.train.seed).uniform() + np.arange(len(ids)) * _GOLDEN) % 1
    chosen: list[int] = []
    left = limit
    for i in np.argsort(places).tolist():
        if seconds[i] <= left:
            chosen.append(i)
            left -= seconds[i]
    chosen = sorted(chosen) or [int(np.argmin(seconds))]
    hours = sum(seconds[i] for i in chosen) / 3600
    logger.info(
        "the aligner trains on %d of %d lectures, %.2f of %.2f hours (aligner.train_hours is %g): %s",
        len(chosen),
        len(ids),
        hours,
        total / 3600,
        config.train_hours,
        ", ".join(ids[i] for i in chosen[:50]) + (f" and {len(chosen) - 50} more" if len(chosen) > 50 else ""),
    )
    if hours > config.train_hours:
        logger.warning(
            "even the shortest lecture has %.2f hours, more than aligner.train_hours (%g); the aligner trains on it",
            hours,
            config.train_hours,
        )
    return {ids[i] for i in chosen}, len(chosen) == len(ids)


def _prepared(lectures: Iterable[Lecture], machinery: Machinery) -> Iterator[PreparedLecture]:
    """Read lectures, write their features to files and find the first times."""
    assert machinery.work_dir is not None
    work = Preparation(machinery.work_dir / "features")
    results = machinery.results("read", "")
    for x, kept in time_each(work, lectures, machinery.executor, results, "reading"):
        prepared = work.result(x, kept)
        logger.info(
            "%s: %.0f s, %d words, %d stretches of speech",
            x.id,
            x.supervision.duration,
            len(prepared.words),
            len(prepared.regions),
        )
        yield prepared
