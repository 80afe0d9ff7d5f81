"""What makes a stage run again, and what it does with long work that was done with other options or inputs."""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lhotse_prep.workflow import stage as stage_module
from lhotse_prep.workflow.digests import digest_bytes, digest_file
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.result_options import FILE, HOW_IT_RUNS, all_but, only_if, result_options
from lhotse_prep.workflow.stage import Input, Stage, read_done
from lhotse_prep.workflow.stage_record import changes, read_record


@dataclass(frozen=True)
class Oven:
    """A nested configuration."""

    degrees: float = 200.0
    colour: str = "white"
    lamps: int = field(default=1, metadata=HOW_IT_RUNS)


@dataclass(frozen=True)
class Recipe:
    """A configuration with fields of every kind."""

    rate: float = 1.0
    rounds: int = 5
    num_workers: int = field(default=0, metadata=HOW_IT_RUNS)
    kind: str = "cake"
    yeast: float = field(default=0.1, metadata=only_if(kind="bread"))
    book: str | None = field(default=None, metadata=FILE)
    oven: Oven = field(default_factory=Oven, metadata=all_but("colour"))


@dataclass
class Kitchen:
    """A resumable stage with one input, and what it finds in its folder when it begins."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "exp" / "cake"

    def stage(self, recipe: Recipe, redo: bool = False, recorded: Mapping[str, Any] | None = None) -> Stage:
        return Stage(
            "bake",
            self.out,
            [Input(self.folder / "flour.txt")],
            {"recipe": recipe},
            resumable=True,
            redo=redo,
            continued=["recipe.rounds"],
            read_options=lambda _: recorded,
        )

    def bake(self, recipe: Recipe, redo: bool = False, recorded: Mapping[str, Any] | None = None) -> str | None:
        """Run the stage; returns the recipe that it goes on with ("": it begins anew), None if it is up to date."""
        stage = self.stage(recipe, redo, recorded)
        if stage.is_done():
            return None
        with stage.work() as out:
            old = (out / "epoch-1.pt").read_text() if (out / "epoch-1.pt").exists() else ""
            (out / "epoch-1.pt").write_text(old or str(recipe.rate))
        return old

    def takes(self, seconds: float) -> None:
        """Make the finished work one that took so long."""
        done = read_done(self.out)
        assert done is not None
        (self.out / ".done").write_text(json.dumps(done | {"worked": seconds}))


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    (tmp_path / "flour.txt").write_text("wheat")
    return Kitchen(tmp_path)


def asides(kitchen: Kitchen) -> list[str]:
    return sorted(p.name for p in kitchen.out.parent.glob("cake.before-*"))


def test_options_that_change_no_result_are_not_compared() -> None:
    names = {"rate", "rounds", "kind", "oven.degrees"}
    assert result_options(Recipe()).keys() == names
    assert result_options(Recipe(kind="bread")).keys() == names | {"yeast"}
    assert result_options({"a": Recipe(), "b": [1, 2]})["b"] == [1, 2]


@pytest.mark.parametrize(
    "other",
    [
        Recipe(num_workers=3),
        Recipe(yeast=0.5),
        Recipe(book="/x"),
        Recipe(oven=Oven(lamps=3)),
        Recipe(oven=Oven(colour="red")),
    ],
)
def test_a_change_that_changes_no_result_leaves_the_work(kitchen: Kitchen, other: Recipe) -> None:
    assert kitchen.bake(Recipe()) == ""
    assert kitchen.bake(other) is None


def test_long_work_is_set_aside_only_when_told_to(kitchen: Kitchen) -> None:
    kitchen.bake(Recipe(rate=1.0))
    kitchen.takes(7000.0)
    (kitchen.folder / "flour.txt").write_text("rye")
    other = Recipe(rate=2.5, kind="bread", oven=Oven(degrees=180.0))
    for _ in range(2):
        with pytest.raises(DataError) as error:
            kitchen.bake(other)
    message = str(error.value)
    for part in (
        "117 min of work",
        "recipe.rate was 1.0 and is 2.5",
        'recipe.kind was "cake" and is "bread"',
        "recipe.oven.degrees was 200.0 and is 180.0",
        "flour.txt has other content",
        "--redo",
        "cake.before-DATE",
        "undo the change",
    ):
        assert part in message
    assert "yeast" not in message and "\n" not in message
    assert asides(kitchen) == [] and (kitchen.out / "epoch-1.pt").read_text() == "1.0"
    assert kitchen.bake(other, redo=True) == ""
    (aside,) = asides(kitchen)
    assert (kitchen.out.parent / aside / "epoch-1.pt").read_text() == "1.0"
    assert kitchen.bake(other, redo=True) is None, "up to date: nothing to set aside"


def test_undoing_the_change_finds_the_work_as_it_was(kitchen: Kitchen) -> None:
    kitchen.bake(Recipe())
    kitchen.takes(100.0)
    with pytest.raises(DataError, match="100 s of work"):
        kitchen.bake(Recipe(rate=2.0))
    assert kitchen.bake(Recipe()) is None


def test_work_of_less_than_a_minute_is_set_aside_unasked(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    kitchen.bake(Recipe())
    assert kitchen.bake(Recipe(rate=2.0)) == ""
    assert len(asides(kitchen)) == 1 and "recipe.rate was 1.0 and is 2.0" in caplog.text


def test_more_rounds_go_on_however_long_the_work_took(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    kitchen.bake(Recipe(rounds=5))
    kitchen.takes(7000.0)
    assert kitchen.bake(Recipe(rounds=9)) == "1.0" and asides(kitchen) == []
    assert "going on with the work in" in caplog.text and "recipe.rounds was 5 and is 9" in caplog.text
    assert kitchen.bake(Recipe(rounds=9)) is None
    done = read_done(kitchen.out)
    assert done is not None and done["seconds"] > 7000


def begin_and_die(kitchen: Kitchen, recipe: Recipe, seconds: float) -> None:
    """As a run that is killed after some time."""
    with pytest.raises(KeyboardInterrupt), kitchen.stage(recipe).work() as out:
        (out / "epoch-1.pt").write_text(str(recipe.rate))
        raise KeyboardInterrupt
    key = json.loads((kitchen.out / ".key").read_text())
    (kitchen.out / ".key").write_text(json.dumps(key | {"started": key["started"] - seconds}))


def test_unfinished_work_counts_the_time_of_all_runs(kitchen: Kitchen) -> None:
    begin_and_die(kitchen, Recipe(), 40.0)
    assert kitchen.bake(Recipe()) == "1.0"
    (kitchen.out / ".done").unlink()
    begin_and_die(kitchen, Recipe(), 50.0)
    with pytest.raises(DataError, match=r"(9\d|1\d\d) s of work"):
        kitchen.bake(Recipe(rate=3.0))
    begin_and_die(kitchen, Recipe(), 0.0)  # the right ones still go on


@pytest.mark.parametrize("changed", [{"worked": None}, {"worked": "x"}, {"worked": math.nan}, {"started": 9e12}])
def test_work_of_unknown_length_is_not_set_aside_unasked(kitchen: Kitchen, changed: dict[str, Any]) -> None:
    """The record is damaged, or the clock was put back after the work had begun."""
    begin_and_die(kitchen, Recipe(rate=1.0), 3600)
    os.utime(kitchen.out / "epoch-1.pt", (0, 0))
    (kitchen.out / "epoch-2.pt").touch()
    key = kitchen.out / ".key"
    key.write_text(json.dumps(json.loads(key.read_text()) | changed))
    with pytest.raises(DataError, match="of work of bake with other options.*: recipe.rate was 1.0 and is 2.0"):
        kitchen.bake(Recipe(rate=2.0))
    assert not asides(kitchen)


def test_short_unfinished_work_is_set_aside_unasked(kitchen: Kitchen) -> None:
    begin_and_die(kitchen, Recipe(), 20.0)
    assert kitchen.bake(Recipe(rate=3.0)) == "" and len(asides(kitchen)) == 1


def test_results_of_other_stages_inside_the_folder_are_no_time_of_its_work(kitchen: Kitchen) -> None:
    begin_and_die(kitchen, Recipe(), 20.0)
    (kitchen.out / "decoded").mkdir()
    for name in (".done", "recogs.txt"):
        (kitchen.out / "decoded" / name).write_text("{}")
        os.utime(kitchen.out / "decoded" / name, (time.time() + 5000,) * 2)
    assert kitchen.bake(Recipe(rate=3.0)) == ""


def test_work_without_a_record_is_never_moved_or_begun_anew(kitchen: Kitchen) -> None:
    kitchen.out.mkdir(parents=True)
    (kitchen.out / "epoch-1.pt").write_text("by hand")
    with pytest.raises(DataError, match="nothing in it says with what options and inputs it was made.*--redo"):
        kitchen.bake(Recipe())
    with pytest.raises(DataError, match=r"recipe\.rate was 7\.0 and is 1\.0"):
        kitchen.bake(Recipe(), recorded={"recipe": Recipe(rate=7.0)})
    assert kitchen.bake(Recipe(), recorded={"recipe": Recipe(num_workers=4, rounds=1)}) == "by hand"
    assert asides(kitchen) == [] and kitchen.bake(Recipe()) is None


def test_work_that_was_begun_by_hand_goes_on(kitchen: Kitchen) -> None:
    kitchen.bake(Recipe(rate=2.0))
    kitchen.stage(Recipe(rate=1.0)).begin()
    assert read_done(kitchen.out) is None, "the results of before are no longer there"
    kitchen.out.joinpath("epoch-1.pt").write_text("by hand")
    assert kitchen.bake(Recipe(rate=1.0)) == "by hand" and asides(kitchen) == []


def test_other_options_by_hand_are_said(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    begin_and_die(kitchen, Recipe(rate=1.0), 3600)
    kitchen.stage(Recipe(rate=1.0, rounds=9)).begin()
    assert not caplog.records
    kitchen.stage(Recipe(rate=2.0)).begin()
    assert "begun with other options or inputs: recipe.rate was 1.0 and is 2.0" in caplog.text


def old_version(kitchen: Kitchen, recipe: Mapping[str, Any], done: bool) -> None:
    """As version 0.2 left its work: a hash of all options and of the inputs' bytes."""
    inputs = f"\nflour.txt:{digest_file(kitchen.folder / 'flour.txt')}"
    key = digest_bytes(f"bake{json.dumps({'recipe': recipe}, sort_keys=True)}{inputs}".encode())
    kitchen.out.mkdir(parents=True)
    (kitchen.out / "epoch-1.pt").write_text("old")
    (kitchen.out / ".key").write_text(key)
    if done:
        outputs = {"epoch-1.pt": digest_file(kitchen.out / "epoch-1.pt")}
        content = {"stage": "bake", "key": key, "seconds": 900.0, "outputs": outputs}
        (kitchen.out / ".done").write_text(json.dumps(content))


