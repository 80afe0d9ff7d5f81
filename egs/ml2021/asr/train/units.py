"""Units of pronunciation in the recogniser's training: where they come from, and the first weights of their CTC head.

Stage 3's aligner leaves its units beside its weights; a recogniser of ours has them in a folder beside its weights.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.spelling import UNITS
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.first_weights import UNITS_HEAD as HEAD
from ml2021.asr.train.unknown_words import MOST_UNKNOWN, NUM_CHECKED, unknown_words
from ml2021.training.checkpoint import load_checkpoint

NUM_ENGLISH_PIECES = 150  # of units that are made from the texts, as of the aligner's by default
ALIGNER_HEAD = "ctc_output"
logger = logging.getLogger(__name__)


def units_for(config: TransducerConfig, init_from: Path | None, data: AsrDataModule) -> PronunciationUnits | None:
    """The units to train on: those beside the checkpoint with the initial weights, or else those of the train texts.

    Args:
      config: None is returned if it has no head on units.
      init_from: a checkpoint of stage 3's aligner or of a recogniser.
      data: the windows to train on.
    Raises:
      DataError: there are no texts, or the units cannot write them.
    """
    if not config.has_units_head:
        return None
    folder = None if init_from is None else folder_of_units(init_from)
    if folder is not None:
        units = PronunciationUnits.load(folder)
        logger.info("%d units of pronunciation from %s", len(units), folder)
    else:
        texts = [cut.supervisions[0].text for cut in data.train_cuts()]
        if not any(text.split() for text in texts):
            raise DataError("there are no training windows with text, from which to make units (units_ctc_scale > 0)")
        units = PronunciationUnits.of_texts(texts, NUM_ENGLISH_PIECES)
        logger.info("%d units of pronunciation of the texts of the train part", len(units))
    _require_writable(data, units, folder)
    return units


def folder_of_units(checkpoint: Path) -> Path | None:
    """The folder with the units that a checkpoint was trained on; None if it has none."""
    folders = (checkpoint.parent, checkpoint.parent / UNITS)
    return next((folder for folder in folders if (folder / "units.txt").is_file()), None)


def units_of(text: str, units: PronunciationUnits) -> list[int]:
    """The unit ids of normalised text; none if the units cannot write a word of it."""
    written = units.write_words(text.split())
    complete = [ids for ids in written if ids is not None]
    return [unit for ids in complete for unit in ids] if len(complete) == len(written) else []


def fingerprint_of(units: PronunciationUnits | None, config: TransducerConfig) -> dict[str, str]:
    """What must not change when training resumes: the units and the stacks below their head; empty without a head."""
    if units is None:
        return {}
    digest = digest_json(units.symbols)[:16]
    return {"units": f"{len(units)} units, sha256 {digest}, stacks {config.units_stacks}"}


def init_units_head(model: AsrModel, checkpoint: Path) -> frozenset[str]:
    """Copy the CTC head of stage 3's aligner to the head on units, if the checkpoint is of an aligner.

    Without weights that fit, the head stays as it is, at random; the log says which it is.

    Args:
      model: with a head on the units beside the checkpoint.
      checkpoint: {"model": state_dict}.
    Returns:
      The names of the weights of the head if they are not copied.
    """
    given = load_checkpoint(checkpoint)["model"]
    head = {name: weight for name, weight in model.state_dict().items() if name.startswith(f"{HEAD}.")}
    source = ALIGNER_HEAD if (checkpoint.parent / "units.txt").is_file() else HEAD
    offered = {name: given.get(name.replace(HEAD, source, 1)) for name in head}
    reason = _misfit(head, offered, checkpoint)
    if reason:
        logger.warning("the head on units starts at random: %s", reason)
        return frozenset(head)
    model.load_state_dict({**model.state_dict(), **offered})
    logger.info("the head on units has the weights of %s in %s", source, checkpoint)
    return frozenset()


def _misfit(head: dict[str, Tensor], offered: dict[str, Tensor | None], checkpoint: Path) -> str:
    """Why the weights of a checkpoint are not those of the head; empty if they are."""
    if folder_of_units(checkpoint) is None:
        return f"{checkpoint} has no units beside it"
    for name, weight in head.items():
        other = offered[name]
        if other is None:
            return f"{checkpoint} has no head on units"
        if other.shape != weight.shape:
            return (
                f"{name} is {tuple(other.shape)} in {checkpoint}, and {tuple(weight.shape)} in the model: give "
                "units_stacks a value at which as many channels lie below the head"
            )
    return ""


def _require_writable(data: AsrDataModule, units: PronunciationUnits, folder: Path | None) -> None:
    """Count the words of training windows that the units cannot write: their windows have no loss on units.

    Raises:
      DataError: they are more than MOST_UNKNOWN.
    """

    def unknown_of(words: Sequence[str]) -> list[str]:
        return [word for word, ids in zip(words, units.write_words(words), strict=True) if ids is None]

    unknown = unknown_words(islice(data.train_cuts(), NUM_CHECKED), unknown_of)
    if not unknown.count:
        return
    if unknown.are_too_many:
        raise DataError(
            f"the units of {folder} cannot write {unknown.count / unknown.total:.0%} of the words of the training "
            f"windows ({unknown.examples}), over {MOST_UNKNOWN:.0%}: they are of another language; run stage 3 "
            "again, or set units_ctc_scale: 0"
        )
    logger.warning(
        "%d of the first training windows have no loss on units, which cannot write %d of their words (%s)",
        unknown.num_windows,
        unknown.count,
        unknown.examples,
    )
