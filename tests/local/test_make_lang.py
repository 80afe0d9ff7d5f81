"""Stage 2 learns tokens from all training transcripts, including those of lectures without audio or translation."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from lhotse import SupervisionSegment

from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow.files import write_jsonl


@pytest.mark.parametrize("has_more", [False, True])
def test_english_of_untranslated_lectures_becomes_pieces(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_more: bool
) -> None:
    monkeypatch.chdir(project)
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / ".done").write_text('{"key": "", "seconds": 0, "outputs": {}}')
    spoken = [SupervisionSegment("l0", "l0", 0.0, 1.0, text="我 們 講 bert")]
    write_manifest(manifests / "ml2021_supervisions_train.jsonl.gz", spoken)
    write_jsonl(manifests / "texts.jsonl", [{"id": "t", "text": "講 adam", "translation": "On Adam."}])
    if has_more:
        write_jsonl(manifests / "untranslated.jsonl", [{"id": "u", "text": "講 quokka " * 20}])
    runpy.run_path(str(project / "local" / "make_lang.py"))["main"](
        ["--conf", "conf/smoke", "--data", str(tmp_path), "--exp", str(tmp_path)]
    )
    symbols = load_lang(tmp_path / "lang").symbols
    assert "a" in symbols and ("k" in symbols) == has_more
