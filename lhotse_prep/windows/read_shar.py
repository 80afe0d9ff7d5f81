"""Reads windows from Lhotse Shar: first without their data, to plan batches; then the data of single windows.

A planned window knows in which tar file and at which number its data lie, so that windows can be loaded in any order
and in any process, and a plan is the same whoever makes it.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.utils import compute_num_samples, perturb_num_samples

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.fields import CUT, check_row
from lhotse_prep.manifests.files import FEATS, read_rows
from lhotse_prep.windows.shar_data import FIELDS, SharItem, load_window
from lhotse_prep.windows.shar_tar import require_whole
from lhotse_prep.workflow.digests import digest_parts
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
_FILE = re.compile(r"([^.]+)(?:\.(.+?))?\.(jsonl\.gz|jsonl|tar\.gz|tar)")  # field, name of the shard, kind
_CUTS = ("jsonl", "jsonl.gz")
_CUT_FIELDS = ("id", "type", "start", "duration", "channel", "supervisions")
_SUPERVISION_FIELDS = ("id", "recording_id", "start", "duration", "text")


class Shard(NamedTuple):
    """The files of a shard that are read."""

    cuts: str
    tar: str


class SharSize(NamedTuple):
    """What a folder holds."""

    num_cuts: tuple[int, ...]  # of each shard
    num_windows: int  # cuts with text
    seconds: float  # of the windows
    digest: str  # SHA-256 of the windows' ids, times and texts

    @property
    def num_shards(self) -> int:
        return len(self.num_cuts)


class Shar:
    """A folder with Lhotse Shar, of whose tar files one kind is read: those with audio or those with features."""

    def __init__(self, folder: Path, needs: str) -> None:
        """
        Args:
          folder: it has cuts.NNNNNN.jsonl.gz, and recording.NNNNNN.tar or features.NNNNNN.tar.
          needs: AUDIO or FEATS (manifests.files).
        Raises:
          DataError: there is no such folder, it has no Shar, or a file of a shard is missing.
        """
        self.folder, self.needs = folder, needs
        self.shards = find_shards(folder, needs)
        self._size: SharSize | None = None

    @property
    def size(self) -> SharSize:
        """Counts and a digest, from all cuts, without their data; read at the first call.

        Raises:
          DataError: a file is cut short, a cut is damaged, or the first item of a tar file is not as it must be.
        """
        if self._size is None:
            self._size = self._measured()
        return self._size

    def windows(self, speed: float = 1.0, seed: int | None = None) -> CutSet:
        """The cuts that have text, lazily and without their data, each with one supervision; see load_window.

        Args:
          speed: they are to be loaded at this speed, and are as long as they are then.
          seed: of the order of the shards; None: that of their names.
        """
        return CutSet(_Windows(self, speed, seed))

    def planned(self, order: Sequence[int], speed: float) -> Iterator[MonoCut]:
        """The windows of some shards."""
        for index in order:
            shard, count = self.shards[index], self.size.num_cuts[index]
            number = -1
            for number, where, row in _rows(shard.cuts):
                if number >= count:
                    break
                if row["supervisions"]:
                    item = SharItem(self.needs, shard.tar, number, count, row["duration"], speed)
                    yield _window(row, where, item)
            if number != count - 1:
                raise DataError(f"{shard.cuts} changed while it was read: it had {count} cuts; start again")

    def _measured(self) -> SharSize:
        num_cuts: list[int] = []
        num_windows, seconds = 0, 0.0

        def lines() -> Iterator[bytes]:
            nonlocal num_windows, seconds
            for shard in self.shards:
                require_whole(shard.tar)
                first, number = None, -1
                for number, where, row in _rows(shard.cuts):
                    if row["supervisions"]:
                        first = (where, row) if number == 0 else first
                        num_windows, seconds = num_windows + 1, seconds + row["duration"]
                        yield f"{row['id']}\t{row['start']}\t{row['duration']}\t{_text(row)}\n".encode()
                num_cuts.append(number + 1)
                if first is not None:  # most faults are those of all items
                    item = SharItem(self.needs, shard.tar, 0, None, first[1]["duration"], 1.0)
                    load_window(_window(first[1], first[0], item))

        digest = digest_parts(lines())
        if not num_windows:
            raise DataError(f"{self.folder} has {sum(num_cuts)} cuts and none with a supervision, so no text")
        if left_out := sum(num_cuts) - num_windows:
            logger.warning("%s: %d of %d cuts have no text and are left out", self.folder, left_out, sum(num_cuts))
        return SharSize(tuple(num_cuts), num_windows, seconds, digest)


class _Windows:
    """Iterates over the windows of a folder, reading the files each time; for CutSet."""

    def __init__(self, shar: Shar, speed: float, seed: int | None) -> None:
        self.shar, self.speed, self.seed = shar, speed, seed

    def __iter__(self) -> Iterator[MonoCut]:
        order = list(range(len(self.shar.shards)))
        if self.seed is not None:
            random.Random(self.seed).shuffle(order)
        return self.shar.planned(order, self.speed)

    def __len__(self) -> int:
        return self.shar.size.num_windows


def find_shards(folder: Path, needs: str) -> list[Shard]:
    """The shards of a folder, sorted by name.

    Raises:
      DataError: there is no such folder, it has no Shar, or a file of a shard is missing.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; data.shar_dir names folders with Lhotse Shar (stage 4: windows.shar)")
    files: dict[str, dict[str, str]] = {}  # {field: {name of a shard: file}}
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        field, name, kind = match[1], match[2] or "", match[3]
        if field == FIELDS[needs] and kind != "tar":
            raise DataError(f"{path} is read as a tar file only: unpack it with gunzip, or make the Shar again")
        if field != "cuts" or kind in _CUTS:
            other = files.setdefault(field, {}).setdefault(name, str(path))
            if other != str(path) and field in ("cuts", FIELDS[needs]):
                raise DataError(f"{folder} has {Path(other).name} and {path.name}; keep one of the two")
    if "cuts" not in files:
        inner = sorted(p.parent.name for p in folder.glob("*/cuts*.jsonl*"))
        advice = f"name those in it that have: {', '.join(dict.fromkeys(inner))}" if inner else "is it Lhotse Shar?"
        raise DataError(f"{folder} has no cuts.*.jsonl.gz; {advice}")
    return _paired(folder, files, needs)


