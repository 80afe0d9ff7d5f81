"""Training of the recogniser: resumed after a kill, refused on other data, diagnosed, out of memory, overfitting."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.windows import decode_cuts
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import TrainOptions, read_asr_config
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.train.worker import Job
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.launch import Processes, run_processes


@dataclass(frozen=True)
class Command:
    """Runs the command line of training, as a user does."""

    corpus: object
    conf: Path
    project: Path
    processes: int

    def start(self, exp_dir: Path, *options: str) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes)]
        command = [
            *([sys.executable, *torchrun, "-m"] if self.processes > 1 else [sys.executable, "-m"]),
            *("ml2021.asr.train", "--exp-dir", str(exp_dir), "--manifest-dir", str(self.corpus.cuts)),
            *("--lang-dir", str(self.corpus.lang), "--conf", str(self.conf), "--num-workers", "2", *options),
        ]
        environment = os.environ | {"PYTHONPATH": f"{self.project}:{self.project}/egs", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def run(self, exp_dir: Path, *options: str) -> str:
        process = self.start(exp_dir, *options)
        _, log = process.communicate(timeout=280)
        assert process.returncode == 0, log
        return log

    def run_killed(self, exp_dir: Path, at_step: int) -> None:
        """Kill all processes with SIGKILL as soon as the log reports a step."""
        process = self.start(exp_dir)
        assert process.stderr is not None
        for line in process.stderr:
            if f": step {at_step} of about" in line:
                for pid in reversed(descendants(process.pid)):
                    os.kill(pid, signal.SIGKILL)
                break
        process.stderr.close()
        assert process.wait(timeout=60) == -signal.SIGKILL


def descendants(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in descendants(int(child)))]


def newest_scalars(exp_dir: Path) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of the last start."""
    newest = max((exp_dir / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    events = EventAccumulator(str(newest), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_training_resumes_bit_for_bit(tone_corpus, conf, project, tmp_path: Path, processes: int) -> None:  # type: ignore[no-untyped-def]
    command = Command(tone_corpus, conf, project, processes)
    command.run(tmp_path / "whole")
    whole = newest_scalars(tmp_path / "whole")
    num_steps = max(whole["train/current_pruned_loss"])
    seed = time.time_ns()
    at_step = random.Random(seed).randint(2, num_steps - 1)
    command.run_killed(tmp_path / "killed", at_step)
    log = command.run(tmp_path / "killed")
    resumed = newest_scalars(tmp_path / "killed")
    steps = set(resumed["train/current_pruned_loss"])
    assert max(steps) == num_steps and len(steps) >= num_steps - at_step, (seed, at_step, log)
    for tag in ("train/current_simple_loss", "train/current_pruned_loss", "train/current_ctc_loss", "train/grad_norm"):
        assert {s: whole[tag][s] for s in steps} == resumed[tag], (tag, seed, at_step)
    for name in ("epoch-2.pt", "pretrained.pt"):
        a, b = (load_checkpoint(tmp_path / run / name)["model"] for run in ("whole", "killed"))
        assert all(torch.equal(a[k], b[k]) for k in a), (name, seed, at_step)


def test_tensorboard_has_scalars_and_an_example(trained: Path) -> None:
    scalars = newest_scalars(trained)
    assert all(v > 0 for v in scalars["train/audio_seconds_per_second"].values())
    assert {"train/learning_rate", "train/grad_norm", "valid/pruned_loss", "train/epoch_ctc_loss"} <= scalars.keys()
    events = EventAccumulator(str(next((trained / "tensorboard").iterdir())))
    events.Reload()
    example = events.Tensors("valid/example/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "dev-" in example and "ref: " in example and "hyp: " in example


@pytest.fixture(scope="module")
def with_cr_ctc(config: AsrConfig) -> AsrConfig:
    return replace(config, model=replace(config.model, use_cr_ctc=True, cr_warm_step=4))


def test_cr_ctc_trains_resumes_exactly_and_logs_its_loss(tone_corpus, with_cr_ctc, tmp_path):  # type: ignore[no-untyped-def]
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "whole", with_cr_ctc)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "epoch-1.pt").write_bytes((tmp_path / "whole" / "epoch-1.pt").read_bytes())
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "again", with_cr_ctc)
    whole, again = (load_checkpoint(tmp_path / name / "epoch-2.pt")["model"] for name in ("whole", "again"))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    scalars = newest_scalars(tmp_path / "whole")
    assert all(value > 0 for value in scalars["train/current_cr_loss"].values())
    assert "train/epoch_cr_loss" in scalars and "valid/cr_loss" not in scalars  # dev has one view
    assert "valid/pruned_loss" in scalars


def test_training_on_other_data_is_refused(trained, tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    cuts = CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_train.jsonl.gz")
    cuts.subset(first=20).to_file(tmp_path / "ml2021_cuts_train.jsonl.gz")
    dev = (tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz").read_bytes()
    (tmp_path / "ml2021_cuts_dev.jsonl.gz").write_bytes(dev)
    with pytest.raises(DataError, match=r"another training \(train cuts: then 24 cuts, .* now 20 cuts, "):
        train_recogniser(tmp_path, tone_corpus.lang, trained, one_epoch)


def test_training_with_another_vocabulary_is_refused_and_the_old_one_stays(  # type: ignore[no-untyped-def]
    trained, tone_corpus, other_lang, one_epoch
) -> None:
    before = (trained / "lang" / "tokens.txt").read_text()
    with pytest.raises(DataError, match=r"vocabulary: then \d+ tokens, .* now \d+ tokens"):
        train_recogniser(tone_corpus.cuts, other_lang, trained, one_epoch)
    assert (trained / "lang" / "tokens.txt").read_text() == before


def test_training_of_another_shape_is_refused(trained, tone_corpus, one_epoch):  # type: ignore[no-untyped-def]
    wider = replace(one_epoch, model=replace(one_epoch.model, joiner_dim=48))
    with pytest.raises(DataError, match=r"joiner\.encoder_proj\.weight is \(32, 48\), the model's is \(48, 48\)"):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, trained, wider)
    encoder = replace(  # the same shapes, but another function
        one_epoch.model.encoder, num_heads=(4,), query_head_dim=(8,), value_head_dim=(6,), pos_head_dim=(2,)
    )
    other = replace(one_epoch, model=replace(one_epoch.model, encoder=encoder))
    with pytest.raises(DataError, match=r"encoder\.num_heads: then \(2,\), now \(4,\)"):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, trained, other)


def test_other_batches_are_refused_only_within_an_epoch(tone_corpus, one_epoch, tmp_path, caplog):  # type: ignore[no-untyped-def]
    bigger = replace(one_epoch.data, max_duration=6.0)
    two = replace(one_epoch, train=replace(one_epoch.train, num_epochs=2))
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch)
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, replace(two, data=bigger))
    assert "max_duration 6" in caplog.text and (tmp_path / "epoch-2.pt").is_file()
    content = load_checkpoint(tmp_path / "epoch-2.pt")
    content["sampler"], content["batch_idx_train"] = {"epoch": 2, "batches_done": 1}, 1000
    torch.save(content, tmp_path / "checkpoint-1000.pt")
    with pytest.raises(DataError, match=r"inside an epoch .* max_duration 6.* now max_duration 4"):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, two)


