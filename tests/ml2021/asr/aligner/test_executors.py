"""Stage 3 over an executor: the same bytes with each, what a killed run leaves, errors that name the lecture."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import SupervisionSegment

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.manifests.make import prepare_ml2021
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import open_executor
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.aligner import acoustic
from ml2021.asr.aligner.acoustic import batched_log_probs, log_prob_blocks
from ml2021.asr.aligner.align_corpus import align_corpus
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import CtcTimes
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.prepared import Preparation, StoredFrames, read_lecture
from ml2021.asr.aligner.trained_times import training_lectures
from ml2021.asr.aligner.windows import AlignerTask, read_windows, training_windows, write_windows
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.model.recogniser import CtcModel
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.launch import Processes
from tests.ml2021.asr.zipformers import OF_ALIGNER

TEXTS = {
    "week1": "so the model learns from many examples and we look at the loss",
    "week2": "the gradient tells us how to change the weights of the network",
    "week3": "at the end we test it with data that it has never seen before",
}
NO_MASKS = SpecAugmentConfig(0, num_frame_masks=0, num_feature_masks=0)
CONFIG = AlignerConfig(
    encoder=OF_ALIGNER,
    data=AsrDataConfig(max_duration=4.0, ref_duration=1.0, spec_augment=NO_MASKS),
    train=TrainConfig(warmup_steps=2, average_epochs=1, keep_epochs=2),
    first_epochs=1,
    more_epochs=1,
    max_rounds=2,
    min_steps=1,
    num_english_pieces=30,
    window_duration=2.0,
)
DASK = pytest.param(ExecutorConfig("dask", num_jobs=2), marks=pytest.mark.slow)
WRITTEN = ("*.gz", "*.ctm", "confidence.jsonl", "aligner/units.txt", "aligner/config.json")


def spoken(text: str, pitch: int) -> np.ndarray:
    """Synthetic speech at 16 kHz with a pause after each five words."""
    from torchaudio.functional import resample

    speaker = Speaker()
    speaker.choose("en-us", Voice(pitch=pitch))
    words = text.split()
    parts = [np.zeros(1600, np.float32)]
    for begin in range(0, len(words), 5):
        speech = torch.from_numpy(speaker.speak(words[begin : begin + 5]).samples.astype(np.float32))
        parts += [resample(speech, speaker.sample_rate, 16_000).numpy(), np.zeros(6400, np.float32)]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lectures of some seconds; two train."""
    folder = tmp_path_factory.mktemp("corpus")
    source = folder / "source"
    source.mkdir()
    for i, (name, text) in enumerate(TEXTS.items()):
        sf.write(source / f"{name}.flac", spoken(text, 40 + 10 * i), 16_000)
        (source / f"{name}.txt").write_text(text)
        (source / f"{name}.en.txt").write_text("a translation")
    (source / "splits.yaml").write_text("train: [week1, week2]\ntest: [week3]\ndev: []\n")
    prepare_ml2021(source, folder / "manifests")
    return folder / "manifests"


def run(manifests: Path, out: Path, config: AlignerConfig = CONFIG, executor: ExecutorConfig | None = None) -> None:
    out.mkdir(exist_ok=True)
    with open_executor(executor or ExecutorConfig()) as opened:
        align_corpus(manifests, manifests / "none", out, config, StretchConfig(), opened)


def written(out: Path) -> dict[str, bytes]:
    """The bytes of all that stage 3 writes, but for dates in checkpoints."""
    assert not (out / "work").exists()
    weights = load_checkpoint(out / "aligner" / "pretrained.pt")["model"] if (out / "aligner").is_dir() else {}
    files = {str(p.relative_to(out)): p.read_bytes() for pattern in WRITTEN for p in sorted(out.glob(pattern))}
    return files | {name: value.numpy().tobytes() for name, value in weights.items()}


