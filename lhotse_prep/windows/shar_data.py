"""Loads the data of a window that was planned from Lhotse Shar: audio or features from a tar file, into memory."""

from __future__ import annotations

from io import BytesIO
from typing import Any, NamedTuple

import soundfile as sf
from lhotse import AudioSource, Features, MonoCut, Recording
from lhotse.cut import Cut
from lhotse.utils import fastcopy

from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.fields import FEATURES, RECORDING, check_row
from lhotse_prep.manifests.files import AUDIO, FEATS
from lhotse_prep.windows.shar_tar import TarItem, read_item
from lhotse_prep.workflow.errors import DataError

FIELDS = {AUDIO: "recording", FEATS: "features"}  # beginnings of the names of tar files
NUM_BINS = 80  # of features
_STORAGE = {".llc": "memory_lilcom", ".npy": "memory_npy"}  # how Lhotse reads an array, by its name


class SharItem(NamedTuple):
    """Where the data of a planned window are."""

    needs: str  # AUDIO or FEATS
    tar: str
    number: int  # in the tar file, from 0; that of the cut in its shard
    num_items: int | None  # of the tar file; None: not compared
    duration: float  # seconds, at the original speed
    speed: float  # to be loaded at


def shar_item(cut: Cut) -> SharItem | None:
    """Where the data of a planned window are; None if it is not from Shar."""
    item = (getattr(cut, "custom", None) or {}).get(SharItem.__name__)
    return item if isinstance(item, SharItem) else None


def load_window(cut: Cut) -> Cut:
    """A planned window with its data in memory; a cut that is not from Shar as it is.

    Raises:
      DataError: the tar file is damaged, is not of the same shard, or has other data than this recipe trains on.
    """
    item = shar_item(cut)
    if item is None:
        return cut
    stored = read_item(item.tar, item.number, item.num_items)
    where = f"{item.tar}, item {item.number + 1}"
    cut_id = cut.id if item.speed == 1 else cut.id.removesuffix(f"_sp{item.speed}")
    if stored.id != cut_id:
        raise DataError(
            f"{where}: it is of cut {stored.id}, and the cuts of its shard have {cut_id} there: the two are of "
            "different exports; make the shard again"
        )
    loaded = MonoCut(cut_id, cut.start, item.duration, cut.channel)
    if item.needs == FEATS:
        loaded = fastcopy(loaded, features=_features(stored, cut.supervisions[0].recording_id, where))
    else:
        loaded = fastcopy(loaded, recording=_recording(stored, where))
    if item.speed != 1:
        loaded = loaded.perturb_speed(item.speed)
    supervisions = [fastcopy(s, recording_id=loaded.recording_id) for s in cut.supervisions]  # Lhotse compares them
    return fastcopy(loaded, supervisions=supervisions)


def _features(stored: TarItem, recording_id: str, where: str) -> Features:
    row = _row(stored, FEATURES, where)
    if stored.suffix not in _STORAGE:
        raise DataError(f"{where}: features of type {stored.suffix} are not read, but {', '.join(_STORAGE)}")
    if row["num_features"] != NUM_BINS:
        raise DataError(
            f"{where}: cut {stored.id} has features of {row['num_features']} bins, and the model takes {NUM_BINS}; "
            "make them again, or set data.on_the_fly_feats: true"
        )
    frame_shift = row.get("frame_shift")
    if frame_shift is not None and abs(frame_shift - FRAME_SHIFT / SAMPLE_RATE) > 1e-6:
        raise DataError(
            f"{where}: cut {stored.id} has a frame each {frame_shift} s, and the model takes one each "
            f"{FRAME_SHIFT / SAMPLE_RATE} s; make the features again, or set data.on_the_fly_feats: true"
        )
    _require_rate(row["sampling_rate"], stored.id, where)
    return Features(
        type=row["type"],
        num_frames=row["num_frames"],
        num_features=row["num_features"],
        frame_shift=FRAME_SHIFT / SAMPLE_RATE,
        sampling_rate=row["sampling_rate"],
        start=row["start"],
        duration=row["duration"],
        storage_type=_STORAGE[stored.suffix],
        storage_path="",
        storage_key=stored.data,
        recording_id=recording_id,  # the manifest's may be null
        channels=row.get("channels", 0),
    )


def _recording(stored: TarItem, where: str) -> Recording:
    row = _row(stored, RECORDING, where)
    if row.get("transforms"):
        raise DataError(f"{where}: the audio of cut {stored.id} has transforms, which are not read; make it again")
    if len(row["sources"]) != 1:
        raise DataError(f"{where}: the audio of cut {stored.id} has {len(row['sources'])} sources; make it again")
    _require_rate(row["sampling_rate"], stored.id, where)
    try:
        actual_rate = sf.info(BytesIO(stored.data)).samplerate
    except (sf.LibsndfileError, RuntimeError, TypeError):  # of a kind that Lhotse may still read
        actual_rate = SAMPLE_RATE
    _require_rate(actual_rate, stored.id, where)
    source = AudioSource("memory", row["sources"][0]["channels"], stored.data)
    return Recording(
        row["id"], [source], row["sampling_rate"], row["num_samples"], row["duration"], row.get("channel_ids")
    )


def _row(stored: TarItem, kind: str, where: str) -> dict[str, Any]:
    """The manifest of an item, checked; what it says of files is not followed."""
    check_row(stored.manifest, kind, where)
    row: dict[str, Any] = stored.manifest
    return row


def _require_rate(rate: int, cut_id: str, where: str) -> None:
    if rate != SAMPLE_RATE:
        raise DataError(f"{where}: cut {cut_id} is at {rate} Hz, and the model takes {SAMPLE_RATE}; resample it")
