"""Stage 6 decodes test and dev, and says how much of the transcripts the windows hold; a stub decodes."""

from __future__ import annotations

import json
import logging
import runpy
from pathlib import Path
from typing import Any

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment

from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode import heads, windows
from ml2021.scoring.counts import ErrorRate
from ml2021.scoring.icefall_files import write_icefall_files

TRANSCRIPT = "我 們 用 deep net 來 做 機 器 learning"  # 7 Chinese characters, 3 English words
IN_WINDOW = "我 們 用 deep net 來"
HYPOTHESES = {"test": "我 們 用 deep nets 來", "dev": "我 們 用"}


def finish(folder: Path) -> None:
    """Mark a folder as the finished output of an earlier stage."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".done").write_text(json.dumps({"key": "", "seconds": 0, "outputs": {}}))


def make_part(data: Path, part: str) -> None:
    """A lecture of ten words, six of which are in its only window."""
    lecture = SupervisionSegment(part, part, 0.0, 10.0, text=TRANSCRIPT)
    write_manifest(data / "manifests" / f"ml2021_supervisions_{part}.jsonl.gz", [lecture])
    supervision = SupervisionSegment(part, part, 0.0, 5.0, text=IN_WINDOW)
    recording = Recording(part, [], 16_000, 160_000, 10.0)
    cut = MonoCut(f"{part}-0000", 0.0, 5.0, 0, recording=recording, supervisions=[supervision])
    write_manifest(data / "cuts" / f"ml2021_cuts_{part}.jsonl.gz", [cut])


@pytest.fixture
def data(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A folder with finished stages 1, 4 and 5, whose only part is test."""

    def decode_parts(
        exp_dir: Path, cuts: Path, parts: list[str], out: Path, config: Any, weights: None, suffix: str
    ) -> dict[str, ErrorRate]:
        pairs = {part: [(f"{part}-0000", IN_WINDOW, HYPOTHESES[part])] for part in parts}
        return {p: write_icefall_files(out, p, suffix, config.decoding_method, rows) for p, rows in pairs.items()}

    monkeypatch.chdir(project)
    monkeypatch.setattr(windows, "decode_parts", decode_parts)
    monkeypatch.setattr(heads, "compare_heads", lambda *_: None)
    caplog.set_level(logging.INFO)
    make_part(tmp_path, "test")
    for folder in ("manifests", "cuts", "asr"):
        finish(tmp_path / folder)
    return tmp_path


def run_stage_6(project: Path, data: Path) -> dict[str, Any]:
    """Run the stage; returns the content of scores.json."""
    runpy.run_path(str(project / "local" / "asr_decode.py"))["main"](
        ["--conf", "conf/smoke", "--data", str(data), "--exp", str(data)]
    )
    scores: dict[str, Any] = json.loads((data / "asr" / "greedy_search" / "scores.json").read_text())
    return scores


