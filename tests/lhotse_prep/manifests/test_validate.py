"""Whatever Lhotse's validation refuses is refused, and what is as Lhotse writes it is good; so is all that we write."""

from __future__ import annotations

import copy
import json
import random
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lhotse
import numpy as np
import pytest
import soundfile as sf
from lhotse import (
    AudioSource,
    CutSet,
    Features,
    FeatureSet,
    LilcomChunkyWriter,
    MonoCut,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
    load_manifest,
)
from lhotse.array import Array, TemporalArray
from lhotse.cut import PaddingCut
from lhotse.cut.set import deserialize_cut
from lhotse.qa import validate_recordings_and_supervisions as lhotse_validate_pair
from lhotse.supervision import AlignmentItem
from lhotse.testing.dummies import dummy_alignment, dummy_features, dummy_multi_cut
from lhotse.utils import fastcopy

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.cli import main
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.manifests.faults import cut_faults, features_faults, recording_faults, supervision_faults
from lhotse_prep.manifests.fields import CUT, FEATURES, RECORDING, SUPERVISION, check_row
from lhotse_prep.manifests.files import read_items, write_manifest
from lhotse_prep.manifests.validate import find_faults, validate_folder
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import SerialExecutor

RATE = 16_000
READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    RECORDING: Recording.from_dict,
    SUPERVISION: SupervisionSegment.from_dict,
    FEATURES: Features.from_dict,
    CUT: deserialize_cut,
}
WRONG = (-1, 0, 0.0, -0.5, 99.0, 1e9, 1e300, 10**400, 7, float("nan"), float("inf"), "0", None, [], {}, True)


def recording(i: int, seconds: float = 1.0, path: str = "a.wav", channels: int = 1, **more: Any) -> Recording:
    sources = [AudioSource("file", list(range(channels)), path)]
    return Recording(f"dummy-recording-{i:04d}", sources, RATE, round(seconds * RATE), seconds, **more)


def supervision(i: int, start: float = 0.0, duration: float = 1.0) -> SupervisionSegment:
    alignment = dummy_alignment(start=start, duration=duration)
    name, custom = f"dummy-segment-{i:04d}", {"custom_field": "irrelevant", "sources": ["a"], "type": "x"}
    return SupervisionSegment(
        name, f"dummy-recording-{i:04d}", start, duration, text="我們 BERT", alignment=alignment, custom=custom
    )


def random_cut(rng: random.Random) -> Any:
    i = rng.randrange(100)
    start = rng.choice([0.0, 0.25])
    vector = TemporalArray(Array("numpy_files", "f", "k", [100, 4]), 0, 0.01, start)
    custom = rng.choice([None, {"x": 1, "vector": vector}])
    cut: Any = MonoCut(
        f"cut-{i}",
        start,
        0.5,
        0,
        supervisions=rng.choice([[], [supervision(i, start + 0.1, 0.2).with_offset(-start)]]),
        features=rng.choice([None, dummy_features(i)]),
        recording=recording(i),
        custom=custom,
    )
    kind = rng.randrange(6)
    if kind == 1:
        cut = cut.pad(duration=2.0)
    elif kind == 2:
        cut = cut.drop_features().mix(
            MonoCut("noise", 0, 0.4, 0, recording=recording(200)), snr=10, offset_other_by=0.1
        )
    elif kind == 3:
        cut = dummy_multi_cut(i, supervisions=[SupervisionSegment("s", "r", 0.0, 1.0, [0, 1])])
        for source in cut.recording.sources:
            source.type = "file"
    elif kind == 4:
        cut = cut.perturb_speed(1.1)
    elif kind == 5:
        cut = PaddingCut("p", 1.0, RATE, -23.0, num_samples=RATE)
    return cut


def random_row(rng: random.Random, kind: str) -> dict[str, Any]:
    """A row as Lhotse writes it."""
    i = rng.randrange(100)
    if kind == RECORDING:
        item: Any = recording(i, rng.choice([0.5, 1.0, 3.7]), channels=rng.choice([1, 2]))
        item = item.perturb_speed(0.9) if rng.random() < 0.3 else item
    elif kind == SUPERVISION:
        item = supervision(i, rng.choice([0.0, 0.5]), 0.4)
    elif kind == FEATURES:
        item = dummy_features(i)
    else:
        item = random_cut(rng)
    return json.loads(json.dumps(item.to_dict()))


