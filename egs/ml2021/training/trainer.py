"""The training loop of all models, in one process or several.

The list of an epoch's batches depends only on seed and epoch. A step takes accum_grad batches per process; batch k goes
to process k % size, so two processes compute the same as one process with twice the accum_grad. Processes that share
batches (on CPUs) each compute a part of batch k instead, so two compute the same as one. Randomness in a step depends
only on (seed, epoch, k, part), not on what ran before: a killed and resumed run gives the same bits.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from ml2021.training.checkpoint import (
    averages_to_compare,
    best_average,
    epoch_numbers,
    load_averaged,
    load_checkpoint,
    remove_checkpoint,
    remove_unfinished,
    save_checkpoint,
    step_numbers,
    steps_of,
)
from ml2021.training.config import TrainConfig
from ml2021.training.diagnostics import Diagnostics
from ml2021.training.distributed import SharedLoss, World
from ml2021.training.learning_rate import learning_rate
from ml2021.training.memory import memory_errors, try_worst_batches
from ml2021.training.optimizers import max_grad_norm, set_learning_rate
from ml2021.training.progress import Progress, dump_batch, log_file
from ml2021.training.resume import find_start, require_epochs, require_same_training, warn_of_other_length
from ml2021.training.seeds import seed_everything
from ml2021.training.state import DTYPES, TrainState
from ml2021.training.task import StepLoss, Task, summed

logger = logging.getLogger(__name__)
_OBJECTIVE = "objective"  # key of the sum over dev of the loss to minimise
MIN_LOSS_SCALE = 2.0**-10  # gradients that still overflow fp16 below this scale are bad


class Part(NamedTuple):
    """A loaded batch, or this process's part of it."""

    number: int  # of the batch in its epoch; that of a part differs from those of all other parts
    batch: Any
    counts: bool = True  # false: a copy of another process's part, since the batch has too few rows


Group = list[Part]  # of one step


