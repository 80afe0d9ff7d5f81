"""Training from Lhotse Shar: the batches and losses of the manifests, exact resume, any folder, bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse.shar import SharWriter

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.windows.read import read_windows
from lhotse_prep.windows.read_shar import Shar
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.stage import Stage
from lhotse_prep.workflow.strict_config import from_mapping, to_mapping
from ml2021.asr.train.config import AsrConfig, AsrDataConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.options import config_of, parse_arguments
from ml2021.asr.train.stage import CUTS, training_by_hand, training_stage
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.train.unknown_words import require_writable
from ml2021.training.checkpoint import load_checkpoint


@dataclass(frozen=True)
class SharCorpus:
    """The corpus of tones as manifests and as Shar."""

    cuts: Path
    lang: Path
    train: str
    dev: str

    def data(self, config: AsrConfig) -> AsrDataConfig:
        return replace(config.data, shar_dir=(self.train,), shar_dev_dir=(self.dev,))


@pytest.fixture(scope="module")
def corpus(tone_corpus, tmp_path_factory: pytest.TempPathFactory) -> SharCorpus:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("shar")
    for part in ("train", "dev"):
        (folder / part).mkdir()
        with SharWriter(folder / part, {"features": "numpy"}, shard_size=5) as writer:
            for cut in read_windows(tone_corpus.cuts, part):
                writer.write(cut)
    return SharCorpus(tone_corpus.cuts, tone_corpus.lang, str(folder / "train"), str(folder / "dev"))


def batches_of(data: AsrDataModule, epoch: int, rank: int = 0, size: int = 1) -> list[dict]:
    """As process `rank` of `size` loads them."""
    return list(data.load_train(islice(enumerate(data.train_plan(epoch)), rank, None, size), epoch))


def same(a: dict, b: dict) -> bool:
    texts = [x["supervisions"]["text"] for x in (a, b)]
    return a["ids"] == b["ids"] and texts[0] == texts[1] and torch.equal(a["inputs"], b["inputs"])


def test_batches_are_those_of_the_manifests_whoever_loads_them(corpus: SharCorpus, config: AsrConfig) -> None:
    """With masks and time warp; by two processes with workers of their own, which stay for the next epoch."""
    manifests = AsrDataModule(corpus.cuts, config.data, 3)
    ranks = [AsrDataModule(None, replace(corpus.data(config), num_workers=1), 3) for _ in range(2)]
    for epoch in (1, 2):
        expected = batches_of(manifests, epoch)
        parts = [batches_of(data, epoch, rank, 2) for rank, data in enumerate(ranks)]
        assert sum(map(len, parts)) == len(expected) > 2
        assert all(same(a, parts[k % 2][k // 2]) for k, a in enumerate(expected))
    first = next(ranks[0].load_train(enumerate(ranks[0].train_plan(2)), 2))  # the others are dropped
    assert same(first, expected[0]) and same(batches_of(ranks[0], 2)[-1], expected[-1])
    dev = [list(data.eval_batches("dev", 20.0)) for data in (manifests, ranks[0])]
    assert all(same(a, b) for a, b in zip(*dev, strict=True))
    assert not any(cut.has_features for b in dev[1] for cut in b["supervisions"]["cut"])


def train(corpus: SharCorpus, exp_dir: Path, config: AsrConfig) -> dict[str, torch.Tensor]:
    train_recogniser(None, corpus.lang, exp_dir, config)
    weights: dict[str, torch.Tensor] = load_checkpoint(exp_dir / "epoch-1.pt")["model"]
    return weights


class Killed(BaseException):
    """As abrupt as a signal."""


def test_losses_equal_those_from_manifests_and_of_a_killed_run(
    corpus: SharCorpus, trained: Path, one_epoch: AsrConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_shar = replace(one_epoch, data=corpus.data(one_epoch))
    expected = load_checkpoint(trained / "epoch-1.pt")["model"]
    weights = train(corpus, tmp_path / "shar", from_shar)
    assert all(torch.equal(weights[k], w) for k, w in expected.items())

    from ml2021.training import trainer

    def kill(path: Path, content: object) -> None:
        save(path, content)
        if path.name.startswith("checkpoint"):
            raise Killed

    save = trainer.save_checkpoint
    monkeypatch.setattr(trainer, "save_checkpoint", kill)
    with pytest.raises(Killed):
        train(corpus, tmp_path / "killed", from_shar)
    monkeypatch.setattr(trainer, "save_checkpoint", save)
    assert [p.name for p in (tmp_path / "killed").glob("*.pt")] == ["checkpoint-3.pt"]
    other = replace(from_shar, data=replace(from_shar.data, shar_weights=(2.0,)))
    with pytest.raises(DataError, match=r"made with .*, shards 5, .* now .*, shards 5, weights 2, "):
        train(corpus, tmp_path / "killed", other)
    resumed = train(corpus, tmp_path / "killed", from_shar)
    assert all(torch.equal(weights[k], w) for k, w in resumed.items())
    with pytest.raises(DataError, match=r"another training \(train cuts: then 24 cuts, .* now 4 cuts, "):
        train(corpus, tmp_path / "shar", replace(from_shar, data=replace(from_shar.data, shar_dir=(corpus.dev,))))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_process_that_is_killed_resumes_bit_for_bit(
    corpus: SharCorpus, conf: Path, project: Path, tmp_path: Path, processes: int
) -> None:
    def start(exp_dir: Path) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [
            *(sys.executable, *(torchrun if processes > 1 else ()), "-m", "ml2021.asr.train"),
            *("--exp-dir", str(exp_dir), "--lang-dir", str(corpus.lang), "--conf", str(conf), "--num-workers", "2"),
            *("--shar-dir", corpus.train, "--shar-dev-dir", corpus.dev, "--num-epochs", "1"),
        ]
        environment = os.environ | {"PYTHONPATH": f"{project}:{project}/egs", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(exp_dir: Path) -> dict[str, torch.Tensor]:
        process = start(exp_dir)
        _, log = process.communicate(timeout=500)
        assert process.returncode == 0, log
        weights: dict[str, torch.Tensor] = load_checkpoint(exp_dir / "pretrained.pt")["model"]
        return weights

    whole = finish(tmp_path / "whole")
    process = start(tmp_path / "killed")
    assert process.stderr is not None
    for line in process.stderr:
        if ": step 4 of about" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    process.stderr.close()
    assert (tmp_path / "killed" / "checkpoint-3.pt").is_file() and not (tmp_path / "killed" / "epoch-1.pt").exists()
    resumed = finish(tmp_path / "killed")
    assert all(torch.equal(whole[k], w) for k, w in resumed.items())


def write_plain(
    folder: Path, name: str, num_cuts: int, shard_size: int = 100, text: str = "一", field: str = "features"
) -> str:
    """Shar with cuts of 1 to 7 s that can be planned, and loaded as far as the first of each shard."""
    folder = folder / name
    folder.mkdir()
    features = {"type": "fbank", "num_features": 80, "frame_shift": 0.01, "sampling_rate": 16000, "start": 0}
    features |= {"storage_type": "shar", "storage_path": "", "storage_key": "", "num_frames": 100, "duration": 1.0}
    source = {"type": "shar", "channels": [0], "source": ""}
    audio = {"id": "x", "sources": [source], "sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
    manifest = features if field == "features" else audio
    kind = "numpy" if field == "features" else "flac"
    with SharWriter(folder, {field: kind}, shard_size=shard_size, include_cuts=False) as writer:
        tar = writer.writers[field].tar_writer
        for i in range(num_cuts):
            tar.write(f"{name}{i}.npy", BytesIO(b""))
            tar.write(f"{name}{i}.json", BytesIO(json.dumps(manifest).encode()), count=False)
    for shard, begin in enumerate(range(0, num_cuts, shard_size)):
        with gzip.open(folder / f"cuts.{shard:06d}.jsonl.gz", "wt", compresslevel=1) as f:
            for i in range(begin, min(num_cuts, begin + shard_size)):
                supervision = {"id": f"s{i}", "recording_id": "x", "start": 0.0, "duration": 1.0, "text": text}
                cut = {"id": f"{name}{i}", "start": 0, "duration": 1.0 + i % 7, "channel": 0, "type": "MonoCut"}
                f.write(json.dumps(cut | {"supervisions": [supervision]}) + "\n")
    return str(folder)


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml2021.asr.train.data.BUFFER_SIZE", 150)


def planned(epoch: int, *folders: str, weights: tuple[float, ...] = ()) -> list[list[str]]:
    config = AsrDataConfig(max_duration=20.0, shar_dir=folders, shar_weights=weights)
    return [[c.id for c in batch] for batch in AsrDataModule(None, config, 3).train_plan(epoch)]


def test_an_epoch_has_every_window_once_and_its_plan_is_always_the_same(small_buffer: None, tmp_path: Path) -> None:
    a, b = write_plain(tmp_path, "a", 500, 50), write_plain(tmp_path, "b", 250, 35)
    plans = [planned(epoch, a, b) for epoch in (1, 2)]
    assert plans[0] == planned(1, a, b) and plans[0] != plans[1]
    for plan in plans:
        ids = [cut_id for batch in plan for cut_id in batch]
        assert sorted(ids) == sorted([f"a{i}" for i in range(500)] + [f"b{i}" for i in range(250)])
        fifths = [sum(x[0] == "b" for x in ids[i : i + 150]) for i in range(0, 750, 150)]
        assert all(25 < n < 75 for n in fifths), "by the numbers of windows, both last for the epoch"
    shards = [[int(x[1:]) // 50 for x in sum(plan, []) if x[0] == "a"] for plan in plans]
    assert [set(s[:40]) for s in shards] != [{0, 1, 2}] * 2, "shards come in another order each epoch"


def test_speeds_made_on_the_fly_give_every_window_again(small_buffer: None, tmp_path: Path) -> None:
    folders = tuple(write_plain(tmp_path, name, 90, 30, field="recording") for name in "ab")
    config = AsrDataConfig(max_duration=20.0, on_the_fly_feats=True, speed_factors=(0.9,), shar_dir=folders)
    for weights in ((), (1.0, 5.0)):
        plan = list(AsrDataModule(None, replace(config, shar_weights=weights), 3).train_plan(1))
        durations = {c.id: c.duration for batch in plan for c in batch}
        assert len(durations) == sum(map(len, plan)) == 4 * 90
        assert durations["a3"] == 4.0 and durations["a3_sp0.9"] == pytest.approx(4 / 0.9, abs=1e-4)
        first = [c.id[0] for batch in plan for c in batch][:120]
        assert (first.count("b") > 80) == bool(weights)


def test_weights_decide_how_often_windows_are_taken(small_buffer: None, tmp_path: Path) -> None:
    a, b = write_plain(tmp_path, "a", 450), write_plain(tmp_path, "b", 450)
    ids = sum(planned(1, a, b, weights=(1.0, 4.0)), [])
    assert len(set(ids)) == 900 and 0.7 < sum(x[0] == "b" for x in ids[:300]) / 300 < 0.9
    assert sum(x[0] == "b" for x in ids[-150:]) < 30


def test_memory_does_not_grow_with_the_number_of_windows(small_buffer: None, tmp_path: Path) -> None:
    peaks = []
    for name, num_cuts in (("a", 200), ("b", 1000)):
        folder = write_plain(tmp_path, name, num_cuts)
        data = AsrDataModule(None, AsrDataConfig(max_duration=20.0, shar_dir=(folder,)), 3)
        tracemalloc.start()
        assert sum(1 for _ in data.train_plan(1)) > num_cuts / 10  # one batch in memory at a time
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize(
    ("num_workers", "old", "new"),
    [(0, b"\x93NUMPY", bytes(6)), (2, b"\x93NUMPY", bytes(6)), (0, b'"num_frames": 1', b'"num_frames": 9')],
)
def test_damage_ends_training_in_one_line(
    corpus: SharCorpus, one_epoch: AsrConfig, tmp_path: Path, num_workers: int, old: bytes, new: bytes
) -> None:
    shutil.copytree(corpus.train, tmp_path / "shar")
    path = tmp_path / "shar" / "features.000002.tar"
    content = path.read_bytes()
    place = content.index(old, 30_000)  # of some item but the first
    path.write_bytes(content[:place] + new + content[place + len(old) :])
    config = replace(corpus.data(one_epoch), shar_dir=(str(tmp_path / "shar"),), num_workers=num_workers)
    with pytest.raises(DataError) as error:
        batches_of(AsrDataModule(None, config, 3), 1)
    message = str(error.value)
    assert message.startswith("the features of cut train-00") and "\n" not in message
    assert f"in {path}, item " in message and "cannot be read" in message


def test_features_of_another_dimension_in_manifests_are_named(
    corpus: SharCorpus, config: AsrConfig, tmp_path: Path
) -> None:
    for part in ("train", "dev"):
        lines = gzip.decompress((corpus.cuts / f"ml2021_cuts_{part}.jsonl.gz").read_bytes()).decode().splitlines()
        for i, line in enumerate(lines):
            row = json.loads(line)
            row["features"] |= {"num_features": 40, "storage_path": str(tmp_path), "storage_key": f"{part}{i}.npy"}
            np.save(tmp_path / f"{part}{i}.npy", np.zeros((row["features"]["num_frames"], 40), np.float32))
            lines[i] = json.dumps(row)
        (tmp_path / f"ml2021_cuts_{part}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    data = AsrDataModule(tmp_path, config.data, 1)
    with pytest.raises(DataError, match=r"the features of cut dev-.* have 40 bins, and the model takes 80; make them"):
        list(data.eval_batches("dev", 20.0))


def test_tokens_are_checked_against_the_texts_of_each_folder(corpus: SharCorpus, tmp_path: Path) -> None:
    other = write_plain(tmp_path, "other", 3, text="嗎 們 個")
    data = AsrDataModule(None, AsrDataConfig(shar_dir=(other, corpus.train)), 1)
    require_writable(data, load_lang(corpus.lang), corpus.lang)
    many = write_plain(tmp_path, "many", 90, text="嗎 們 個")
    data = AsrDataModule(None, AsrDataConfig(shar_dir=(corpus.train, many)), 1)
    with pytest.raises(DataError, match=r"cannot write 7\d% of the characters and words"):
        require_writable(data, load_lang(corpus.lang), corpus.lang)


def test_descriptions_follow_the_cuts_not_the_shards(corpus: SharCorpus, tmp_path: Path) -> None:
    def described(folder: str) -> str:
        return AsrDataModule(corpus.cuts, AsrDataConfig(shar_dir=(folder,)), 1).describe()["train cuts"]

    (tmp_path / "again").mkdir()
    with SharWriter(tmp_path / "again", {"features": "lilcom"}, shard_size=24) as writer:
        for cut in read_windows(corpus.cuts, "train"):
            writer.write(cut)
    assert described(corpus.train) == described(str(tmp_path / "again"))
    shutil.copytree(corpus.train, tmp_path / "other")
    path = tmp_path / "other" / "cuts.000001.jsonl.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace("一".encode(), "二".encode())))
    assert described(str(tmp_path / "other")) != described(corpus.train)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shar_dir": "a"}, r"data\.shar_dir must be a list"),
        ({"shar_dir": ["a", "a"]}, "shar_dir names a folder twice"),
        ({"shar_dir": [""]}, "shar_dir must name folders"),
        ({"shar_dir": ["a"], "shar_weights": [1, 2]}, r"a weight for each of the 1 folders of shar_dir, got \[1"),
        ({"shar_weights": [1]}, "for each of the 0 folders"),
        ({"shar_dir": ["a"], "shar_weights": [0]}, r"shar_weights must be > 0, got \[0\.0\]"),
    ],
)
def test_configuration_is_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, AsrDataConfig, "asr.data")


def test_options_name_folders_and_windows_must_come_from_somewhere(
    corpus: SharCorpus, conf: Path, tmp_path: Path
) -> None:
    common = ["--exp-dir", str(tmp_path), "--lang-dir", str(corpus.lang), "--conf", str(conf)]
    options = ["--shar-dir", "a/x,b", "--shar-weights", "3,1", "--shar-dev-dir", "c"]
    data = config_of(parse_arguments([*common, *options])).data
    assert (data.shar_dir, data.shar_weights, data.shar_dev_dir) == (("a/x", "b"), (3.0, 1.0), ("c",))
    with pytest.raises(ConfigError, match=r"--manifest-dir is missing: .*--shar-dir, --shar-dev-dir"):
        config_of(parse_arguments([*common, "--shar-dir", "a"]))


def test_stage_5_reads_the_shar_and_knows_when_it_changes(
    corpus: SharCorpus, config: AsrConfig, tmp_path: Path
) -> None:
    with Stage("lang", tmp_path / "lang", [], {}).work() as out:
        shutil.copytree(corpus.lang, out, dirs_exist_ok=True)
    shutil.copytree(corpus.train, tmp_path / "train")
    data = replace(corpus.data(config), shar_dir=(str(tmp_path / "train"),))

    def stage(data: AsrDataConfig) -> Stage:
        return training_by_hand(None, tmp_path / "lang", tmp_path / "exp", replace(config, data=data), None, ())

    key = stage(data).key
    assert [set(i.files) for i in stage(data).record.inputs][1] == {p.name for p in (tmp_path / "train").iterdir()}
    assert stage(replace(data, num_workers=3)).key == key and stage(replace(data, shar_weights=(2.0,))).key != key
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    moved = replace(data, shar_dir=(str(tmp_path / "elsewhere"),))
    assert stage(moved).key == key
    with open(tmp_path / "elsewhere" / "features.000000.tar", "ab") as f:
        f.write(bytes(512))
    assert stage(moved).key != key
    with pytest.raises(ConfigError, match="--trainer icefall reads stage 4's manifests"):
        training_stage((stage(data).inputs[0], None), tmp_path / "exp", replace(config, data=data), None, (), "icefall")


def test_stage_5_without_shar_has_the_key_that_it_had(corpus: SharCorpus, config: AsrConfig, tmp_path: Path) -> None:
    stage = training_by_hand(corpus.cuts, corpus.lang, tmp_path, config, None, ())
    assert [i.path for i in stage.inputs] == [corpus.lang, corpus.cuts] and stage.inputs[1].files == CUTS[:2]
    assert stage.old_options is not None and not [n for n in stage.old_options["data"] if n.startswith("shar")]
    assert to_mapping(config)["data"].keys() - stage.old_options["data"].keys() == {
        "shar_dir", "shar_weights", "shar_dev_dir"
    }  # fmt: skip
    only_train = training_by_hand(
        corpus.cuts,
        corpus.lang,
        tmp_path,
        replace(config, data=replace(config.data, shar_dir=(corpus.train,))),
        None,
        (),
    )
    assert only_train.inputs[1].files == ("ml2021_cuts_dev*",) and len(only_train.inputs) == 3


def test_a_folder_that_is_missing_is_named_before_anything_is_written(
    corpus: SharCorpus, config: AsrConfig, tmp_path: Path
) -> None:
    data = replace(config.data, shar_dir=("nowhere",))
    with pytest.raises(DataError, match=r"no folder nowhere; data\.shar_dir"):
        train_recogniser(corpus.cuts, corpus.lang, tmp_path / "exp", replace(config, data=data))
    assert not (tmp_path / "exp").exists()
    assert Shar(Path(corpus.train), "features").size.num_shards == 5
