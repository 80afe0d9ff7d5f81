"""How a recogniser with a head on units writes words: in units of pronunciation, and in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError

UNITS = "units"  # the folder beside lang with the units of the head


@dataclass(frozen=True, eq=False)
class Spelling:
    """The two alphabets of a recogniser."""

    units: PronunciationUnits
    tokens: TokenTable


def load_spelling(exp_dir: Path, tokens: TokenTable) -> Spelling:
    """Read the units in exp_dir/units; raises DataError if there are none."""
    if not (exp_dir / UNITS / "units.txt").is_file():
        raise DataError(
            f"no {exp_dir / UNITS / 'units.txt'}: the recogniser has no head on units of pronunciation (train it with "
            "asr.model.units_ctc_scale > 0), or its folder was not copied whole"
        )
    return Spelling(PronunciationUnits.load(exp_dir / UNITS), tokens)