class Trainer:
    """Trains a model on a task; `run()` resumes from the newest good checkpoint in exp_dir."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        config: TrainConfig,
        exp_dir: Path,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        self.task, self.config, self.exp_dir, self.device = task, config, exp_dir, device
        self.world = world or World()
        self.state = TrainState(model, config, device)
        self.model, self.optimizer = self.state.model, self.state.optimizer
        self.group_size = task.batches_per_step = config.accum_grad * (
            1 if self.world.shares_batches else self.world.size
        )
        self.loss = SharedLoss(model, task, World())  # with the other processes' from fit() on
        self.fingerprint = task.fingerprint()
        self.batching = f"{task.batching()}, {self.group_size} batches a step"

    def run(self) -> None:
        """Resume from the newest checkpoint and train to the last epoch."""
        self.resume()
        self.fit()

    def resume(self, start: str | None = None) -> None:
        """Load the state of a checkpoint in exp_dir.

        Args:
          start: a file name (see find_start), or None for the newest readable checkpoint, if there is one.
        Raises:
          DataError: the checkpoint belongs to another training; the message says what differs.
        """
        path = None
        if self.world.is_main:
            remove_unfinished(self.exp_dir)
            path = find_start(self.exp_dir, start)
        path = self.world.from_main(path)
        if path is not None:
            content = load_checkpoint(path)
            weights = self.model.state_dict()
            require_same_training(path, content, weights, self.fingerprint, self.batching)
            self.state.load(content, path)
            if content.get("batching", self.batching) != self.batching:
                self.state.steps_per_epoch = 0  # to be counted anew
            warn_of_other_length(content, self.config)
            logger.info("resuming from %s: epoch %d, step %d", path, self.state.epoch, self.state.step)
        self.state.precision = self.world.from_main(self.state.precision)
        if self.config.precision == "auto":
            logger.info("precision of matrix products: %s", self.state.precision)
        self.world.broadcast(self.model)
        self.world.broadcast(self.state.model_avg)

    def fit(self) -> None:
        """Train from the current state to the last epoch; write pretrained.pt, an average over the last epochs.

        average.json says over how many, and what the loss on dev is with other numbers of epochs. The log is also
        written to log/train-DATE.txt.
        """
        state = self.state
        with log_file(self.exp_dir / "log", self.world):
            if state.epoch <= self.config.num_epochs:
                self._count_steps()
                if self.config.scan_worst_batches:
                    self._try_worst_batches()
                self.loss = SharedLoss(self.model, self.task, self.world)
            elif self.world.is_main:
                require_epochs(self.exp_dir, state.epoch - 1, self.config)
            progress = Progress(self.exp_dir, state.step, self.config.log_interval, self.world)
            try:
                while state.epoch <= self.config.num_epochs:
                    self._train_epoch(progress)
                    self.world.require_same(self.model)
                    self._validate(progress)
                    state.epoch, state.batches_done = state.epoch + 1, 0
                    state.update_average()
                    self._save(f"epoch-{state.epoch - 1}.pt")
                    self._remove_old()
            finally:
                progress.close()
            self._save_pretrained()
            self.world.wait()

    def diagnose(self) -> str:
        """A table of every module's activations, weights and gradients over some batches, without a training step."""
        diagnostics = Diagnostics(self.model)
        self.model.train()
        for group in islice(self.groups(self.state.epoch), self.config.num_diagnostics_batches):
            self.model.zero_grad(set_to_none=True)
            with diagnostics.watch():
                self.compute_losses(group, self.backward)
            diagnostics.add_parameters()
        return diagnostics.table()

    def groups(self, epoch: int, skip: int = 0) -> Iterator[Group]:
        """This process's batches of each step of an epoch, after the first `skip` batches (of all processes).

        The last step is filled up with the first batches of the epoch.
        """
        planned = _filled_up(self.task.train_batches(epoch), self.group_size, skip)
        parts = deque[tuple[int, bool]]()  # numbers of those being loaded: workers run ahead, but in order

        def mine() -> Iterator[tuple[int, Any]]:
            for number, batch, counts in self._parts(islice(enumerate(planned), skip, None)):
                parts.append((number, counts))
                yield number, batch

        group: Group = []
        for batch in self.task.load_train(mine(), epoch):
            number, counts = parts.popleft()
            group.append(Part(number, batch, counts))
            if len(group) == self.config.accum_grad:
                yield group
                group = []

    def _parts(self, numbered: Iterator[tuple[int, Any]]) -> Iterator[Part]:
        """What this process takes of planned batches."""
        rank, size = self.world.rank, self.world.size
        if not self.world.shares_batches:
            yield from (Part(number, batch) for number, batch in islice(numbered, rank, None, size))
            return
        for number, batch in numbered:
            parts = self.task.divide(batch, size)
            mine = rank if rank < len(parts) else 0
            yield Part(number * size + rank, parts[mine], counts=mine == rank)

    def compute_losses(self, group: Group, use: Callable[[StepLoss], None]) -> list[StepLoss]:
        """The losses of the batches of a step; `use` is called with each before the next is computed."""
        results = []
        for number, batch, counts in group:
            is_last = number == group[-1].number
            seed_everything(self.config.seed, self.state.epoch, number, 1)
            with contextlib.nullcontext() if is_last else self.loss.without_exchange():
                with memory_errors(self.task, batch), self.autocast():
                    result = self.loss(batch, self.state.step, counts)
                with memory_errors(self.task, batch):
                    use(result)
            results.append(replace(result, loss=result.loss.detach()))
        return results

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context for the configured precision."""
        dtype = DTYPES[self.state.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def backward(self, result: StepLoss) -> None:
        """Add the gradients of one batch of a step."""
        self.state.scaler.scale(result.loss / self.config.accum_grad).backward()

    def _count_steps(self) -> None:
        state = self.state
        if state.steps_per_epoch == 0:
            state.steps_per_epoch = -(-self.task.num_train_batches(state.epoch) // self.group_size)
            if state.steps_per_epoch == 0:
                raise DataError("the train part gives no batches: it is empty, or no cut is within max_duration")

    def _try_worst_batches(self) -> None:
        """Run forward and backward of the largest batches, without a step."""

        def forward_backward(batch: Any) -> None:
            self.compute_losses([Part(0, batch)], self.backward)

        try_worst_batches(self.task, self.model, forward_backward)

    def _train_epoch(self, progress: Progress) -> None:
        state = self.state
        self.model.train()
        num_steps = self.config.num_epochs * state.steps_per_epoch
        groups = self.groups(state.epoch, state.batches_done)
        done = state.batches_done // self.group_size
        for group in progress.begin_epoch(state.epoch, groups, done, state.steps_per_epoch, num_steps):
            rate = learning_rate(self.config, state.step, num_steps)
            set_learning_rate(self.optimizer, rate)
            reported = self._train_step(group)
            state.batches_done += self.group_size
            if reported is None:
                continue
            sums, grad_norm = reported
            state.step += 1
            if state.step % self.config.average_period == 0:
                state.update_average()
            progress.add_step(state.step, sums, rate, grad_norm)
            if state.step % self.config.save_every_n == 0:
                self._save(f"checkpoint-{state.step}.pt")
                if self.world.is_main:
                    for n in step_numbers(self.exp_dir)[: -self.config.keep_last_k]:
                        remove_checkpoint(self.exp_dir / f"checkpoint-{n}.pt")
        progress.end_epoch(state.step)

    def _train_step(self, group: Group) -> tuple[dict[str, float], float] | None:
        """One optimiser step: the sums over its batches and the gradient norm, or None if the step was skipped."""
        buffers = [(b, b.clone()) for b in self.state.buffers]
        self.optimizer.zero_grad(set_to_none=True)
        results = self.compute_losses(group, self.backward)
        scaler = self.state.scaler
        scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.state.parameters, max_grad_norm(self.config))
        sums, grad_norm = self._read(results, norm)
        num_bad = sums.pop("num_bad")  # like the norm, the same in all processes, so they all branch the same way
        if num_bad == 0 and math.isfinite(grad_norm):
            self.world.average_buffers(self.model)
            self.optimizer.step()
            scaler.update()
            self.state.bad_steps = 0
            return sums, grad_norm
        for buffer, before in buffers:
            buffer.copy_(before)
        if scaler.is_enabled():  # if only the gradients overflow, the scale falls
            scaler.update(scaler.get_scale() if num_bad else None)
        if num_bad == 0 and scaler.is_enabled() and scaler.get_scale() >= MIN_LOSS_SCALE:
            logger.info("step %d skipped: fp16 overflow, loss scale now %g", self.state.step, scaler.get_scale())
        else:
            bad = [num_bad == 0 or not bool(torch.isfinite(r.loss)) for r in results]
            self._report_bad_step([(x.number, x.batch, r) for x, r, is_bad in zip(group, results, bad) if is_bad])
        return None

    def _read(self, results: Sequence[StepLoss], norm: Tensor) -> tuple[dict[str, float], float]:
        """The sums of a step's batches over all processes, with `num_bad` losses not finite, and the gradient norm.

        The computing device is waited for once.
        """
        total = summed(results)
        total["num_bad"] = torch.stack([~torch.isfinite(r.loss) for r in results]).sum().double()
        tensors = {name: value for name, value in total.items() if isinstance(value, Tensor)}
        numbers = {name: value for name, value in total.items() if not isinstance(value, Tensor)}
        values = torch.stack(list(tensors.values()))
        if self.world.size > 1:
            others = torch.tensor(list(numbers.values()), dtype=torch.float64).to(self.device, non_blocking=True)
            values = self.world.sum_tensor(torch.cat([values, others]))
        *read, grad_norm = torch.cat([values, norm.double().reshape(1)]).tolist()
        return numbers | dict(zip((*tensors, *numbers), read, strict=False)), grad_norm

    def _report_bad_step(self, batches: Sequence[tuple[int, Any, StepLoss]]) -> None:
        """Count a step without a finite loss or gradient and record its batches; stop after too many in a row."""
        state, c = self.state, self.config
        for number, batch, result in batches:
            loss = float(result.loss.detach())
            path = dump_batch(self.exp_dir, self.task.batch_ids(batch), state.epoch, number, state.step, loss)
            logger.warning("step %d skipped: its loss or gradient is not finite; its batch is in %s", state.step, path)
        state.bad_steps += 1
        if state.bad_steps >= c.max_bad_steps:
            raise DataError(
                f"{state.bad_steps} steps in a row had no finite loss; lower base_lr ({c.base_lr}), or look for NaN in "
                f"the features of the utterances in {self.exp_dir}/bad-batches (python -m lhotse_prep validate)"
            )

    def _validate(self, progress: Progress) -> None:
        sums = self._dev_sums(self.state.step)
        del sums[_OBJECTIVE]
        example = self.task.example(self.model) if self.world.is_main else None
        progress.add_valid(self.state.step, self.state.epoch, sums, example)

    @torch.no_grad()
    def _dev_sums(self, step: int) -> dict[str, float]:
        """The sums over dev that the task reports, and that of the loss to minimise, over all processes."""
        self.model.eval()
        results = []
        mine = islice(self.task.valid_batches(), self.world.rank, None, self.world.size)
        for batch in self.task.load_valid(mine):
            with self.autocast():
                result = self.task.compute_loss(self.model, batch, step)
            objective = result.loss.detach() * (result.weight if result.is_mean else 1.0)
            results.append(replace(result, sums={**result.sums, _OBJECTIVE: objective}))
        total = {name: float(value) for name, value in summed(results).items()}
        names = sorted({"weight", _OBJECTIVE} | {n for part in self.world.gather(sorted(total)) for n in part})
        return self.world.sum({n: total.get(n, 0.0) for n in names})

    def _save(self, name: str) -> None:
        if self.world.is_main:
            content = self.state.content() | {"fingerprint": self.fingerprint, "batching": self.batching}
            save_checkpoint(self.exp_dir / name, content | {"num_epochs": self.config.num_epochs})

    def _remove_old(self) -> None:
        """Remove old epochs, and the checkpoints inside an epoch, which are useless once the epoch is over."""
        if self.world.is_main:
            old = epoch_numbers(self.exp_dir)[: -self.config.keep_epochs]
            names = [f"epoch-{n}.pt" for n in old] + [f"checkpoint-{n}.pt" for n in step_numbers(self.exp_dir)]
            for name in names:
                remove_checkpoint(self.exp_dir / name)

    def _save_pretrained(self) -> None:
        c = self.config
        losses = self._losses_of_averages()
        if not self.world.is_main:
            return
        num_averaged = best_average(losses)
        chosen = {"last_epoch": c.num_epochs, "average_epochs": num_averaged}
        if len(losses) > 1:
            shown = ", ".join(f"{loss:.4g} over {n}" for n, loss in losses.items())
            logger.info("pretrained.pt: average over the last epochs: %d; loss on dev: %s", num_averaged, shown)
            write_json(self.exp_dir / "average.json", chosen | {"dev_loss": {str(n): x for n, x in losses.items()}})
        else:
            write_json(self.exp_dir / "average.json", chosen)
        weights = load_averaged(self.exp_dir, c.num_epochs, num_averaged, True)
        current: dict[str, Tensor] = self.model.state_dict()
        weights = {k: v.to(current[k].dtype) for k, v in self.task.final_weights(weights).items()}
        save_checkpoint(self.exp_dir / "pretrained.pt", {"model": weights, "fingerprint": self.fingerprint})

    def _losses_of_averages(self) -> dict[int, float]:
        """{number of last epochs: the loss on dev of their average, infinity if not finite}, most epochs first.

        If they need not be compared, there is only one, with the loss 0. The model keeps its weights.
        """
        c = self.config
        most = min(c.average_epochs, c.num_epochs)
        numbers = self.world.from_main(averages_to_compare(self.exp_dir, c.num_epochs, most))
        if len(numbers) == 1 or not c.average_by_dev or next(self.task.valid_batches(), None) is None:
            return {most: 0.0}
        step = self.world.from_main(steps_of(self.exp_dir / f"epoch-{c.num_epochs}.pt") if self.world.is_main else 0)
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        losses = {}
        for n in numbers:
            if self.world.is_main:
                self.model.load_state_dict(load_averaged(self.exp_dir, c.num_epochs, n, True))
            self.world.broadcast(self.model)
            sums = self._dev_sums(step)
            loss = sums[_OBJECTIVE] / max(sums["weight"], 1e-9)
            losses[n] = loss if math.isfinite(loss) else math.inf
        self.model.load_state_dict(before)
        return losses


def _filled_up(batches: Iterator[Any], size: int, skip: int) -> Iterator[Any]:
    """The batches, then the first ones again until their number after the first `skip` is a multiple of size."""
    first: list[Any] = []
    count = 0
    for batch in batches:
        count += 1
        if len(first) < size:
            first.append(batch)
        yield batch
    yield from islice(cycle(first), (skip - count) % size)