def as_json(recipe: Recipe) -> dict[str, Any]:
    return {**vars(recipe), "oven": vars(recipe.oven)}


def test_work_of_version_02_is_accepted(kitchen: Kitchen) -> None:
    old_version(kitchen, as_json(Recipe(rate=3.0)), done=True)
    assert kitchen.bake(Recipe(rate=3.0)) is None
    with pytest.raises(DataError, match=r"15 min of work.*recipe\.rate was 3\.0 and is 4\.0"):
        kitchen.bake(Recipe(rate=4.0))
    assert kitchen.bake(Recipe(rate=3.0, num_workers=5)) is None, "from now on by what counts"


def test_unfinished_work_of_version_02_goes_on(kitchen: Kitchen) -> None:
    old_version(kitchen, as_json(Recipe(rate=3.0)), done=False)
    assert kitchen.bake(Recipe(rate=3.0)) == "old"


def test_other_work_of_version_02_is_compared_by_its_configuration(kitchen: Kitchen) -> None:
    old_version(kitchen, {"a field that is gone": 1}, done=True)
    with pytest.raises(DataError, match="an earlier version made it"):
        kitchen.bake(Recipe())
    assert kitchen.bake(Recipe(), recorded={"recipe": Recipe()}) == "old"


def test_other_work_of_version_02_is_set_aside_by_redo(kitchen: Kitchen) -> None:
    old_version(kitchen, as_json(Recipe()), done=True)
    (kitchen.folder / "flour.txt").write_text("rye")  # what the training would refuse to go on with
    assert kitchen.bake(Recipe(), redo=True, recorded={"recipe": Recipe()}) == ""
    assert len(asides(kitchen)) == 1


