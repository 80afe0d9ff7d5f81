"""Stage 8 goes on with a translator that is there, or says why it does not fit; a stub trains."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.mt.config import MtConfig


class Stage8:
    """local/mt_train.py with a training that leaves one checkpoint."""

    def __init__(self, folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.conf, self.mt = folder, folder / "conf", folder / "exp" / "mt"
        self.script = str(project / "local" / "mt_train.py")
        self.conf.mkdir()
        self.write("{}")
        with Stage("bitext", folder / "data" / "bitext", [], {}).work() as out:
            (out / "train.jsonl").touch()
        monkeypatch.setattr("ml2021.mt.train.train_translator", self._train)
        self.num_trained = 0

    def write(self, train: str, init_from: str = "") -> None:
        self.values = f"mt: {{train: {train}, init_from: '{init_from}'}}"
        (self.conf / "mt.yaml").write_text(self.values)

    def config(self) -> MtConfig:
        return load_config(self.conf / "mt.yaml", "mt", MtConfig)

    def _train(self, bitext: Path, out: Path, config: MtConfig) -> None:
        if not (out / "epoch-1.pt").exists():
            self.num_trained += 1
            (out / "epoch-1.pt").touch()
        write_json(out / "config.json", to_mapping(config))

    def run(self, *options: str) -> None:
        folders = ["--data", str(self.folder / "data"), "--exp", str(self.folder / "exp")]
        runpy.run_path(self.script)["main"](["--conf", str(self.conf), *folders, *options])


@pytest.fixture
def stage_8(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Stage8:
    return Stage8(tmp_path, project, monkeypatch)


def test_a_translator_without_a_record_is_taken_over_if_it_fits(stage_8: Stage8) -> None:
    stage_8.mt.mkdir(parents=True)
    (stage_8.mt / "epoch-1.pt").touch()
    with pytest.raises(DataError, match="nothing in it says"):
        stage_8.run()
    other = replace(stage_8.config(), train=replace(stage_8.config().train, base_lr=0.5))
    write_json(stage_8.mt / "config.json", to_mapping(other))
    with pytest.raises(DataError, match=r"mt\.train\.base_lr was 0\.5 and is 0\.001"):
        stage_8.run()
    write_json(stage_8.mt / "config.json", to_mapping(stage_8.config()))
    stage_8.write("{log_interval: 7, num_epochs: 99}")
    stage_8.run()
    assert stage_8.num_trained == 0 and not list(stage_8.mt.parent.glob("mt.before-*"))


def test_another_model_to_start_from_is_a_change_wherever_it_lies(stage_8: Stage8, tmp_path: Path) -> None:
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(content)
    stage_8.write("{}", str(tmp_path / "a"))
    stage_8.run()
    done = json.loads((stage_8.mt / ".done").read_text())
    (stage_8.mt / ".done").write_text(json.dumps(done | {"worked": 100.0}))
    stage_8.run("--init-from", str(tmp_path / "b"))
    assert stage_8.num_trained == 1
    with pytest.raises(DataError, match="c has other content"):
        stage_8.run("--init-from", str(tmp_path / "c"))
    with pytest.raises(DataError, match='init_from was "a folder" and is ""'):
        stage_8.run("--init-from", "")
    stage_8.run("--init-from", str(tmp_path / "c"), "--redo")
    assert stage_8.num_trained == 2