def corrupt(rng: random.Random, row: dict[str, Any]) -> None:
    """Change one value of a row, however deep; words and custom fields are the user's own."""
    places: list[tuple[Any, Any]] = []
    left: list[Any] = [row]
    while left:
        value = left.pop()
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(item, (dict, list)) and key != "custom":
                left.append(item)
    owner, key = rng.choice(places)
    if isinstance(owner, dict) and rng.random() < 0.2:
        del owner[key]
    elif isinstance(owner[key], (int, float)) and rng.random() < 0.5:
        owner[key] = owner[key] * rng.choice([-1, 2, 0.5]) + rng.choice([0, 1, -1, 0.1])
    else:
        owner[key] = rng.choice(WRONG)


def is_refused_by_lhotse(kind: str, row: dict[str, Any]) -> bool:
    try:
        lhotse.validate(READERS[kind](copy.deepcopy(row)))
    except Exception:
        return True
    return False


def faults(kind: str, row: dict[str, Any]) -> list[str]:
    row = copy.deepcopy(row)
    try:
        check_row(row, kind, "line 1")
        item = READERS[kind](row)
    except (DataError, TypeError, ValueError, AssertionError, AttributeError, LookupError, ArithmeticError) as e:
        return [str(e)]
    if kind == RECORDING:
        findings = recording_faults("train", item)
    elif kind == SUPERVISION:
        findings = supervision_faults("train", item, None)
    else:
        findings = features_faults("train", item) if kind == FEATURES else cut_faults("train", item)
    return [str(f) for f in findings if f.is_error]


@pytest.mark.parametrize("kind", READERS)
def test_rows_that_lhotse_writes_are_good_and_those_that_it_refuses_are_refused(kind: str) -> None:
    rng = random.Random(kind)
    num_refused = 0
    for _ in range(400):
        row = random_row(rng, kind)
        assert faults(kind, row) == []
        corrupt(rng, row)
        if is_refused_by_lhotse(kind, row):
            num_refused += 1
            assert faults(kind, row), row
    assert num_refused > 100


@pytest.mark.parametrize("seed", range(40))
def test_pairs_that_lhotse_refuses_are_refused(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.wav")
        sf.write(paths[-1], np.random.default_rng(i).uniform(-0.2, 0.2, RATE), RATE)
    recordings = [recording(i, 1.0, str(path)) for i, path in enumerate(paths)]
    supervisions = [supervision(i, 0.2, 0.5) for i in range(3)]

    def errors() -> list[str]:
        manifests = {"train": (RecordingSet(recordings), SupervisionSet(supervisions))}
        return [str(f) for f in find_faults(manifests, CheckConfig(), SerialExecutor()) if f.is_error]

    assert errors() == []
    item: Any = rng.choice([*recordings, *supervisions])
    name = rng.choice(["id", "duration", "start", "channel", "recording_id", "num_samples", "sampling_rate"])
    if hasattr(item, name):
        other = getattr(rng.choice([r for r in (*recordings, *supervisions) if hasattr(r, name)]), name)
        setattr(item, name, rng.choice([other, 3, -1, 0.9]) if name not in ("id", "recording_id") else other)
    try:
        lhotse_validate_pair(RecordingSet(recordings), SupervisionSet(supervisions))
    except Exception:
        assert errors()


def write_good(folder: Path) -> tuple[Recording, SupervisionSegment]:
    """Manifests of a recording of 2 s with a supervision that has words."""
    folder.mkdir(exist_ok=True)
    sf.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.2, 0.2, 2 * RATE), RATE)
    r = Recording("r", [AudioSource("file", [0], str(folder / "a.wav"))], RATE, 2 * RATE, 2.0)
    words = [AlignmentItem("我", 0.5, 0.2, 1.0), AlignmentItem("們", 0.7, 0.2, 1.0)]
    s = SupervisionSegment("s", "r", 0.5, 1.0, text="我 們", alignment={"word": words})
    return r, s


