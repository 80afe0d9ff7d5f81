"""Windows from Lhotse Shar: the same as from manifests, whoever wrote it; every fault is named, none loses a cut."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import AudioSource, CutSet, Fbank, FbankConfig, MonoCut, Recording, SupervisionSegment
from lhotse.dataset.speech_recognition import validate_for_asr
from lhotse.shar import SharWriter
from lhotse.utils import fastcopy

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.manifests.files import AUDIO, FEATS
from lhotse_prep.windows.read import read_windows
from lhotse_prep.windows.read_shar import Shar
from lhotse_prep.windows.shar import write_shar
from lhotse_prep.windows.shar_data import load_window
from lhotse_prep.workflow.errors import DataError

NUM_CUTS = 7
RATE = 16_000


def cuts_in(folder: Path, ids: list[str], rate: int = RATE, num_bins: int = 80) -> CutSet:
    """Windows of one recording with two supervisions each, and with features."""
    rng = np.random.default_rng(0)
    sf.write(folder / "x.wav", rng.uniform(-0.1, 0.1, 10 * rate), rate)
    recording = Recording("x", [AudioSource("file", [0], str(folder / "x.wav"))], rate, 10 * rate, 10.0)
    cuts = []
    for i, cut_id in enumerate(ids):
        times = (("b", 0.3), ("a", 0.1))
        supervisions = [SupervisionSegment(f"{i}{k}", "x", start, 0.2, text=f"{k} {i}") for k, start in times]
        cuts.append(MonoCut(cut_id, 1.1 * i, 0.6 + 0.05 * i, 0, supervisions=supervisions, recording=recording))
    extractor = fbank_extractor()
    if (rate, num_bins) != (RATE, 80):
        extractor = Fbank(FbankConfig(num_mel_bins=num_bins, sampling_rate=rate, dither=0.0))
    return CutSet.from_cuts(cuts).compute_and_store_features(extractor, str(folder / "feats"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of stage 4, with Shar of three shards."""
    folder = tmp_path_factory.mktemp("cuts")
    cuts = cuts_in(folder, [f"x-{i:04d}" for i in range(NUM_CUTS)])
    cuts.to_file(folder / "ml2021_cuts_train.jsonl.gz")
    write_shar(cuts, folder / "shar", 3)
    return folder


def test_windows_are_those_of_the_manifest_with_the_same_data(stored: Path) -> None:
    manifest = list(read_windows(stored, "train"))
    for needs in (FEATS, AUDIO):
        shar = Shar(stored / "shar", needs)
        planned = list(shar.windows())
        assert shar.size.num_cuts == (3, 3, 1) and len(shar.windows()) == NUM_CUTS
        assert shar.size.seconds == pytest.approx(sum(c.duration for c in manifest))
        for a, b in zip(manifest, planned, strict=True):
            assert (a.id, a.duration, a.supervisions[0].text) == (b.id, b.duration, b.supervisions[0].text)
            assert (b.supervisions[0].start, b.supervisions[0].duration) == (0, b.duration)
            assert not b.has_features and not b.has_recording
            loaded = load_window(b)
            validate_for_asr(CutSet.from_cuts([loaded]))
            if needs == FEATS:
                assert loaded.num_frames == a.num_frames and np.array_equal(loaded.load_features(), a.load_features())
            else:
                assert np.array_equal(loaded.load_audio(), a.load_audio())
        assert load_window(manifest[0]) is manifest[0]


def test_no_windows_write_no_shar(tmp_path: Path) -> None:
    write_shar(iter([]), tmp_path / "shar", 3)
    assert not (tmp_path / "shar").exists()


def test_shards_in_another_order_have_all_windows(stored: Path) -> None:
    shar = Shar(stored / "shar", FEATS)
    names = [c.id for c in shar.windows()]
    orders = {tuple(c.id for c in shar.windows(seed=seed)) for seed in range(20)}
    assert len(orders) == 6 and all(sorted(order) == names for order in orders)
    assert [c.id for c in shar.windows(seed=3)] == [c.id for c in shar.windows(seed=3)]


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_windows_at_another_speed_are_those_of_lhotse(stored: Path, speed: float) -> None:
    expected = [c.perturb_speed(speed) for c in CutSet.from_shar(in_dir=stored / "shar").drop_features()]
    planned = list(Shar(stored / "shar", AUDIO).windows(speed))
    for a, b in zip(expected, planned, strict=True):
        loaded = load_window(b)
        assert (a.id, a.duration) == (b.id, b.duration) == (loaded.id, loaded.duration)
        validate_for_asr(CutSet.from_cuts([loaded]))
        assert loaded.supervisions[0].duration == b.supervisions[0].duration == b.duration
        assert np.array_equal(a.load_audio(), loaded.load_audio())