@pytest.fixture(scope="module")
def in_one_process(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aligned")
    run(manifests, out)
    return out


@pytest.mark.parametrize("executor", [ExecutorConfig("processes", num_jobs=2), DASK], ids=["processes", "dask"])
def test_executors_write_the_same_bytes(
    manifests: Path, in_one_process: Path, tmp_path: Path, executor: ExecutorConfig
) -> None:
    files = written(in_one_process)
    assert {"ml2021_supervisions_train.jsonl.gz", "ml2021_test.ctm", "confidence.jsonl"} <= files.keys()
    run(manifests, tmp_path / "trained", executor=executor)
    assert written(tmp_path / "trained") == files


def test_a_run_that_was_stopped_aligns_what_is_missing(
    manifests: Path, in_one_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    align = CtcTimes.__call__
    aligned: list[tuple[str, str]] = []  # lecture, what for

    def stop_at_last(work: CtcTimes, lecture: Lecture) -> object:
        aligned.append((lecture.id, "rounds" if work.faults is None else "end"))
        if aligned[-1] == ("week3", "end"):
            raise KeyboardInterrupt
        return align(work, lecture)

    monkeypatch.setattr(CtcTimes, "__call__", stop_at_last)
    with pytest.raises(KeyboardInterrupt):
        run(manifests, tmp_path)
    assert not list(tmp_path.glob("*.gz")) and len(aligned) == 9
    monkeypatch.setattr(CtcTimes, "__call__", lambda *args: aligned.append((args[1].id, "again")) or align(*args))
    run(manifests, tmp_path)
    assert aligned[9:] == [("week3", "again")] and written(tmp_path) == written(in_one_process)


KILLED = """
import os, signal, sys
from pathlib import Path
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.executor import open_executor
from lhotse_prep.workflow.strict_config import to_mapping
from lhotse_prep.workflow.strict_config import from_mapping
from ml2021.asr.aligner.align_corpus import align_corpus
from ml2021.asr.aligner.config import AlignerConfig
import json
def main():
    config = from_mapping(json.loads(sys.argv[3]), AlignerConfig, "aligner")
    with open_executor(ExecutorConfig("processes", num_jobs=2)) as executor:
        align_corpus(Path(sys.argv[1]), Path("none"), Path(sys.argv[2]), config, StretchConfig(), executor)
if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_after_kill_9_finished_rounds_and_lectures_are_kept(
    manifests: Path, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, out = tmp_path / "killed.py", tmp_path / "out"
    script.write_text(KILLED)
    out.mkdir()
    command = [sys.executable, str(script), str(manifests), str(out), json.dumps(to_mapping(CONFIG))]
    environment = {"PYTHONPATH": f"{project}:{project}/egs", "PATH": "", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=project)
    marks = out / "work" / "round-1" / ".done"
    while not list(marks.glob("*.done")) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {path.stem for path in marks.glob("*.done")}
    trained = (out / "aligner/round-1/pretrained.pt").stat().st_mtime_ns
    assert kept and len(list(out.glob("work/read/*.npz"))) == 3
    again: list[tuple[str, str]] = []  # lecture, in which round
    align = CtcTimes.__call__

    def counted(work: CtcTimes, lecture: Lecture) -> object:
        again.append((lecture.id, "end" if work.weights is None else work.weights.parent.name))
        return align(work, lecture)

    monkeypatch.setattr(Preparation, "__call__", None)  # not called
    monkeypatch.setattr(CtcTimes, "__call__", counted)
    run(manifests, out)
    assert {name for name, number in again if number == "round-1"} == TEXTS.keys() - kept
    assert (out / "aligner/round-1/pretrained.pt").stat().st_mtime_ns == trained
    assert set(written(out)) >= {"ml2021_supervisions_train.jsonl.gz", "ml2021_test.ctm", "confidence.jsonl"}


@pytest.mark.parametrize("kind", ["serial", pytest.param("processes", marks=pytest.mark.slow)])
def test_lecture_that_cannot_be_aligned_is_named(manifests: Path, tmp_path: Path, kind: str) -> None:
    """One with a transcript that is too long for it."""
    aligner = tmp_path / "words.ctm"
    rows = [f"{name} 1 {0.3 * i:.1f} 0.2 {w}" for name in TEXTS for i, w in enumerate(TEXTS["week1"].split())]
    aligner.write_text("\n".join(rows))
    config = replace(CONFIG, model=str(aligner))
    with pytest.raises(DataError, match="^lecture week2: its recogniser's words match"):
        run(manifests, tmp_path / "out", config, ExecutorConfig(kind, num_jobs=2))
    assert not list((tmp_path / "out").glob("*.gz"))


def lectures(durations: list[float], part: str = "train") -> list[Lecture]:
    return [
        Lecture(SupervisionSegment(f"l{i:02}", f"l{i:02}", 0.0, d, text="a"), Path("none"), part)
        for i, d in enumerate(durations)
    ]


def test_lectures_that_train_are_spread_over_all(caplog: pytest.LogCaptureFixture) -> None:
    all_lectures = [*lectures([1800.0] * 100), *lectures([1800.0] * 3, "test")]
    ids, is_all = training_lectures(all_lectures, CONFIG)
    assert not is_all and len(ids) == 40  # 20 hours
    places = sorted(int(name[1:]) for name in ids)
    assert max(b - a for a, b in zip([-1, *places], [*places, 100])) <= 4  # 2.5 on average
    assert training_lectures(all_lectures, CONFIG) == (ids, False)
    other_seed = replace(CONFIG, train=replace(CONFIG.train, seed=7))
    assert training_lectures(all_lectures, other_seed)[0] != ids
    assert training_lectures(all_lectures, replace(CONFIG, train_hours=50.0)) == ({x.id for x in all_lectures}, True)
    with caplog.at_level(logging.INFO):
        training_lectures(all_lectures, replace(CONFIG, train_hours=1.2))
    assert "the aligner trains on 2 of 100 lectures, 1.00 of 50.00 hours (aligner.train_hours is 1.2)" in caplog.text


@pytest.mark.parametrize("seed", range(20))
def test_lectures_that_train_are_within_the_hours(seed: int) -> None:
    durations = np.random.default_rng(seed).uniform(60, 5000, 50).tolist()
    config = replace(CONFIG, train=replace(CONFIG.train, seed=seed), train_hours=3.0)
    ids, _ = training_lectures(lectures(durations), config)
    seconds = sum(durations[int(name[1:])] for name in ids)
    assert 0.5 * 3 * 3600 <= seconds <= 3 * 3600


def test_shortest_lecture_trains_where_all_are_too_long(caplog: pytest.LogCaptureFixture) -> None:
    assert training_lectures(lectures([900.0, 720.0, 800.0]), replace(CONFIG, train_hours=0.1))[0] == {"l01"}
    assert "even the shortest lecture has 0.20 hours, more than aligner.train_hours (0.1)" in caplog.text


def test_few_hours_train_and_all_lectures_are_aligned(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the lectures that train are read before and aligned between the rounds."""
    prepared, in_rounds = [], []
    prepare, align = Preparation.__call__, CtcTimes.__call__
    monkeypatch.setattr(Preparation, "__call__", lambda *args: prepared.append(args[1].id) or prepare(*args))
    monkeypatch.setattr(CtcTimes, "__call__", _counting(in_rounds, align))
    run(manifests, tmp_path, replace(CONFIG, train_hours=5.5 / 3600))
    assert len(prepared) == 1 and set(in_rounds) == set(prepared)
    words = [line.split()[0] for part in ("train", "test") for line in (tmp_path / f"ml2021_{part}.ctm").open()]
    assert set(words) == set(TEXTS)


def _counting(in_rounds: list[str], align: object) -> object:
    def counted(work: CtcTimes, lecture: Lecture) -> object:
        if work.faults is None:
            in_rounds.append(lecture.id)
        return align(work, lecture)  # type: ignore[operator]

    return counted


def test_windows_in_files_are_those_in_memory(tmp_path: Path) -> None:
    text = TEXTS["week1"]
    prepared = read_lecture("week1", spoken(text, 50), text.split())
    np.save(tmp_path / "week1.npy", prepared.features)
    stored = replace(prepared, features=StoredFrames.of_file(tmp_path / "week1.npy"))
    units = [[1 + i % 5] for i in range(len(text.split()))]
    in_memory, in_file = training_windows(prepared, units, CONFIG), training_windows(stored, units, CONFIG)
    write_windows(tmp_path / "windows.jsonl", in_file)
    read = read_windows(tmp_path / "windows.jsonl")
    assert len(in_memory) == len(read) > 1
    for (array, *units_and_labels), (frames, *same) in zip(in_memory, read):
        assert np.array_equal(array, frames.read()) and units_and_labels == same and len(array) == len(frames)
    torch.manual_seed(0)
    model = CtcModel(CONFIG.encoder, 6)
    losses = []
    for windows in (in_memory, read):
        task = AlignerTask(windows, CONFIG)
        torch.manual_seed(1)
        losses += [[float(task.compute_loss(model, b, step).loss) for b in task.train_batches(1) for step in (3, 999)]]
    assert losses[0] == losses[1]
    (tmp_path / "week1.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"week1\.npy is missing or damaged: remove the folder"):
        read[0][0].read()


def test_slices_of_stored_frames(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    frames = StoredFrames.of_file(tmp_path / "x.npy")
    for cut in (slice(3, 9), slice(45, 80), slice(60, 70), slice(9, 3), slice(None, None)):
        assert np.array_equal(frames[cut].read(), array[cut]) and len(frames[cut]) == len(array[cut])
        assert np.array_equal(frames[10:40][cut].read(), array[10:40][cut])


def test_several_lectures_in_one_pass_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lectures of all lengths, shorter and longer than a piece."""
    torch.manual_seed(0)
    model = CtcModel(CONFIG.encoder, 20).eval()
    all_features = [
        fbank(np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32))
        for i, n in enumerate((16_000, 70_000, 5_000, 48_000, 90_000))
    ]
    passes: list[int] = []

    def counted(features: torch.Tensor, lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        passes.append(len(features))
        return model(features, lens)

    cpu = torch.device("cpu")
    together = batched_log_probs(counted, iter(all_features), cpu, batch_size=4, chunk=200, context=40)
    blocks = [list(x) for x in together]
    assert max(passes) == 4 and len(passes) == -(-sum(-(-len(f) // 200) for f in all_features) // 4)
    for features, several in zip(all_features, blocks, strict=True):
        alone = list(log_prob_blocks(model, features, cpu, chunk=200, context=40))
        assert [len(x) for x in alone] == [len(x) for x in several]
        assert np.allclose(np.concatenate(alone), np.concatenate(several), atol=1e-4)


def test_lectures_aligned_together_have_the_same_times(manifests: Path, in_one_process: Path, tmp_path: Path) -> None:
    """As on a GPU, from the recordings and from features in files."""
    work = CtcTimes(in_one_process / "aligner", "cpu", CONFIG)
    given = [
        Lecture(SupervisionSegment(n, n, 0.0, 5.0, text=t), manifests.parent / f"source/{n}.flac", "train")
        for n, t in TEXTS.items()
    ]
    prepare = Preparation(tmp_path)
    items = [*given, *(prepare.result(x, prepare(x)) for x in given)]
    alone, together = [work(x) for x in items], list(work.together(iter(items)))
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.times.start, b.times.start, equal_nan=True)
        assert np.array_equal(a.regions, b.regions) and np.array_equal(a.num_units, b.num_units)


def test_log_probs_are_computed_once_for_two_alignments(
    manifests: Path, in_one_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, machinery = in_one_process / "aligner" / "pretrained.pt", Machinery(torch.device("cpu"), work_dir=tmp_path)
    prepare = Preparation(tmp_path)
    (name, text), *_ = TEXTS.items()
    given = Lecture(
        SupervisionSegment(name, name, 0.0, 5.0, text=text), manifests.parent / f"source/{name}.flac", "train"
    )
    item = prepare.result(given, prepare(given))
    expected = CtcTimes(weights.parent, "cpu", CONFIG)(item).times
    first = CtcTimes(weights.parent, "cpu", None, weights, kept=machinery.kept_log_probs(weights))(item).times
    monkeypatch.setattr(acoustic, "log_prob_blocks", lambda *_: pytest.fail("computed again"))
    second = CtcTimes(weights.parent, "cpu", CONFIG, kept=machinery.kept_log_probs(weights))(item).times
    assert np.isfinite(first.start).any() and np.array_equal(second.start, expected.start, equal_nan=True)
    assert np.array_equal(second.score, expected.score)
    other = load_checkpoint(weights)["model"]
    next(iter(other.values())).add_(1.0)
    save_checkpoint(tmp_path / "other.pt", {"model": other})
    monkeypatch.undo()
    kept = machinery.kept_log_probs(tmp_path / "other.pt")  # of the next round: the old ones are removed
    CtcTimes(weights.parent, "cpu", None, tmp_path / "other.pt", kept=kept)(item)
    assert kept is not None and list((tmp_path / "log-probs").iterdir()) == [kept.folder]
    assert Machinery(torch.device("cuda"), work_dir=tmp_path).kept_log_probs(weights) is None


@pytest.mark.slow
def test_two_processes_train_the_aligner(manifests: Path, in_one_process: Path, tmp_path: Path) -> None:
    """Each takes half of a batch, so there are as many steps as with one."""
    align_corpus(manifests, manifests / "none", tmp_path, CONFIG, StretchConfig(), None, Processes(2))
    steps = [
        load_checkpoint(out / "aligner/round-2/epoch-1.pt")["batch_idx_train"] for out in (tmp_path, in_one_process)
    ]
    assert abs(steps[0] - steps[1]) <= 1
    assert {p.name for p in tmp_path.glob("*.ctm")} == {p.name for p in in_one_process.glob("*.ctm")}