def test_a_new_option_with_its_default_is_no_change(kitchen: Kitchen) -> None:
    kitchen.bake(Recipe())
    done = read_done(kitchen.out)
    assert done is not None
    del done["options"]["recipe.oven.degrees"]
    record = read_record(done)
    assert record is not None
    defaults = {"recipe.oven.degrees": 200.0}
    assert changes(record, kitchen.stage(Recipe()).record, defaults) == []
    (change,) = changes(record, kitchen.stage(Recipe(oven=Oven(180.0))).record, defaults)
    assert change.text == "recipe.oven.degrees was 200.0 and is 180.0"
    older = replace(record, options=record.options | {"gone": 1})
    assert changes(older, kitchen.stage(Recipe()).record, defaults) == []


@dataclass
class Chain:
    """Two stages: the second reads the packed lines, the log and the model that the first writes."""

    folder: Path
    written_at: float  # time in the header of the packed file
    num_runs: int = 0

    def run(self, content: str = "x", log: str = "", files: tuple[str, ...] = ("*",)) -> bool:
        """Run the first stage with an option that changes nothing, then the second; whether the second had work."""
        self.num_runs += 1
        first = Stage("first", self.folder / "first", [], {"run": self.num_runs})
        with first.work() as out:
            (out / "log").mkdir()
            (out / "log" / f"train-{self.written_at}.txt").write_text(log)
            (out / "model.pt").write_text(content)
            line = json.dumps({"path": f"{self.folder}/first/x.wav", "text": content})
            with (
                open(out / "cuts.jsonl.gz", "wb") as raw,
                gzip.GzipFile("", "wb", fileobj=raw, mtime=self.written_at) as f,
            ):
                f.write(f"{line}\n".encode())
        second = Stage("second", self.folder / "second", [Input(self.folder / "first", 1, files)], {})
        if second.is_done():
            return False
        with second.work() as out:
            (out / "y").write_text(content)
        return True