IDS = ["長-字", "with.dots.in", "with/slash", "with space", "n" * 130]


@pytest.mark.parametrize("kind", ["lilcom", "one shard", "added later", "uncompressed cuts", "features only"])
def test_shar_of_other_tools(tmp_path: Path, kind: str) -> None:
    """Compared with Lhotse's own reader."""
    cuts, out = cuts_in(tmp_path, IDS), tmp_path / "shar"
    fields = {"recording": "wav", "features": "lilcom"}
    if kind == "features only":
        fields = {"features": "lilcom"}
    out.mkdir()
    if kind == "added later":  # the cuts do not mention their features
        with SharWriter(out, {"recording": "flac"}, shard_size=2) as writer:
            for cut in cuts.drop_features():
                writer.write(cut)
        with SharWriter(out, {"features": "lilcom"}, shard_size=2, include_cuts=False) as writer:
            for cut in cuts:
                writer.write(cut)
    else:
        with SharWriter(out, fields, shard_size=None if kind == "one shard" else 2) as writer:
            for cut in cuts:
                writer.write(cut)
    if kind == "uncompressed cuts":
        for path in list(out.glob("cuts*.gz")):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    expected = CutSet.from_shar(in_dir=out)
    for needs in (FEATS,) if kind == "features only" else (FEATS, AUDIO):
        for a, b in zip(expected, map(load_window, Shar(out, needs).windows()), strict=True):
            same = (c.load_features() if needs == FEATS else c.load_audio() for c in (a, b))
            assert a.id == b.id and np.array_equal(*same)


def test_cuts_without_text_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cuts = list(cuts_in(tmp_path, ["a", "b", "c"]))
    write_shar([cuts[0], fastcopy(cuts[1], supervisions=[]), cuts[2]], tmp_path / "shar", 10)
    shar = Shar(tmp_path / "shar", FEATS)
    assert shar.size.num_windows == 2 and "1 of 3 cuts have no text and are left out" in caplog.text
    assert [c.id for c in map(load_window, shar.windows())] == ["a", "c"]
    write_shar([fastcopy(cuts[1], supervisions=[])], tmp_path / "empty", 10)
    with pytest.raises(DataError, match="empty has 1 cuts and none with a supervision"):
        _ = Shar(tmp_path / "empty", FEATS).size