def validate(folder: Path, r: Recording, s: SupervisionSegment, suffix: str = ".jsonl.gz") -> dict[str, dict[str, int]]:
    RecordingSet.from_recordings([r]).to_file(folder / f"recordings_train{suffix}")
    SupervisionSet.from_segments([s]).to_file(folder / f"supervisions_train{suffix}")
    return validate_folder(folder, CheckConfig(), SerialExecutor())


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".json.gz", ".yaml", ".yaml.gz"])
def test_every_form_that_lhotse_writes_is_read(tmp_path: Path, suffix: str) -> None:
    assert validate(tmp_path, *write_good(tmp_path), suffix) == {"train": {"recordings": 1, "supervisions": 1}}
    with pytest.raises(DataError, match=r"its word '們' spans 99.000-99.200 s, the supervision 0.500-1.500 s"):
        r, s = write_good(tmp_path)
        assert s.alignment is not None
        s.alignment["word"][1] = s.alignment["word"][1]._replace(start=99.0)
        validate(tmp_path, r, s, suffix)


@pytest.mark.parametrize(
    ("of", "change", "message"),
    [
        ("r", {"duration": 40.0}, "its duration is 40.000 s, but it has 32000 samples at 16000 Hz, which are 2.000 s"),
        ("r", {"duration": 40.0, "num_samples": 40 * RATE}, "has 32000 samples, its header or manifest says 640000"),
        ("r", {"sampling_rate": 8000, "duration": 4.0}, "has 16000 Hz, its manifest says 8000"),
        ("r", {"channel_ids": [0, 1]}, r"its channels are \[0, 1\], but its sources have \[0\]"),
        ("r", {"num_samples": 0, "duration": 0.0}, "it has 0.0 s, 0 samples at 16000 Hz; all must be > 0"),
        ("s", {"channel": 1}, r"channel 1, but recording r has \[0\]"),
        ("s", {"duration": -1.0}, "its duration is -1.0 s; it must be > 0"),
        ("s", {"start": 1.5}, "spans 1.500-2.500 s, recording r has 2.000 s"),
        ("s", {"recording_id": "x"}, "there is no recording x"),
    ],
)
def test_manifests_that_contradict_their_file_are_refused(
    tmp_path: Path, of: str, change: dict[str, Any], message: str
) -> None:
    r, s = write_good(tmp_path)
    for name, value in change.items():
        setattr(r if of == "r" else s, name, value)
    with pytest.raises(DataError, match=message):
        validate(tmp_path, r, s)


def test_a_channel_that_the_file_lacks_and_a_missing_file(tmp_path: Path) -> None:
    r, s = write_good(tmp_path)
    r.sources[0].channels, r.channel_ids, s.channel = [1], [1], 1
    with pytest.raises(DataError, match=r"a.wav has 1 channels, its manifest has channel 1 \(from 0 on\)"):
        validate(tmp_path, r, s)
    r, s = write_good(tmp_path)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DataError, match=r"recording r: no file .*a.wav"):
        validate(tmp_path, r, s)


def test_segments_are_held_against_the_recordings(tmp_path: Path) -> None:
    r, s = write_good(tmp_path)
    for change, message in (
        ({"start": 1.9}, "supervision s: spans 1.900-2.900 s, recording r has 2.000 s"),
        ({"text": "。"}, "supervision s: its text is empty"),
    ):
        bad = lhotse.utils.fastcopy(s, alignment=None, **change)
        SupervisionSet.from_segments([bad]).to_file(tmp_path / "segments_train.jsonl.gz")
        with pytest.raises(DataError, match=message):
            validate(tmp_path, r, s)


def test_several_sources_and_channels_and_transforms_are_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    r, s = write_good(tmp_path)
    sf.write(tmp_path / "b.wav", np.random.default_rng(1).uniform(-0.2, 0.2, (2 * RATE, 2)), RATE)
    both = [*r.sources, AudioSource("file", [1, 2], str(tmp_path / "b.wav"))]
    r = Recording("r", both, RATE, 2 * RATE, 2.0)
    with pytest.raises(DataError, match="b.wav has 2 channels, its manifest has channel 2"):
        validate(tmp_path, r, s)
    r = Recording("r", [AudioSource("file", [0, 1], str(tmp_path / "b.wav"))], RATE, 2 * RATE, 2.0)
    validate(tmp_path, r, s)
    assert "recording r: it has 2 channels in 1 files; to align or decode it" in caplog.text
    validate(tmp_path, r.perturb_speed(0.9, affix_id=False), s)
    assert "recording r: it has transforms" in caplog.text