def test_frozen_modules_stay_as_they_start(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    frozen = ("encoder_embed", "encoder.encoders.0")
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, replace(one_epoch, freeze_modules=frozen))
    torch.manual_seed(one_epoch.train.seed)
    first = AsrModel(one_epoch.model, len(load_lang(tone_corpus.lang)))
    trained = load_checkpoint(tmp_path / "epoch-1.pt")["model"]
    changed = {name for name, value in first.named_parameters() if not torch.equal(trained[name], value)}
    assert changed and not any(name.startswith(frozen) for name in changed)
    assert all(any(name.startswith(part) for name in changed) for part in ("encoder.encoders.1", "decoder", "joiner"))


def test_a_module_to_freeze_that_does_not_exist_is_refused(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    config = replace(one_epoch, freeze_modules=("encoder_embed", "encoder.layers.0"))
    with pytest.raises(ConfigError, match=r"no module 'encoder\.layers\.0'; it has encoder_embed, encoder, "):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, config)


@pytest.mark.slow
def test_two_processes_of_stage_5_take_the_steps_of_one(tone_corpus, one_epoch, tmp_path, monkeypatch, project):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTHONPATH", f"{project}:{project}/egs")
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "one", one_epoch)
    job = Job(tone_corpus.cuts, tone_corpus.lang, tmp_path / "two", one_epoch, TrainOptions())
    run_processes("ml2021.asr.train.worker", job.arguments(), Processes(2))
    one, two = (load_checkpoint(tmp_path / name / "epoch-1.pt") for name in ("one", "two"))
    assert (two["batch_idx_train"], two["batching"]) == (one["batch_idx_train"], one["batching"])
    assert read_asr_config(tmp_path / "two") == read_asr_config(tmp_path / "one") == one_epoch


def test_start_epoch_goes_back_and_sets_newer_checkpoints_aside(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    two = replace(one_epoch, train=replace(one_epoch.train, num_epochs=2))
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, two)
    first = load_checkpoint(tmp_path / "epoch-2.pt")["model"]
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, two, TrainOptions(start="epoch-1.pt"))
    assert (tmp_path / "epoch-2.pt.superseded").is_file()
    assert all(torch.equal(v, first[k]) for k, v in load_checkpoint(tmp_path / "epoch-2.pt")["model"].items())


