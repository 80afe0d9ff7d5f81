#!/usr/bin/env python3
"""What a training step costs on a GPU and where the time goes, for conf/ml2021 and batches of made-up speech.

    . ./path.sh; python benchmarks/gpu.py                    # 400 s a batch, float32 and bf16; at most 8 minutes
    . ./path.sh; python benchmarks/gpu.py --device cpu --small   # tries the script itself, in seconds

Batches come as in stage 5: features in files, loaded and masked by worker processes. For each precision it prints the
time of a whole step, the parts of a step (timed by events of the GPU in steps of their own), the memory, and whether
the aims are met. At the end it compares our transducer loss with torchaudio's and k2's, where they are installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import rnnt_loss
import torch
from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment

from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.loss import rnnt_lattice, rnnt_lattice_triton
from ml2021.asr.loss.transducer import losses_of_encoder_out
from ml2021.asr.model.layers import regularisers
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import NUM_FEATURES, AsrModel, num_parameters
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.training.optimizers import make_optimizer

CONF = Path(__file__).parents[1] / "conf"
FRAMES_PER_SECOND = 100
TOKENS_PER_SECOND = 4.3
NUM_FEATURE_FILES = 64  # utterances with features of their own; the cuts of an epoch repeat them
WARM_UP_STEPS = 4  # kernels are compiled and memory is reserved
BATCH_COUNT = 20000.0  # schedules of the model are those of a training well on its way
AIMS = {"lattice and regularisers": 0.15, "waiting for data": 0.05}  # of a step, at most
LAST_START = 5.5 * 60  # seconds from the start after which nothing new is measured: all ends within 8 minutes
Batch = dict[str, Any]


def write_speech(folder: Path, config: AsrConfig, vocab_size: int, num_batches: int) -> None:
    """A train part as of stage 4: made-up features of 2 to 20 s, the token ids as text."""
    rng = np.random.default_rng(0)
    stored = []
    with LilcomChunkyWriter(folder / "feats") as writer:
        longest = min(20.0, config.data.max_duration / 2)
        for i, seconds in enumerate(rng.uniform(longest / 10, longest, NUM_FEATURE_FILES)):
            num_frames = int(FRAMES_PER_SECOND * seconds)
            values = rng.normal(-8, 3, (num_frames, NUM_FEATURES)).astype(np.float32)
            recording = f"made-up-{i}"
            features = Features(
                type="fbank",
                num_frames=num_frames,
                num_features=NUM_FEATURES,
                frame_shift=1 / FRAMES_PER_SECOND,
                sampling_rate=16000,
                start=0,
                duration=num_frames / FRAMES_PER_SECOND,
                storage_type=writer.name,
                storage_path=str(writer.storage_path),
                storage_key=writer.write(recording, values),
                recording_id=recording,
                channels=0,
            )
            stored.append(features)
    cuts: list[MonoCut] = []
    seconds_left = (num_batches + 2) * config.data.max_duration
    while seconds_left > 0:
        features = stored[len(cuts) % NUM_FEATURE_FILES]
        ids = rng.integers(3, vocab_size, max(1, int(TOKENS_PER_SECOND * features.duration)))
        name = f"cut-{len(cuts):06d}"
        text = " ".join(str(i) for i in ids)
        supervision = SupervisionSegment(name, features.recording_id, 0.0, features.duration, text=text)
        cuts.append(MonoCut(name, 0.0, features.duration, 0, supervisions=[supervision], features=features))
        seconds_left -= features.duration
    CutSet.from_cuts(cuts).to_file(folder / "ml2021_cuts_train.jsonl.gz")


class Clock:
    """Milliseconds of named parts on a device; parts may lie in each other."""

    def __init__(self, device: torch.device) -> None:
        self.is_gpu = device.type == "cuda"
        self._spans: list[tuple[str, Any, Any]] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add what the with-block starts on the device to the part `name`, without waiting for it."""
        begin = self._now()
        yield
        self._spans.append((name, begin, self._now()))

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each call of which is added to the part `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.of(name):
                return function(*args, **kwargs)

        return call

    def totals(self) -> dict[str, float]:
        """{part: milliseconds}."""
        if self.is_gpu:
            torch.cuda.synchronize()
        totals = defaultdict[str, float](float)
        for name, begin, end in self._spans:
            totals[name] += begin.elapsed_time(end) if self.is_gpu else 1000 * (end - begin)
        return dict(totals)

    def _now(self) -> Any:
        if not self.is_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Training:
    """A model of the configuration with its optimiser, and batches as stage 5 loads them."""

    def __init__(self, folder: Path, config: AsrConfig, vocab_size: int, device: torch.device, bf16: bool) -> None:
        torch.manual_seed(0)
        self.config, self.device, self.bf16 = config, device, bf16
        self.model = AsrModel(config.model, vocab_size).to(device).train()
        self.optimizer = make_optimizer(self.model, config.train)
        self.data = AsrDataModule(folder, config.data, seed=0)

    def batches(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        return self.data.load_train(enumerate(self.data.train_plan(1)), 1)

    def step(self, batch: Batch, clock: Clock) -> float:
        """One step; its loss is read as in training, so that the GPU is waited for once."""
        supervisions = batch["supervisions"]
        order = torch.argsort(supervisions["sequence_idx"])
        lens = supervisions["num_frames"][order]
        tokens = [[int(i) for i in supervisions["text"][row].split()] for row in order.tolist()]
        set_batch_count(self.model, BATCH_COUNT)
        features = batch["inputs"].to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            with clock.of("encoder forward"):
                encoder_out, out_lens = self.model.forward_encoder(features, lens)
            with clock.of("losses forward"):
                losses = losses_of_encoder_out(self.model, encoder_out, out_lens, tokens)
        loss = 0.5 * losses.simple + losses.pruned + self.config.model.ctc_loss_scale * losses.ctc
        loss = loss / float(lens.sum())
        with clock.of("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        with clock.of("optimiser"):
            self.optimizer.step()
        return loss.item()


@contextmanager
def parts_timed(clock: Clock) -> Iterator[None]:
    """A context in which the clock also has the lattice and the regularisers (Balancer, Whitener) by themselves."""
    functions = [
        f for f in vars(regularisers).values() if isinstance(f, type) and issubclass(f, torch.autograd.Function)
    ]
    lattices = {name: getattr(rnnt_lattice, name) for name in ("lattice_here", "lattice_elsewhere")}
    backwards = {f: f.backward for f in functions}
    try:
        for name, lattice in lattices.items():
            setattr(rnnt_lattice, name, clock.timed("lattice", lattice))
        for function, backward in backwards.items():
            function.backward = staticmethod(clock.timed("regularisers", backward))  # type: ignore[method-assign]
        yield
    finally:
        for name, lattice in lattices.items():
            setattr(rnnt_lattice, name, lattice)
        for function, backward in backwards.items():
            function.backward = staticmethod(backward)  # type: ignore[method-assign]


def measure(training: Training, warm_up: int, steps: int, most_seconds: float) -> dict[str, float]:
    """Milliseconds a step of the whole and of the parts, and the seconds of audio in it."""
    device, batches = training.device, training.batches()
    for batch in islice(batches, warm_up):
        training.step(batch, Clock(device))
    waited, seconds, done, begin = 0.0, 0.0, 0, time.perf_counter()
    while done < steps and (done == 0 or time.perf_counter() - begin < most_seconds):
        waiting_since = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - waiting_since
        training.step(batch, Clock(device))
        seconds += float(batch["supervisions"]["num_frames"].sum()) / FRAMES_PER_SECOND
        done += 1
    whole = time.perf_counter() - begin
    result = {"step": 1000 * whole / done, "waiting for data": 1000 * waited / done, "audio": seconds / done}
    clock, timed, begin = Clock(device), 0, time.perf_counter()
    with parts_timed(clock):
        while timed < steps and (timed == 0 or time.perf_counter() - begin < most_seconds / 2):
            with clock.of("all parts"):
                training.step(batch, clock)
            timed += 1
    return result | {name: total / timed for name, total in clock.totals().items()}


def report(name: str, result: dict[str, float], peak: float) -> None:
    """Print the figures of one precision, and whether the aims are met."""
    step, parts = result["step"], result["all parts"]
    speed = f"{1000 * result['audio'] / step:.0f} s of audio a second"
    print(f"{name}: {step:.1f} ms a step of {result['audio']:.0f} s ({speed}), peak memory {peak:.0f} MB")
    inside = {"lattice": "losses forward", "regularisers": "backward"}
    for part in ("encoder forward", "losses forward", "lattice", "backward", "regularisers", "optimiser"):
        where = f"  (within {inside[part]})" if part in inside else ""
        print(f"  {part:18}{result.get(part, 0.0):9.2f} ms {result.get(part, 0.0) / parts:7.1%}{where}")
    print(f"  {'waiting for data':18}{result['waiting for data']:9.2f} ms {result['waiting for data'] / step:7.1%}")
    shares = {
        "lattice and regularisers": (result.get("lattice", 0.0) + result.get("regularisers", 0.0)) / parts,
        "waiting for data": result["waiting for data"] / step,
    }
    for aim, most in AIMS.items():
        met = "met" if shares[aim] <= most else "MISSED"
        print(f"  aim: {aim} at most {most:.0%} of a step: {shares[aim]:.1%}, {met}")
    sys.stdout.flush()


def compare_losses(device: torch.device, batch: int, vocab_size: int, repeats: int) -> None:
    """Print the time and memory of our loss, torchaudio's and k2's, from the joiner's inputs to all gradients."""
    size = f"{batch} utterances of {rnnt_loss.T} encoder frames and {rnnt_loss.U} tokens, V={vocab_size}"
    print(f"the transducer loss, forward and backward: {size}")
    for name in rnnt_loss.IMPLEMENTATIONS:
        if name != "native" and find_spec(name) is None:
            print(f"  {name:12} is not installed")
            continue
        options = argparse.Namespace(
            threads=torch.get_num_threads(), device=device, repeats=repeats, rnnt_type="regular"
        )
        options.batch = batch
        reset_peak(device)
        try:
            row = rnnt_loss.measure(name, vocab_size, options)
        except (ImportError, RuntimeError) as e:  # not built for this GPU, or no memory left
            print(f"  {name:12} does not run here: {str(e).splitlines()[0][:100]}")
            continue
        print(f"  {name:12}{1000 * row['seconds']:9.1f} ms, {row['added']:.0f} MB more memory", flush=True)


def reset_peak(device: torch.device) -> None:
    """Begin a new peak of the GPU's memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conf", type=Path, default=CONF / "ml2021", help="folder with asr.yaml [conf/ml2021]")
    parser.add_argument("--max-duration", type=float, default=400.0, help="seconds of audio a batch [%(default)s]")
    parser.add_argument("--vocab-size", type=int, default=2000, help="number of tokens [%(default)s]")
    parser.add_argument("--steps", type=int, default=50, help="steps of each kind, if there is time [%(default)s]")
    parser.add_argument("--device", default="cuda", help="[%(default)s]")
    parser.add_argument("--small", action="store_true", help="a tiny model and batches: only tries the script")
    args = parser.parse_args(argv)
    started, device = time.perf_counter(), torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        built = f"torch {torch.__version__}" + ("" if torch.version.cuda else ", built without CUDA")
        parser.exit(1, f"no GPU: {built} sees none; nothing was measured. To try the script: --device cpu --small\n")
    config = load_config((CONF / "smoke" if args.small else args.conf) / "asr.yaml", "asr", AsrConfig)
    duration, steps, vocab_size = (10.0, 1, 20) if args.small else (args.max_duration, args.steps, args.vocab_size)
    config = replace(config, data=replace(config.data, max_duration=duration))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    triton = "Triton" if rnnt_lattice_triton.HAS_TRITON and device.type == "cuda" else "no Triton"
    print(f"{name}, torch {torch.__version__}, {triton}; batches of {duration:g} s, V={vocab_size}")
    with tempfile.TemporaryDirectory() as temporary:
        write_speech(Path(temporary), config, vocab_size, WARM_UP_STEPS + steps)
        for bf16 in (False, True):
            if time.perf_counter() - started > LAST_START:
                print("bf16 was not measured: no time left")
                break
            reset_peak(device)
            training = Training(Path(temporary), config, vocab_size, device, bf16)
            if not bf16:
                workers = f"{config.data.num_workers} processes load data"
                print(f"{num_parameters(training.model) / 1e6:.1f} M parameters, {workers}", flush=True)
            result = measure(training, 1 if args.small else WARM_UP_STEPS, steps, most_seconds=60.0)
            report("bf16" if bf16 else "float32", result, rnnt_loss.peak(device))
            del training
    if time.perf_counter() - started > LAST_START:
        print("the losses were not compared: no time left")
    else:
        batch = max(1, round(duration * 25 / rnnt_loss.T))  # as many encoder frames as in a batch, of 40 ms each
        compare_losses(device, batch, min(vocab_size, 500), repeats=1 if args.small else 5)
    print(f"all of it took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