def test_cuts_and_features_are_checked_with_their_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r, s = write_good(tmp_path)
    with LilcomChunkyWriter(tmp_path / "feats.lca") as storage:
        cut = MonoCut("c", 0.5, 1.0, 0, [s.with_offset(-0.5)], recording=r)
        cut = cut.compute_and_store_features(fbank_extractor(), storage)
    path = tmp_path / "cuts_train.jsonl.gz"

    def check(changed: Any, message: str) -> None:
        CutSet.from_cuts([changed]).to_file(path)
        with pytest.raises(DataError, match=message):
            main(["validate", str(path)])

    CutSet.from_cuts([cut]).to_file(path)
    main(["validate", str(path)])
    assert "train: 1 cuts, all good" in capsys.readouterr().out
    features = cut.features
    assert features is not None
    check(lhotse.utils.fastcopy(cut, start=1.5), "it spans 1.500-2.500 s, recording r 0.000-2.000 s")
    check(lhotse.utils.fastcopy(cut, channel=1), r"channel 1, but recording r has \[0\]")
    far = lhotse.utils.fastcopy(s, start=1.2, duration=0.2, alignment=None)
    check(lhotse.utils.fastcopy(cut, supervisions=[far]), "supervision s spans 1.200-1.400 s of the cut")
    gone = lhotse.utils.fastcopy(features, storage_path=str(tmp_path / "gone.lca"))
    check(lhotse.utils.fastcopy(cut, features=gone), "no file .*gone.lca; compute them again")
    short = lhotse.utils.fastcopy(features, num_frames=50, duration=0.5)
    check(
        lhotse.utils.fastcopy(cut, features=short, duration=0.5, supervisions=[]), "100 x 80 of them, .* says 50 x 80"
    )
    FeatureSet.from_features([features, lhotse.utils.fastcopy(features, num_features=40)]).to_file(
        tmp_path / "features_train.jsonl.gz"
    )
    with pytest.raises(DataError, match="fbank of 40 at 16000 Hz, others"):
        main(["validate", str(tmp_path / "features_train.jsonl.gz")])


def test_a_folder_is_read_row_by_row_and_the_good_part_of_it_is_written(tmp_path: Path) -> None:
    """Rows are made when they are asked for, and nothing holds them: of each kind, one at a time is alive."""
    recording, supervision = write_good(tmp_path / "in")
    rows = [
        (fastcopy(recording, id=f"r{i}"), fastcopy(supervision, id=f"s{i}", recording_id=f"r{i}")) for i in range(30)
    ]
    rows[7] = (rows[7][0], fastcopy(rows[7][1], text=""))
    write_manifest(tmp_path / "in" / "recordings_train.jsonl.gz", [r for r, _ in rows])
    write_manifest(tmp_path / "in" / "supervisions_train.jsonl.gz", [s for _, s in rows])
    alive: list[weakref.ref[Any]] = []
    most = 0

    def reading(path: Path, kind: str) -> Iterator[Any]:
        nonlocal most
        for item in read_items(path, kind):
            alive.append(weakref.ref(item))
            most = max(most, sum(ref() is not None for ref in alive))
            yield item
            del item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lhotse_prep.manifests.folder.read_items", reading)
        limits = CheckConfig(skip_bad=True)
        counts = validate_folder(tmp_path / "in", limits, SerialExecutor(), tmp_path / "out")
    assert most <= 3 and len(alive) == 120  # every row was read twice
    assert counts == {"train": {"recordings": 30, "supervisions": 29}}
    written = load_manifest(tmp_path / "out" / "supervisions_train.jsonl.gz")
    assert [s.id for s in written] == [s.id for _, s in rows if s.id != "s7"]


def test_the_manifests_of_all_parts_are_read_before_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, supervision = write_good(tmp_path)
    validate(tmp_path, recording, supervision)
    (tmp_path / "recordings_zzz.jsonl").write_text("not JSON")
    monkeypatch.setattr("lhotse_prep.manifests.validate.inspect", lambda job: pytest.fail("it reads audio"))
    with pytest.raises(DataError, match=r"recordings_zzz\.jsonl is damaged or not JSON lines"):
        validate_folder(tmp_path, CheckConfig(), SerialExecutor())
