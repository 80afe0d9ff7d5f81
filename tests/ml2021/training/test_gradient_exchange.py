"""Several processes compute what one does that accumulates: layers left out, frozen parts, bad steps, resuming."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.distributed import SharedLoss, World
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer
from tests.ml2021.training.several_processes import SHORT, in_processes

CONFIG = replace(SHORT, max_bad_steps=4, scan_worst_batches=True)
FROZEN_STEPS = 2
WORST = 99  # number of a batch that is only tried


class Branches(nn.Module):
    """A part that is frozen at first, branches of which each batch takes one, one that none takes, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.branches = nn.ModuleList(nn.Linear(8, 1) for _ in range(4))
        self.unused = nn.Linear(2, 2)
        self.never_trained = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("running", torch.zeros(3))
        self.running: Tensor


class BranchTask(Task):
    """Each batch is its number and its input; batch k takes branch k % 3, so that some processes leave some out."""

    def __init__(self, bad: tuple[int, int] | None = None, kill_at: int | None = None) -> None:
        self.bad, self.kill_at = bad, kill_at  # (step, number of the batch); the step of which the process dies
        self.seen: list[tuple[int, int]] = []

    def train_batches(self, epoch: int) -> Iterator[tuple[int, Tensor]]:
        g = torch.Generator().manual_seed(epoch)
        return ((i, torch.randn(5, 3, generator=g)) for i in range(14))

    def valid_batches(self) -> Iterator[tuple[int, Tensor]]:
        return iter(())

    def choose_trained(self, model: nn.Module, step: int) -> None:
        assert isinstance(model, Branches)
        model.first.requires_grad_(step >= FROZEN_STEPS)

    def worst_batches(self) -> Iterator[tuple[int, Tensor]]:
        """Tried before the gradients' exchange is set up, when the first part is frozen."""
        return iter([(WORST, torch.zeros(5, 3))])

    def compute_loss(self, model: nn.Module, batch: tuple[int, Tensor], step: int) -> StepLoss:
        assert isinstance(model, Branches)
        number, x = batch
        if step == self.kill_at:
            raise KeyboardInterrupt
        if number != WORST:
            self.seen.append((step, number))
        with torch.no_grad():
            model.running.mul_(0.9).add_(0.1 * x.mean(dim=0))
        hidden = nn.functional.dropout(model.first(x).tanh(), 0.2, model.training)
        loss = (model.branches[number % 3](hidden) - x.sum(dim=1, keepdim=True).sin()).square().mean()
        if (step, number) == self.bad:
            loss = loss * float("nan")
        return StepLoss(loss, {"square": loss.detach() * 5}, 5.0)


def train(world: World, exp_dir: Path, config: TrainConfig, **options: object) -> None:
    """Train, and save this process's weights."""
    torch.manual_seed(world.rank + 1)  # the weights of rank 0 must win
    model, task = Branches(), BranchTask(**options)  # type: ignore[arg-type]
    try:
        Trainer(model, task, config, exp_dir, torch.device("cpu"), world).run()
    except KeyboardInterrupt:
        return
    assert task.batches_per_step == world.size * config.accum_grad
    torch.save({"model": model.state_dict(), "seen": task.seen}, exp_dir / f"rank-{world.rank}.pth")


def ranks(exp_dir: Path, size: int) -> list[dict[str, Tensor]]:
    """The weights of all processes, which must be the same to the bit."""
    weights = [torch.load(exp_dir / f"rank-{rank}.pth")["model"] for rank in range(size)]
    for other in weights[1:]:
        assert all(torch.equal(value, other[name]) for name, value in weights[0].items())
    return weights


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in two processes with two batches each a step."""
    folder = tmp_path_factory.mktemp("together")
    in_processes(train, 2, folder, replace(CONFIG, accum_grad=2))
    return folder


def test_two_processes_equal_one_with_twice_the_accumulation(together: Path, tmp_path: Path) -> None:
    train(World(), tmp_path, replace(CONFIG, accum_grad=4))
    (alone,), both = ranks(tmp_path, 1), ranks(together, 2)[0]
    for name, value in alone.items():
        if name != "running":  # of batches in a row there, of two processes here
            torch.testing.assert_close(value, both[name], atol=1e-5, rtol=1e-4)
    seen = [torch.load(folder / f"rank-{r}.pth")["seen"] for folder, r in ((tmp_path, 0), (together, 0), (together, 1))]
    assert sorted(seen[0]) == sorted(seen[1] + seen[2]) and len(seen[0]) == 2 * 16
    assert load_checkpoint(together / "epoch-2.pt")["model"].keys() == alone.keys()  # no prefix of a wrapper


def test_what_no_process_uses_stays_as_it_is(together: Path) -> None:
    """Not even weight decay touches it. A frozen part begins to learn when it is set free."""
    torch.manual_seed(1)
    first, trained = Branches().state_dict(), ranks(together, 2)[0]
    for name in ("unused.weight", "branches.3.weight", "never_trained"):
        assert torch.equal(first[name], trained[name]), name
    before = load_checkpoint(together / "epoch-1.pt")["model"]
    assert not torch.equal(first["first.weight"], trained["first.weight"])
    assert not torch.equal(before["first.weight"], trained["first.weight"])


def test_a_killed_training_resumes_inside_an_epoch_with_the_same_bits(
    together: Path, stopped: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "exp")
    in_processes(train, 2, tmp_path / "exp", replace(CONFIG, accum_grad=2))
    expected, resumed = ranks(together, 2)[0], ranks(tmp_path / "exp", 2)[0]
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())


@pytest.mark.parametrize(("batches_a_step", "steps"), [(2, 3), (3, 2), (4, 2)])
def test_another_number_of_processes_goes_on_where_the_training_was(
    stopped: Path, tmp_path: Path, batches_a_step: int, steps: int
) -> None:
    """Two processes have done batches 0 to 7 of 14 in two steps; the last step is filled up with the first batches."""
    shutil.copytree(stopped, tmp_path / "exp")
    train(World(), tmp_path / "exp", replace(CONFIG, accum_grad=batches_a_step, num_epochs=1))
    seen = torch.load(tmp_path / "exp" / "rank-0.pth")["seen"]
    numbers = [*range(8, 14), 0, 1][: steps * batches_a_step]
    assert seen == [(2 + i // batches_a_step, n) for i, n in enumerate(numbers)]
    content = load_checkpoint(tmp_path / "exp" / "epoch-1.pt")
    assert content["batch_idx_train"] == 2 + steps and content["steps_per_epoch"] == -(-14 // batches_a_step)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two processes with two batches each a step that was killed in its fourth step."""
    folder = tmp_path_factory.mktemp("stopped")
    in_processes(killed, 2, folder, replace(CONFIG, accum_grad=2))
    assert not (folder / "epoch-1.pt").exists() and (folder / "checkpoint-2.pt").exists()
    return folder


