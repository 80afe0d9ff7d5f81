"""Stage 3: times for whole lectures from an acoustic model that learns on the lectures themselves.

In each round, windows are cut at pauses or between words by the current times (at first those of synthetic speech), a
CTC model on units of pronunciation trains on the windows, and every lecture is aligned again with its log-probs.
Windows are cut in two ways, so that no word is bound to one side of a pause.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.lecture_times import finish_each, time_each
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import CtcTimes
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.prepared import PreparedLecture, middles
from ml2021.asr.aligner.train_round import Round, train_round
from ml2021.asr.aligner.windows import AlignerTask, Window, training_windows
from ml2021.asr.model.recogniser import CtcModel
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint

_LEAST_CONFIDENCE = 0.3  # below it, a model has not begun to learn
_QUITE_SURE = 0.8  # confidence below which, as in noise, a round may do harm that the next one makes good
_RISE = 0.01  # of the median confidence, by which a round must exceed those before it to be worth another
_NEARLY_ALL = 4  # times config.settled that 95% of the words may move in the first round if it is to be the last
logger = logging.getLogger(__name__)


def align_lectures(
    lectures: Sequence[PreparedLecture],
    train_ids: Collection[str],
    config: AlignerConfig,
    exp_dir: Path,
    device: torch.device,
) -> dict[str, WordTimes]:
    """Train the aligner in rounds as train_aligner does, and align every lecture."""
    machinery = Machinery(device)
    train_aligner(lectures, [" ".join(x.words) for x in lectures], train_ids, config, exp_dir, machinery)
    timed = time_each(CtcTimes(exp_dir, str(device), config), lectures, machinery.executor, None, "aligning")
    return {x.id: times for x, times, _ in finish_each(lectures, timed, None)}


def train_aligner(
    lectures: Sequence[PreparedLecture],
    texts: Sequence[str],
    train_ids: Collection[str],
    config: AlignerConfig,
    exp_dir: Path,
    machinery: Machinery,
) -> float:
    """Train the aligner in rounds until it is sure of the words of these lectures, whose times are updated.

    Rounds end when the alignment hardly moves and the median confidence of a word has reached config.learned_confidence
    or no longer rises, as in noise: after the first round already, where the model is sure and agrees with the first
    times about nearly all words. After an interruption, finished rounds are not repeated. The model of the round that
    was surest, its config.json and units stay in exp_dir.

    Args:
      lectures: those that train, and others that are aligned between rounds too.
      texts: of all lectures that the aligner will align.
      train_ids: of the lectures that train.
      config: the model and its training.
      exp_dir: for the model; a subfolder for each round.
      machinery: where it runs.
    Returns:
      The median confidence of a word by the model that is kept.
    """
    units = PronunciationUnits.of_texts(texts, config.num_english_pieces)
    units.save(exp_dir)
    write_json(exp_dir / "config.json", {"encoder": to_mapping(config.encoder)})
    torch.manual_seed(config.train.seed)
    model = CtcModel(config.encoder, len(units)).to(machinery.device)
    encoded = {x.id: units.encode_words(x.words) for x in lectures if x.id in train_ids}
    num_steps, in_vain = 0, 0  # steps of all rounds; rounds without a rise
    best, highest = 1, 0.0  # the round with the highest confidence
    for number in range(1, config.max_rounds + 1):
        windows = _windows([x for x in lectures if x.id in train_ids], encoded, config)
        num_steps = _train(model, len(units), windows, config, exp_dir, number, num_steps, machinery)
        confidence, moved = _align_again(lectures, exp_dir, number, machinery)
        median, nearly_all = np.nanquantile(moved, (0.5, 0.95)).tolist()
        logger.info(
            "aligner, round %d: median confidence %.3f, words moved by %.3f s (median), %.3f s (95%%)",
            number,
            confidence,
            median,
            nearly_all,
        )
        is_settled = median <= config.settled and (number > 1 or nearly_all <= _NEARLY_ALL * config.settled)
        in_vain = 0 if number == 1 or confidence >= highest + _RISE else in_vain + 1
        no_longer_rises = in_vain >= (1 if confidence >= _QUITE_SURE else 2) and confidence >= _LEAST_CONFIDENCE
        if confidence > highest:
            best, highest = number, confidence
        if is_settled and (confidence >= config.learned_confidence or no_longer_rises):
            break
    if best < number:
        logger.info("aligner: the model of round %d is kept, which was the surest", best)
    weights = load_checkpoint(exp_dir / f"round-{best}" / "pretrained.pt")["model"]
    save_checkpoint(exp_dir / "pretrained.pt", {"model": weights})
    return highest


def _windows(
    lectures: Sequence[PreparedLecture], encoded: Mapping[str, list[list[int]]], config: AlignerConfig
) -> list[Window]:
    """The windows of a round, with the lectures cut in both ways."""
    ways = (False, True)
    return [w for is_second in ways for x in lectures for w in training_windows(x, encoded[x.id], config, is_second)]


def _align_again(
    lectures: Sequence[PreparedLecture], exp_dir: Path, number: int, machinery: Machinery
) -> tuple[float, NDArray[np.float64]]:
    """Set the lectures' times by the model of a round; returns the median confidence, and how far each word moved.

    Seconds; NaN where a word has no time before or after.
    """
    weights = exp_dir / f"round-{number}" / "pretrained.pt"
    results = machinery.results(f"round-{number}", digest_file(weights))
    work = CtcTimes(exp_dir, str(machinery.device), None, weights, kept=machinery.kept_log_probs(weights))
    timed = time_each(work, lectures, machinery.executor, results, f"round {number}", machinery.batched(work))
    scores, moved = [], []
    for lecture, result in timed:
        times = middles(result.times)
        scores.append(result.times.score)
        moved.append(np.abs(times - lecture.times))
        lecture.times = times
    return float(np.median(np.concatenate(scores))), np.concatenate(moved) / SAMPLE_RATE


def _train(
    model: CtcModel,
    num_units: int,
    windows: Sequence[Window],
    config: AlignerConfig,
    exp_dir: Path,
    number: int,
    first_step: int,
    machinery: Machinery,
) -> int:
    """Train the model for a round, or load it if the round is already finished; then it is ready to align.

    Args:
      first_step: steps of all earlier rounds.
    Returns:
      Steps up to the end of this round.
    """
    round_dir = exp_dir / f"round-{number}"
    steps_per_epoch = AlignerTask(windows, config, first_step).steps_per_epoch()
    if number == 1:
        passes = -(-config.first_epochs // 2)  # two in an epoch, one for each way to cut
        epochs = max(passes, -(-config.min_steps // steps_per_epoch))
        train = replace(config.train, num_epochs=epochs)
        config = replace(config, guided_steps=min(config.guided_steps, epochs * steps_per_epoch // 2))
    else:
        train = replace(
            config.train,
            num_epochs=config.more_epochs,
            warmup_steps=config.train.warmup_steps // 4,
            seed=config.train.seed + number,
        )
        config = replace(config, guided_steps=0)
    if not (round_dir / "pretrained.pt").is_file():
        logger.info("aligner, round %d: %d windows, %d epochs", number, len(windows), train.num_epochs)
        plan = Round(config, train, first_step, round_dir)
        work_dir = (machinery.work_dir or exp_dir) / f"train-{number}"
        train_round(model, num_units, windows, plan, machinery.device, machinery.processes, work_dir)
    model.load_state_dict(load_checkpoint(round_dir / "pretrained.pt")["model"])
    model.eval()
    return first_step + train.num_epochs * steps_per_epoch
