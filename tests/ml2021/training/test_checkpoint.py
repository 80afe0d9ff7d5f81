"""Checkpoints are written atomically, damage is detected, and averages are the means that they should be."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.errors import DataError
from ml2021.training.checkpoint import (
    average_checkpoints,
    average_with_running_average,
    epoch_numbers,
    load_averaged,
    load_checkpoint,
    newest_checkpoint,
    remove_unfinished,
    save_checkpoint,
)

PERIOD = 4  # steps between updates of the running average


def weights(step: int) -> dict[str, torch.Tensor]:
    """The weights after a step: floats of two types and a counter."""
    g = torch.Generator().manual_seed(step)
    return {
        "w": torch.randn(3, 2, generator=g),
        "half": torch.randn(5, generator=g).half(),
        "count": torch.tensor(step),
    }


def running_average(step: int) -> dict[str, torch.Tensor]:
    """The mean over steps 1..step as computed by training: the weights of every PERIOD-th step count PERIOD times."""
    sampled = [weights(s) for s in range(PERIOD, step + 1, PERIOD)]
    means = {name: torch.stack([w[name].double() for w in sampled]).mean(dim=0) for name in ("w", "half")}
    return {**means, "count": torch.tensor(step)}


def save_epoch(folder: Path, epoch: int, step: int) -> Path:
    path = folder / f"epoch-{epoch}.pt"
    save_checkpoint(path, {"model": weights(step), "model_avg": running_average(step), "batch_idx_train": step})
    return path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_saved_checkpoint_is_loaded_unchanged(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "epoch-1.pt", {"model": weights(1), "sampler": {"epoch": 2}, "scheduler": None})
    content = load_checkpoint(tmp_path / "epoch-1.pt")
    assert content["sampler"] == {"epoch": 2} and content["scheduler"] is None
    assert all(torch.equal(content["model"][k], v) for k, v in weights(1).items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-1.pt", "epoch-1.pt.sha256"]


def test_damage_is_detected(tmp_path: Path) -> None:
    path = save_epoch(tmp_path, 1, 8)
    flip_a_byte(path)
    with pytest.raises(DataError, match=r"epoch-1\.pt is damaged"):
        load_checkpoint(path)
    (tmp_path / "epoch-1.pt.sha256").write_text("")  # as on a full disk
    with pytest.raises(DataError, match=r"epoch-1\.pt is damaged"):
        load_checkpoint(path)


def test_foreign_checkpoint_needs_no_hash_and_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"model": weights(1)}, tmp_path / "pretrained.pt")
    assert load_checkpoint(tmp_path / "pretrained.pt")["model"].keys() == weights(1).keys()

    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path}/ran",)

    for write in (torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))):
        write({"model": Evil()}, tmp_path / "evil.pt")
        with pytest.raises(DataError, match=r"evil\.pt cannot be read as a checkpoint"):
            load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.pt cannot be read"):
        load_checkpoint(tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"no checkpoint .*y\.pt"):
        load_checkpoint(tmp_path / "y.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(DataError, match="no key 'model'"):
        load_checkpoint(tmp_path / "list.pt")


def test_newest_is_the_readable_one_with_the_most_steps(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    paths = [tmp_path / "checkpoint-90.pt", save_epoch(tmp_path, 10, 80), save_epoch(tmp_path, 9, 72)]
    save_checkpoint(paths[0], {"model": weights(90), "batch_idx_train": 90})
    os.utime(paths[0], ns=(1, 1))  # copied folders have other modification times
    for path, step in zip(paths, (90, 80, 72), strict=True):
        newest = newest_checkpoint(tmp_path)
        assert newest is not None and newest[0] == path and torch.equal(newest[1]["model"]["w"], weights(step)["w"])
        flip_a_byte(path)
    assert newest_checkpoint(tmp_path) is None


def test_epoch_numbers_are_ascending(tmp_path: Path) -> None:
    for name in ("epoch-2.pt", "epoch-10.pt", "epoch-x.pt", "checkpoint-3.pt", "epoch-2.pt.sha256"):
        (tmp_path / name).touch()
    assert epoch_numbers(tmp_path) == [2, 10]


def test_average_of_checkpoints_is_the_mean(tmp_path: Path) -> None:
    steps = [8, 12, 20]
    average = average_checkpoints([save_epoch(tmp_path, i, s) for i, s in enumerate(steps, 1)])
    for name in ("w", "half"):
        expected = torch.stack([weights(s)[name].double() for s in steps]).mean(dim=0)
        torch.testing.assert_close(average[name], expected.to(weights(1)[name].dtype))


@pytest.mark.parametrize(("m", "n"), [(4, 8), (8, 40), (12, 16), (40, 400)])
def test_running_averages_give_the_mean_over_the_steps_between(tmp_path: Path, m: int, n: int) -> None:
    average = average_with_running_average(save_epoch(tmp_path, 1, m), save_epoch(tmp_path, 2, n))
    between = [weights(s) for s in range(m + PERIOD, n + 1, PERIOD)]
    for name in ("w", "half"):
        expected = torch.stack([x[name].double() for x in between]).mean(dim=0)
        torch.testing.assert_close(average[name], expected.to(weights(1)[name].dtype))
    assert average["count"] == n


def test_running_averages_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    first, second = save_epoch(tmp_path, 1, 8), save_epoch(tmp_path, 2, 16)
    with pytest.raises(DataError, match="must come after"):
        average_with_running_average(second, first)


def test_load_averaged_options_mean_the_same_as_in_icefall(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 4):
        save_epoch(tmp_path, epoch, 8 * epoch)

    def w(epoch: int | None, avg: int, use_averaged_model: bool) -> torch.Tensor:
        return load_averaged(tmp_path, epoch, avg, use_averaged_model)["w"].float()

    torch.testing.assert_close(w(3, 1, False), weights(24)["w"])
    torch.testing.assert_close(w(None, 1, False), weights(32)["w"])
    torch.testing.assert_close(w(4, 2, False), (weights(24)["w"] + weights(32)["w"]) / 2)
    torch.testing.assert_close(w(4, 2, True), torch.stack([weights(s)["w"] for s in (20, 24, 28, 32)]).mean(dim=0))
    torch.testing.assert_close(w(3, 3, True), running_average(24)["w"].float())  # from the first step on
    with pytest.raises(DataError, match=r"no checkpoint .*epoch-7\.pt \(.* has epoch-1\.pt"):
        w(7, 1, False)
    for use_averaged_model in (True, False):
        with pytest.raises(DataError, match=r"--avg 4 needs 4 epochs up to epoch-3\.pt: take --avg 3 or less"):
            w(3, 4, use_averaged_model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no epoch-N\.pt"):
        load_averaged(tmp_path / "empty", None, 1, False)


@pytest.mark.parametrize("killed_in", ["torch.save", "os.replace", "ml2021.training.checkpoint.write_text"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_kill_while_saving_leaves_the_old_or_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, killed_in: str, overwrite: bool
) -> None:
    """Also if the file existed: a run that restarted from an earlier epoch overwrites later ones."""
    save_epoch(tmp_path, 1, 8)
    save_epoch(tmp_path, 2, 16)
    number = 2 if overwrite else 3

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    def no_clean_up(path: Path, missing_ok: bool = False) -> None:
        if path.suffix != ".tmp" and (path.exists() or not missing_ok):
            os.remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(killed_in, kill)
        patch.setattr(Path, "unlink", no_clean_up)  # a killed process does not clean up
        with pytest.raises(KeyboardInterrupt):
            save_epoch(tmp_path, number, 24)
    newest = newest_checkpoint(tmp_path)
    new_is_saved = killed_in == "ml2021.training.checkpoint.write_text"
    assert newest is not None and "damaged" not in caplog.text
    assert newest[1]["batch_idx_train"] == (24 if new_is_saved else 16)
    assert any(p.suffix == ".tmp" for p in tmp_path.iterdir()) != new_is_saved
    remove_unfinished(tmp_path)
    assert not any(p.suffix == ".tmp" for p in tmp_path.iterdir())