def test_inf_check_names_the_module(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    def poisoned(*arguments):  # type: ignore[no-untyped-def]
        model = AsrModel(*arguments)
        with torch.no_grad():
            model.joiner.encoder_proj.bias[0] = float("inf")
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml2021.asr.train.train.AsrModel", poisoned)
        with pytest.raises(DataError, match=r"output 0 of joiner\.encoder_proj is not finite"):
            train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch, TrainOptions(inf_check=True))
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch, TrainOptions(inf_check=True))


def test_diagnostics_write_a_table_and_do_not_train(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    options = TrainOptions(print_diagnostics=True)
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch, options)
    table = (tmp_path / "diagnostics.txt").read_text()
    lines = {tuple(line.split()[:2]) for line in table.splitlines()}
    assert table.startswith("module") and {("encoder_embed.conv.0", "output"), ("decoder.conv", "output")} <= lines
    assert any("joiner.output_linear.weight" in x and "parameter grad" in x for x in table.splitlines())
    assert not list(tmp_path.glob("*.pt"))


def test_running_out_of_memory_is_detected_before_training(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    def explode(*_):  # type: ignore[no-untyped-def]
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml2021.asr.train.task.TransducerTask.compute_loss", explode)
        patch.setattr("ml2021.training.trainer.Trainer._train_epoch", lambda *_: pytest.fail("training began"))
        with pytest.raises(DataError, match=r"out of memory on a batch of \d.* lower --max-duration .* now 4 s"):
            train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch)


def test_scan_of_the_worst_batches_changes_nothing(trained, tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    without = replace(one_epoch, train=replace(one_epoch.train, scan_worst_batches=False))
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, without)
    a, b = (load_checkpoint(folder / "epoch-1.pt")["model"] for folder in (trained, tmp_path))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])  # slow on a CPU
def test_lower_precision_learns_and_resumes_exactly(tone_corpus, one_epoch, tmp_path, precision):  # type: ignore[no-untyped-def]
    train = replace(one_epoch.train, precision=precision, num_epochs=2)
    lower = replace(one_epoch, train=train)
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "whole", lower)
    content = load_checkpoint(tmp_path / "whole" / "epoch-2.pt")
    assert (content["grad_scaler"] is not None) == (precision == "fp16")
    assert all(v.dtype == torch.float32 for v in content["model"].values() if v.is_floating_point())
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "epoch-1.pt").write_bytes((tmp_path / "whole" / "epoch-1.pt").read_bytes())
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "again", lower)
    again = load_checkpoint(tmp_path / "again" / "epoch-2.pt")
    assert all(torch.equal(v, again["model"][k]) for k, v in content["model"].items())
    losses = list(newest_scalars(tmp_path / "whole")["train/epoch_pruned_loss"].values())
    assert losses[-1] < losses[0]


def test_utterances_without_a_path_are_counted_once_per_epoch(tone_corpus, one_epoch, tmp_path, caplog):  # type: ignore[no-untyped-def]
    cuts = list(CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_train.jsonl.gz"))
    text = " ".join(["一"] * 200)
    cuts[0] = cuts[0].map_supervisions(lambda s: replace(s, text=text))
    CutSet.from_cuts(cuts).to_file(tmp_path / "ml2021_cuts_train.jsonl.gz")
    (tmp_path / "ml2021_cuts_dev.jsonl.gz").write_bytes((tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz").read_bytes())
    train_recogniser(tmp_path, tone_corpus.lang, tmp_path / "exp", one_epoch)
    assert caplog.text.count("1 utterances left out of the loss") == 1


@pytest.mark.slow
def test_overfits_a_few_windows_with_the_transducer_alone(tone_corpus, config, tmp_path):  # type: ignore[no-untyped-def]
    cuts = CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_train.jsonl.gz").subset(first=10)
    for part in ("train", "dev"):
        cuts.to_file(tmp_path / f"ml2021_cuts_{part}.jsonl.gz")
    alone = replace(
        config,
        model=replace(config.model, ctc_loss_scale=0.0),
        data=replace(
            config.data,
            max_duration=2.0,
            ref_duration=0.02,
            spec_augment=SpecAugmentConfig(time_warp_factor=0, num_frame_masks=0, num_feature_masks=0),
        ),
        train=replace(config.train, num_epochs=120, base_lr=0.045, lr_epochs=60.0, log_interval=999, save_every_n=999),
    )
    train_recogniser(tmp_path, tone_corpus.lang, tmp_path / "exp", alone)
    model, tokens = load_model(tmp_path / "exp")
    results = decode_cuts(model, tokens, tmp_path, "train", DecodeConfig())
    assert len(results) == 10 and all(ref == hyp for _, ref, hyp in results), results


def test_resolved_configuration_is_saved_beside_the_checkpoints(trained: Path, one_epoch: AsrConfig) -> None:
    content = json.loads((trained / "config.json").read_text())
    assert content["train"]["num_epochs"] == 1 and content["data"]["max_duration"] == one_epoch.data.max_duration