def test_equal_results_made_at_another_time_make_no_stage_run_again(tmp_path: Path) -> None:
    chain = Chain(tmp_path, written_at=1.0)
    assert chain.run()
    chain.written_at = 2e9
    assert not chain.run(log="slower") and chain.run("y") and not chain.run("y")


def test_equal_results_in_another_folder_have_equal_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for i, name in enumerate(("a", "b")):
        chain = Chain(tmp_path / name, written_at=float(i))
        chain.run()
        digests.append(read_done(tmp_path / name / "first"))
    monkeypatch.chdir(tmp_path)
    Chain(Path("c"), written_at=5.0).run()
    digests.append(read_done(tmp_path / "c" / "first"))
    outputs = [{k: v for k, v in d["outputs"].items() if not k.startswith("log/")} for d in digests if d is not None]
    assert len(outputs) == 3 and outputs[0] == outputs[1] == outputs[2]


def test_files_that_a_stage_does_not_read_do_not_count(tmp_path: Path) -> None:
    chain = Chain(tmp_path, written_at=1.0)
    assert chain.run(files=("*.gz",))
    (tmp_path / "first" / "model.pt").write_text("z")
    done = read_done(tmp_path / "first")
    assert done is not None
    (tmp_path / "first" / ".done").write_text(json.dumps(done | {"outputs": done["outputs"] | {"model.pt": "other"}}))
    stage = Stage("second", tmp_path / "second", [Input(tmp_path / "first", 1, ("*.gz",))], {})
    assert stage.is_done()


def test_a_users_files_may_be_moved_touched_and_copied(tmp_path: Path) -> None:
    def run(corpus: Path) -> bool:
        stage = Stage("s", tmp_path / "o", [Input(corpus)], {})
        if stage.is_done():
            return False
        with stage.work() as out:
            (out / "x").touch()
        return True

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("a.txt", "b.txt"):
        (corpus / name).write_text(name)
        os.utime(corpus / name, (1e9, 1e9))
    assert run(corpus) and not run(corpus)
    corpus.rename(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "a.txt")
    (tmp_path / "elsewhere" / ".DS_Store").touch()
    assert not run(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "b.txt").write_text("b.TXT")  # as long as before
    assert run(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "b.txt").rename(tmp_path / "elsewhere" / "c.txt")
    assert run(tmp_path / "elsewhere")


@pytest.mark.parametrize("fails", [False, True])
def test_large_corpora_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    (tmp_path / "a.wav").write_text("x")
    os.utime(tmp_path / "a.wav", (1e9, 1e9))
    with suppress(RuntimeError), Stage("s", tmp_path / "o", [Input(tmp_path / "a.wav")], {}).work():
        if fails:
            raise RuntimeError
    monkeypatch.setattr("lhotse_prep.workflow.stage_record.digest_content", lambda *_: 1 / 0)
    assert Stage("s", tmp_path / "o", [Input(tmp_path / "a.wav")], {}).is_done() is not fails


def test_the_limit_is_a_minute() -> None:
    assert stage_module.LONG == 60.0