def rewrite(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write a tar file again with changed members; None: without this one."""
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            if (changed := change(name, content)) is not None:
                member = tarfile.TarInfo(changed[0])
                member.size = len(changed[1])
                tar.addfile(member, io.BytesIO(changed[1]))


def change_manifest(cut: str, **values: object) -> Callable[[Path], None]:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, json.dumps(json.loads(content) | values).encode() if name == f"{cut}.json" else content

    return lambda f: rewrite(f / "features.000000.tar", change)


def change_audio(cut: str, **values: object) -> Callable[[Path], None]:
    def change(name: str, content: bytes) -> tuple[str, bytes]:
        return name, json.dumps(json.loads(content) | values).encode() if name == f"{cut}.json" else content

    return lambda f: rewrite(f / "recording.000000.tar", change)


def change_lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "cuts.000000.jsonl.gz"
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in change(lines)).encode()))

    return apply


def add_link(folder: Path) -> None:
    with tarfile.open(folder / "features.000000.tar", "w") as tar:
        for name in ("x-0000.npy", "x-0000.json"):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)


def overwrite(name: str, begin: int, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[begin : begin + len(content)] = content
        (folder / name).write_bytes(data)

    return apply


def cut_short(name: str, keep: float) -> Callable[[Path], None]:
    return lambda f: (f / name).write_bytes((f / name).read_bytes()[: int((f / name).stat().st_size * keep)]) and None


def rename_item(folder: Path) -> None:
    rewrite(folder / "features.000000.tar", lambda n, c: (n.replace("x-0001", "other"), c))


def drop_data(folder: Path) -> None:
    ends = {"x-0001.npy": "x-0001.nodata", "x-0001.json": "x-0001.nometa"}
    rewrite(folder / "features.000000.tar", lambda n, c: (ends.get(n, n), b"" if n in ends else c))


COMMAND = {"type": "command", "channels": [0], "source": "touch never"}
RIR = [{"name": "ReverbWithImpulseResponse", "kwargs": {"rir": {"sources": [COMMAND]}}}]
FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no folder": (FEATS, shutil.rmtree, r"no folder .*/shar; data\.shar_dir names folders"),
    "empty": (FEATS, lambda f: [p.unlink() for p in f.iterdir()], r"shar has no cuts\.\*\.jsonl\.gz; is it Lhotse"),
    "folders in it": (
        FEATS,
        lambda f: ((f / "train").mkdir(), [p.rename(f / "train" / p.name) for p in f.glob("*.*")]),
        r"name those in it that have: train$",
    ),
    "no features": (
        FEATS,
        lambda f: [p.unlink() for p in f.glob("features*")],
        r"shar has no features\.\*\.tar; without features, set data\.on_the_fly_feats: true",
    ),
    "no audio": (AUDIO, lambda f: [p.unlink() for p in f.glob("rec*")], r"no recording\.\*\.tar; the audio must be in"),
    "tar missing": (
        FEATS,
        lambda f: (f / "features.000001.tar").unlink(),
        r"has cuts\.000001\.jsonl\.gz and no features tar of the shard",
    ),
    "cuts missing": (
        FEATS,
        lambda f: (f / "cuts.000002.jsonl.gz").unlink(),
        r"has features\.000002\.tar and no cuts of the shard",
    ),
    "shard missing": (FEATS, lambda f: [p.unlink() for p in f.glob("*.000001.*")], r"shards 0 and 2 and none between"),
    "packed tar": (
        FEATS,
        lambda f: (f / "features.000001.tar").rename(f / "features.000001.tar.gz"),
        r"features\.000001\.tar\.gz is read as a tar file only",
    ),
    "two of one shard": (
        FEATS,
        lambda f: shutil.copy(f / "cuts.000001.jsonl.gz", f / "cuts.000001.jsonl"),
        r"has cuts\.000001\.jsonl and cuts\.000001\.jsonl\.gz; keep one",
    ),
    "cuts cut short": (FEATS, cut_short("cuts.000000.jsonl.gz", 0.5), r"cuts\.000000\.jsonl\.gz is damaged"),
    "not JSON": (
        FEATS,
        change_lines(lambda lines: [lines[0], "no", lines[2]]),
        "damaged or not JSON lines.*after line 1",
    ),
    "no duration": (
        FEATS,
        change_lines(lambda lines: [lines[0], lines[1].replace('"duration"', '"length"'), lines[2]]),
        r'cuts\.000000\.jsonl\.gz, line 2: no "duration"',
    ),
    "mixed cut": (
        FEATS,
        change_lines(lambda lines: [json.dumps(json.loads(lines[0]) | {"type": "MultiCut"}), *lines[1:]]),
        r"line 1: cut x-0000 is a MultiCut; only MonoCuts",
    ),
    "a cut less": (FEATS, change_lines(lambda lines: lines[:2]), r"000000\.tar has 3 items, and the cuts .* are 2:"),
    "a cut more": (FEATS, change_lines(lambda lines: lines * 2), r"000000\.tar has 3 items, and the cuts .* are 6:"),
    "other order": (FEATS, change_lines(lambda x: x[::-1]), "tar, item 1: it is of cut x-0000, and .* have x-0002"),
    "other cut": (FEATS, rename_item, r"features\.000000\.tar, item 2: it is of cut other, and .* x-0001 there"),
    "no data": (FEATS, drop_data, r"features\.000000\.tar, item 2: it has no data of cut x-0001"),
    "tar cut short": (FEATS, cut_short("features.000001.tar", 0.7), r"features\.000001\.tar is cut short or no tar"),
    "empty tar": (FEATS, lambda f: (f / "features.000001.tar").write_bytes(b""), r"000001\.tar is cut short or no tar"),
    "no tar": (
        FEATS,
        lambda f: (f / "features.000001.tar").write_bytes(b"x" * 9216 + bytes(1024)),
        r"features\.000001\.tar cannot be read as a tar file",
    ),
    "damaged header": (
        FEATS,
        overwrite("features.000000.tar", 0, b"\xff" * 300),
        r"000000\.tar cannot be read as a tar",
    ),
    "members less": (
        FEATS,
        lambda f: rewrite(f / "features.000000.tar", lambda n, c: None if n == "x-0002.json" else (n, c)),
        r"features\.000000\.tar has 5 members, and each item has two",
    ),
    "link": (FEATS, add_link, r"tar, item 1: x-0000\.npy is a link"),
    "40 bins": (FEATS, change_manifest("x-0000", num_features=40), "item 1: cut x-0000 has features of 40 bins"),
    "8 kHz": (FEATS, change_manifest("x-0000", sampling_rate=8000), "item 1: cut x-0000 is at 8000 Hz"),
    "20 ms": (FEATS, change_manifest("x-0000", frame_shift=0.02), r"cut x-0000 has a frame each 0\.02 s"),
    "40 bins later": (FEATS, change_manifest("x-0001", num_features=40), "item 2: cut x-0001 has features of 40 bins"),
    "no manifest": (FEATS, change_manifest("x-0000", num_frames="a"), '"num_frames" must be a whole number'),
    "audio at 8 kHz": (AUDIO, change_audio("x-0001", sampling_rate=8000), "item 2: cut x-0001 is at 8000 Hz"),
    "transforms": (AUDIO, change_audio("x-0000", transforms=RIR), "the audio of cut x-0000 has transforms"),
    "two sources": (AUDIO, change_audio("x-0000", sources=[COMMAND, COMMAND]), "audio of cut x-0000 has 2 sources"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(stored: Path, tmp_path: Path, fault: str) -> None:
    """In one line, before or while the windows are loaded."""
    needs, make, message = FAULTS[fault]
    folder = tmp_path / "shar"
    shutil.copytree(stored / "shar", folder)
    make(folder)
    with pytest.raises(DataError, match=message) as error:
        list(map(load_window, Shar(folder, needs).windows()))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_file_that_a_manifest_names_is_not_opened(stored: Path, tmp_path: Path) -> None:
    """Nor is a command run: the data are those of the tar file."""
    shutil.copytree(stored / "shar", tmp_path / "shar")
    command = {"type": "command", "channels": [0], "source": f"touch {tmp_path}/ran"}
    change_audio("x-0000", sources=[command])(tmp_path / "shar")
    pickled = {"storage_type": "memory_raw", "storage_path": "/etc/passwd", "storage_key": "cos\nsystem"}
    change_manifest("x-0000", **pickled)(tmp_path / "shar")
    for needs in (AUDIO, FEATS):
        for cut, other in zip(Shar(tmp_path / "shar", needs).windows(), Shar(stored / "shar", needs).windows()):
            a, b = load_window(cut), load_window(other)
            same = (c.load_features() if needs == FEATS else c.load_audio() for c in (a, b))
            assert np.array_equal(*same)
    assert not (tmp_path / "ran").exists()


def test_audio_at_another_rate_than_its_manifest_says(tmp_path: Path) -> None:
    cuts = cuts_in(tmp_path, ["a"], rate=8000, num_bins=40)
    (tmp_path / "shar").mkdir()
    with SharWriter(tmp_path / "shar", {"recording": "flac", "features": "lilcom"}, shard_size=2) as writer:
        for cut in cuts:
            writer.write(cut)
    with pytest.raises(DataError, match="features of 40 bins"):
        _ = Shar(tmp_path / "shar", FEATS).size
    path = tmp_path / "shar" / "recording.000000.tar"
    rewrite(path, lambda n, c: (n, c.replace(b'"sampling_rate": 8000', b'"sampling_rate": 16000')))
    with pytest.raises(
        DataError, match=r"recording\.000000\.tar, item 1: cut a is at 8000 Hz, and the model takes 16000"
    ):
        _ = Shar(tmp_path / "shar", AUDIO).size