def killed(world: World, exp_dir: Path, config: TrainConfig) -> None:
    train(world, exp_dir, config, kill_at=3)


@pytest.mark.parametrize("number", [5, 7], ids=["accumulated", "exchanged"])
def test_a_bad_loss_of_one_process_skips_the_step_in_both(tmp_path: Path, number: int) -> None:
    """Batch 5 is the first of rank 1 in step 1, batch 7 the last, with which the gradients are exchanged."""
    in_processes(with_bad_batch, 2, tmp_path, number)
    weights = ranks(tmp_path, 2)[0]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert load_checkpoint(tmp_path / "epoch-1.pt")["batch_idx_train"] == 3
    assert [p.name for p in (tmp_path / "bad-batches").iterdir()] == [f"epoch-1-batch-{number}.json"]


def with_bad_batch(world: World, exp_dir: Path, number: int) -> None:
    train(world, exp_dir, replace(CONFIG, accum_grad=2, num_epochs=1), bad=(1, number))


def test_gradients_that_overflow_fp16_skip_the_step_in_both_processes(tmp_path: Path) -> None:
    in_processes(train_in_fp16, 2, tmp_path)
    scales = [torch.load(tmp_path / f"scales-{rank}.pth") for rank in range(2)]
    assert scales[0] == scales[1] and scales[0][0] > scales[0][-1]
    ranks(tmp_path, 2)


def train_in_fp16(world: World, exp_dir: Path) -> None:
    model, task, scales = Branches(), BranchTask(), []
    config = replace(CONFIG, precision="fp16", num_epochs=1, base_lr=1e-3, max_bad_steps=50)
    trainer = Trainer(model, task, config, exp_dir, torch.device("cpu"), world)
    trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)  # type: ignore[attr-defined]
    backward = trainer.backward

    def remember(result: StepLoss) -> None:
        scales.append(trainer.state.scaler.get_scale())
        backward(result)

    trainer.backward = remember  # type: ignore[method-assign]
    trainer.run()
    torch.save(scales, exp_dir / f"scales-{world.rank}.pth")
    torch.save({"model": model.state_dict(), "seen": []}, exp_dir / f"rank-{world.rank}.pth")


def test_weights_that_differ_between_processes_end_the_training() -> None:
    """As if their gradients had not been exchanged."""
    in_processes(drift_apart, 2)


def drift_apart(world: World) -> None:
    torch.manual_seed(0)
    model = Branches()
    world.require_same(model)
    with torch.no_grad():
        model.first.weight[0, 0] *= 1 + 1e-6 * world.rank  # rounding
    world.require_same(model)
    for difference in (0.1, torch.nan):
        with torch.no_grad():
            model.first.weight[0, 0] += difference if world.rank else 0.0
        with pytest.raises(DataError, match="weights of the 2 processes differ by up to"):
            world.require_same(model)


def test_gradients_travel_only_with_the_last_batch_of_a_step() -> None:
    in_processes(count_exchanges, 2)


def count_exchanges(world: World) -> None:
    model, task = Branches(), BranchTask()
    loss = SharedLoss(model, task, world)
    loss((world.rank, torch.ones(2, 3)), FROZEN_STEPS).loss.backward()
    assert loss.parallel is not None
    exchanged: list[int] = []

    def count(_, bucket):  # type: ignore[no-untyped-def]  # torch refuses annotations that are strings
        exchanged.append(1)
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    loss.parallel.register_comm_hook(None, count)
    with loss.without_exchange():
        loss((world.rank, torch.ones(2, 3)), FROZEN_STEPS).loss.backward()
    assert exchanged == []
    loss((world.rank + 1, torch.ones(2, 3)), FROZEN_STEPS).loss.backward()
    assert exchanged