def test_both_parts_are_decoded_and_words_without_times_count(
    project: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_part(data, "dev")
    assert run_stage_6(project, data) == {
        "mer_windows": {"mer": 16.667, "zh": 0.0, "en": 50.0},
        "coverage_windows": {"percent": 60.0, "words": 6, "words_transcribed": 10},
        "mer_windows_complete": {"mer": 50.0, "zh": 42.857, "en": 66.667},
        "mer_windows_dev": {"mer": 50.0, "zh": 25.0, "en": 100.0},
        "coverage_windows_dev": {"percent": 60.0, "words": 6, "words_transcribed": 10},
        "mer_windows_complete_dev": {"mer": 70.0, "zh": 57.143, "en": 100.0},
    }
    names = {p.name for p in (data / "asr" / "greedy_search").glob("*.txt")}
    kinds = ("recogs", "errs", "wer-summary", "mer")
    assert names == {f"{kind}-{part}-greedy_search-blank-penalty-4.txt" for kind in kinds for part in ("test", "dev")}
    assert (
        "test: MER of windows 16.67% (1 / 6: 0 ins, 0 del, 1 sub); windows hold 60.00% of the transcripts' words (6 / "
        "10); with the others as deletions, MER 50.00% (5 / 10: 0 ins, 4 del, 1 sub)"
    ) in caplog.text


def test_script_is_an_option_that_results_depend_on(project: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = runpy.run_path(str(project / "local" / "asr_decode.py"))["main"]
    scripts = []
    decode_parts = windows.decode_parts

    def recording_script(*arguments: Any) -> dict[str, ErrorRate]:
        scripts.append(arguments[4].script)
        return decode_parts(*arguments)

    monkeypatch.setattr(windows, "decode_parts", recording_script)
    arguments = ["--conf", "conf/smoke", "--data", str(data), "--exp", str(data)]
    for script in ([], ["--script", "s2twp"], ["--script", "s2twp"]):  # the last has nothing to do
        main([*arguments, *script])
    assert scripts == ["", "s2twp"]
    assert list((data / "asr" / "greedy_search").glob("wer-summary-test-*-s2twp.txt"))
    with pytest.raises(ConfigError, match="script must be one of .*s2twp"):
        main([*arguments, "--script", "taiwan"])


def test_both_heads_are_compared_once_for_a_model(project: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_part(data, "dev")
    calls = []

    def compare_heads(*arguments: Any) -> None:
        calls.append(arguments[3])
        (arguments[2] / "heads.json").write_text("{}")

    monkeypatch.setattr(heads, "compare_heads", compare_heads)
    main = runpy.run_path(str(project / "local" / "asr_decode.py"))["main"]
    conf = data / "conf"
    conf.mkdir()
    arguments = ["--conf", str(conf), "--data", str(data), "--exp", str(data)]
    for method, both_heads in (("greedy_search", False), ("greedy_search", True), ("ctc_greedy_search", True)):
        section = f"decode: {{decoding_method: {method}, both_heads: {str(both_heads).lower()}}}\n"
        (conf / "decode.yaml").write_text(section)
        main(arguments)
        assert calls == [""] * both_heads
        assert (data / "asr" / "heads" / "dev" / "heads.json").exists() == both_heads
    (data / "asr" / "pretrained.pt").touch()  # another model
    (data / "asr" / ".done").write_text(json.dumps({"key": "", "seconds": 0, "outputs": {"pretrained.pt": "1"}}))
    main(arguments)
    assert calls == ["", ""]


@pytest.mark.parametrize("has_file", [True, False])
def test_dev_part_without_windows_is_fine(
    project: Path, data: Path, caplog: pytest.LogCaptureFixture, has_file: bool
) -> None:
    if has_file:
        write_manifest(data / "cuts" / "ml2021_cuts_dev.jsonl.gz", [])
    scores = run_stage_6(project, data)
    assert scores.keys() == {"mer_windows", "coverage_windows", "mer_windows_complete"}
    assert "dev: it has no windows, so it is not decoded" in caplog.text


def test_windows_of_other_manifests_are_refused(project: Path, data: Path) -> None:
    lecture = SupervisionSegment("test", "test", 0.0, 10.0, text="我 們")
    write_manifest(data / "manifests" / "ml2021_supervisions_test.jsonl.gz", [lecture])
    with pytest.raises(DataError, match="have 6 words, but their transcripts 2: .*run stages 3 and 4 again"):
        run_stage_6(project, data)


def test_what_icefall_does_not_use_is_said(
    project: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configs = []

    def decode_with_icefall(*arguments: Any) -> dict[str, ErrorRate]:
        configs.append(arguments[4])
        return {}

    monkeypatch.setattr("ml2021.asr.icefall.checkout.find_checkout", lambda *_: None)
    monkeypatch.setattr("ml2021.asr.icefall.decode.decode_with_icefall", decode_with_icefall)
    (data / "decode.yaml").write_text("decode: {decoding_method: modified_beam_search, ilm_scale: 0.2}")
    (data / "asr.yaml").touch()
    main = runpy.run_path(str(project / "local" / "asr_decode.py"))["main"]
    main(["--conf", str(data), "--data", str(data), "--exp", str(data), "--trainer", "icefall"])
    assert "icefall's decode.py does not use lm_scale, lodr_scale, ilm_scale" in caplog.text
    assert [config.ilm_scale for config in configs] == [0.0]
