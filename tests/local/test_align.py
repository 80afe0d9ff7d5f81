"""Stage 3 uses the model of --aligner-model, and remembers it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.config import AlignerConfig


class Stage3:
    """local/align.py with an alignment that does nothing: which model each run uses, or None if it does not align."""

    def __init__(self, folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.script = folder, str(project / "local" / "align.py")
        (folder / "manifests").mkdir()
        (folder / "manifests" / ".done").write_text('{"key": "", "seconds": 0, "outputs": {}}')
        self.models: list[str] = []
        monkeypatch.setattr("ml2021.asr.aligner.align_corpus.align_corpus", self._align)

    def _align(self, manifests: Path, truth: Path, out: Path, config: AlignerConfig, *others: object) -> None:
        self.models.append(config.model)

    def run(self, *options: str) -> str | None:
        self.models.clear()
        folders = ["--conf", "conf/smoke", "--data", str(self.folder), "--exp", str(self.folder)]
        runpy.run_path(self.script)["main"]([*folders, *options])
        return self.models[0] if self.models else None


@pytest.fixture
def stage3(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Stage3:
    monkeypatch.chdir(project)
    return Stage3(tmp_path, project, monkeypatch)


def test_model_of_the_command_line_is_remembered_until_another_is_given(stage3: Stage3, tmp_path: Path) -> None:
    words, others = str(tmp_path / "words.ctm"), str(tmp_path / "others.ctm")
    Path(words).write_text("l0 1 0.0 0.1 a\n")
    Path(others).write_text("l0 1 0.5 0.1 a\n")
    assert stage3.run() == ""
    assert stage3.run("--aligner-model", words) == words
    assert stage3.run() is None  # done, with the words
    Path(words).write_text("l0 1 0.2 0.1 a\n")
    assert stage3.run() == words  # other words: again, with them
    assert stage3.run("--aligner-model", others) == others and stage3.run() is None
    assert stage3.run("--aligner-model", "none") == "" and stage3.run() is None


def test_remembered_model_that_is_gone_is_an_error(stage3: Stage3, tmp_path: Path) -> None:
    words = tmp_path / "words.ctm"
    words.write_text("l0 1 0.0 0.1 a\n")
    stage3.run("--aligner-model", str(words))
    words.unlink()
    with pytest.raises(DataError, match=r"made with --aligner-model .*words\.ctm, which is gone.*--aligner-model none"):
        stage3.run()
    (tmp_path / "aligned" / "given.json").write_text("{")
    with pytest.raises(DataError, match=r"given\.json is damaged; remove it"):
        stage3.run()
