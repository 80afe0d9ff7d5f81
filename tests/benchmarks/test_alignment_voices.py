"""The benchmark of times on people's voices: its statistics, its lists and its picture, on examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem
from matplotlib import image

from benchmarks import alignment_voices as benchmark
from benchmarks import edge_errors
from benchmarks.stages import run_stage
from lhotse_prep.workflow.errors import ConfigError, DataError


def stretch(first: int, *words: tuple[str, float, float, float]) -> SupervisionSegment:
    """A stretch of words, each with start, end and score; first: the index of its first word."""
    items = [AlignmentItem(text, start, round(end - start, 4), score) for text, start, end, score in words]
    begin, end = words[0][1], words[-1][2]
    return SupervisionSegment(
        f"x-{first}", "x", begin, end - begin, alignment={"word": items}, custom={"first_token": first}
    )


TRANSCRIPT = {"x": [*"甲乙丙丁戊己庚"]}
TRUTH = {"x": [(1.0, 2.0, "甲 乙"), (3.0, 4.0, "丙 丁"), (5.0, 6.0, "戊"), (7.0, 8.0, "己 庚")]}
# starts off by 0.1, 0.3, none, 1.0; ends off by 0.05, none, none, 3.0
STRETCHES = {
    "x": [
        stretch(0, ("甲", 1.1, 1.5, 0.9), ("乙", 1.5, 2.05, 0.8)),
        stretch(2, ("丙", 3.3, 3.6, 0.7)),
        stretch(5, ("己", 8.0, 9.0, 0.1), ("庚", 9.0, 11.0, 0.2)),
    ]
}


@pytest.fixture()
def result() -> edge_errors.Result:
    return edge_errors.result_of(STRETCHES, TRANSCRIPT, TRUTH)


def test_errors_and_scores_are_those_of_the_first_and_last_words(result: edge_errors.Result) -> None:
    assert result.start.errors == pytest.approx([0.1, 0.3, np.inf, 1.0])
    assert result.start.scores == [0.9, 0.7, 0.0, 0.1]
    assert result.end.errors == pytest.approx([0.05, np.inf, np.inf, 3.0])
    assert result.end.scores == [0.8, 0.0, 0.0, 0.2]


def test_an_utterance_without_a_time_is_far_off(result: edge_errors.Result) -> None:
    # of four starts, sorted 0.1, 0.3, 1.0, inf, three are more than 0.2 s off, two 0.5 s, one 2 s
    start, end = result.rows("voices", "no model")
    assert len(edge_errors.COLUMNS) == start.count("|") - 1 == end.count("|") - 1
    head, _, cells = start.partition(" start | ")
    assert head == "| voices | no model |"
    assert cells == "4 | 1000 | inf | 1000 | 75.0% | 50.0% | 25.0% | 1 | 0.70 | 0.10 |"
    assert end.endswith(" end | 4 | inf | inf | 3000 | 75.0% | 75.0% | 75.0% | 2 | 0.50 | 0.20 |")


def test_no_times_at_all() -> None:
    start, _ = edge_errors.result_of({}, TRANSCRIPT, TRUTH).rows("voices", "no model")
    assert start.endswith(" start | 4 | inf | inf | inf | 100.0% | 100.0% | 100.0% | 4 | - | - |")


def test_words_without_a_time_are_listed(result: edge_errors.Result) -> None:
    assert result.untimed == [edge_errors.UntimedWords("x", 3, ("丁", "戊"))]
    lines = result.untimed_lines("voices", "no model", 20)
    assert lines == ["- voices, no model: 2 of 7 words have no time", "  - x, from word 3 on: 丁 戊"]
    scattered = edge_errors.result_of({"x": [stretch(1, ("乙", 1.5, 2.0, 1.0))]}, TRANSCRIPT, TRUTH)
    assert scattered.untimed_lines("voices", "no model", 1)[1:] == [
        "  - x, from word 0 on: 甲",
        "  - and 1 more runs of words",
    ]


def test_the_picture(result: edge_errors.Result, tmp_path: Path) -> None:
    nothing = edge_errors.result_of({}, TRANSCRIPT, TRUTH)
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    edge_errors.plot({("a", "no model"): result, ("a", "model x"): nothing}, one)
    edge_errors.plot({("a", "no model"): result, ("b", "no model"): result}, two)
    heights = [len(image.imread(str(path))) for path in (one, two)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)  # a row for each corpus


def test_a_corpus_without_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    arguments = ["--corpus", str(tmp_path / "voices"), "--from", "none", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^\S*voices: no truth/NAME.json with [^\n]*$"):
        benchmark.main(arguments)
    assert not (tmp_path / "out").exists()


def test_another_kind_of_times_is_refused(tmp_path: Path) -> None:
    corpus = benchmark.Corpus("voices", tmp_path, {}, TRANSCRIPT, TRUTH)
    for source in ("model", "model=", "nothing"):
        with pytest.raises(SystemExit, match=f"--from {source}: none, model=FOLDER or words=FILE"):
            list(benchmark.kinds_of_times(corpus, source, tmp_path, 1))


def write_words(path: Path, words: str, step: float) -> None:
    rows = [{"text": w, "start": step * i, "end": step * (i + 0.5)} for i, w in enumerate(words)]
    path.write_text(json.dumps({"id": path.stem, "words": rows}, ensure_ascii=False), encoding="utf-8")


def test_times_of_a_recogniser_are_its_own(tmp_path: Path) -> None:
    write_words(tmp_path / "x.jsonl", "甲乙丙丁戊己", 1.0)  # the last word is missing
    result = edge_errors.result_of(benchmark.own_times(tmp_path, TRANSCRIPT), TRANSCRIPT, TRUTH)
    assert result.start.errors == pytest.approx([1.0, 1.0, 1.0, 2.0])
    assert result.end.errors == pytest.approx([0.5, 0.5, 1.5, np.inf])
    assert result.untimed == [edge_errors.UntimedWords("x", 6, ("庚",))]
    with pytest.raises(DataError, match="no words of y"):
        benchmark.own_times(tmp_path, {"y": ["甲"]})


def test_a_configuration_without_refining(project: Path, tmp_path: Path) -> None:
    conf = benchmark.without_refining(project / "conf/mini", tmp_path / "conf")
    before, after = (yaml.safe_load((x / "asr.yaml").read_text()) for x in (project / "conf/mini", conf))
    assert after.pop("aligner") == before.pop("aligner") | {"refine": False} and after == before
    assert (conf / "prep.yaml").read_bytes() == (project / "conf/mini/prep.yaml").read_bytes()


def test_whisper_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ConfigError("not installed")

    monkeypatch.setattr(benchmark, "require_faster_whisper", missing)
    folder = tmp_path / "faster-whisper-base"
    with pytest.raises(ConfigError, match="not installed"):
        benchmark.whisper_words("base", {"x": tmp_path / "x.flac"}, tmp_path, 1)
    folder.mkdir()
    (folder / "x.jsonl").write_text("")
    assert benchmark.whisper_words("base", {"x": tmp_path / "x.flac"}, tmp_path, 1) == folder  # it has all words


def test_a_corpus_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the stages: a table, the words without a time, what is refused, and a picture."""
    corpus = benchmark.Corpus("voices", tmp_path, {"x": tmp_path / "x.flac"}, TRANSCRIPT, TRUTH)

    def stage_3(data: Path, out: Path, conf: Path, model: str, num_jobs: int) -> dict[str, list[SupervisionSegment]]:
        if model != "none":
            raise DataError("no such model")
        return STRETCHES

    def no_whisper(*arguments: object) -> Path:
        raise ConfigError("faster-whisper is missing")

    monkeypatch.setattr(benchmark, "prepared", lambda folder, conf, out: corpus)
    monkeypatch.setattr(benchmark, "aligned", stage_3)
    monkeypatch.setattr(benchmark, "whisper_words", no_whisper)
    sources = ["--from", "none", "--from", "model=m", "--whisper", "base"]
    benchmark.main(["--corpus", "voices", *sources, "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1:3] for line in lines[2:4]] == [["no model", "start"], ["no model", "end"]]
    assert lines[4:] == [
        "",
        "- voices: no rows of Whisper: faster-whisper is missing",
        "- voices, no model: 2 of 7 words have no time",
        "  - x, from word 3 on: 丁 戊",
        "- voices, model m: refused: no such model",
    ]
    assert (tmp_path / benchmark.PICTURE).is_file()


def test_a_stage_that_fails_says_why(tmp_path: Path) -> None:
    conf, data = tmp_path / "conf", tmp_path / "data"
    with pytest.raises(DataError, match=r"make_manifests.py: .*prep.yaml.*\(.*log\)"):
        run_stage("make_manifests.py", conf, data, log=tmp_path / "log")