def _paired(folder: Path, files: dict[str, dict[str, str]], needs: str) -> list[Shard]:
    field = FIELDS[needs]
    cuts, tars = files["cuts"], files.get(field, {})
    if not tars:
        advice = "the audio must be in it" if needs != FEATS else "without features, set data.on_the_fly_feats: true"
        raise DataError(f"{folder} has no {field}.*.tar; {advice}")
    if lacking := sorted(cuts.keys() - tars.keys()):
        raise DataError(f"{folder} has {Path(cuts[lacking[0]]).name}{_more(lacking)} and no {field} tar of the shard")
    if lacking := sorted(tars.keys() - cuts.keys()):
        raise DataError(f"{folder} has {Path(tars[lacking[0]]).name}{_more(lacking)} and no cuts of the shard")
    numbers = sorted(int(name) for name in cuts if name.isdigit())
    for a, b in zip(numbers, numbers[1:]):
        if b != a + 1:
            raise DataError(
                f"{folder} has shards {a} and {b} and none between: copy those that are missing, or, if there are no "
                "others, number them without a gap"
            )
    return [Shard(cuts[name], tars[name]) for name in sorted(cuts)]


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if names[1:] else ""


def _rows(cuts: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(number, file and line, row) of the cuts of a shard: checked, and with what a plan needs."""
    for number, (where, whole) in enumerate(read_rows(Path(cuts))):
        row = _chosen(whole, _CUT_FIELDS)
        supervisions = whole.get("supervisions") if isinstance(whole, dict) else None
        if isinstance(supervisions, list):
            row["supervisions"] = [_chosen(s, _SUPERVISION_FIELDS) for s in supervisions]
        check_row(row, CUT, where)
        if row["type"] not in ("MonoCut", "Cut"):
            raise DataError(f"{where}: cut {row['id']} is a {row['type']}; only MonoCuts are read from Shar")
        row["supervisions"] = row.get("supervisions") or []
        yield number, where, row


def _chosen(row: Any, fields: Sequence[str]) -> Any:
    return {name: row[name] for name in fields if name in row} if isinstance(row, dict) else row


def _text(row: dict[str, Any]) -> str:
    ordered = sorted(row["supervisions"], key=lambda s: s["start"])
    return " ".join(s.get("text") or "" for s in ordered)


def _window(row: dict[str, Any], where: str, item: SharItem) -> MonoCut:
    """A planned window: one supervision as long as the cut, as in read_windows, and no data."""
    cut_id, duration = row["id"], float(row["duration"])
    if item.speed != 1:
        cut_id = f"{cut_id}_sp{item.speed}"  # as Lhotse names it
        duration = perturb_num_samples(compute_num_samples(duration, SAMPLE_RATE), item.speed) / SAMPLE_RATE
    if not isinstance(row["channel"], int):
        raise DataError(f"{where}: cut {row['id']} has several channels; only cuts of one are read from Shar")
    supervision = SupervisionSegment(
        cut_id, str(row["supervisions"][0]["recording_id"]), 0.0, duration, row["channel"], _text(row)
    )
    return MonoCut(cut_id, row["start"], duration, row["channel"], [supervision], custom={SharItem.__name__: item})
