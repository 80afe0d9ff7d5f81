"""The made-up corpus has the sizes that the benchmark states; a tiny one passes all stages (slow: a process each)."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import soundfile as sf
from lhotse import CutSet

from lhotse_prep.bitext.files import read_pairs
from lhotse_prep.corpora.source.folder import read_segments, read_source
from lhotse_prep.workflow.stage import read_done

PATH = Path(__file__).parents[2] / "benchmarks" / "corpus_1000h.py"
SPEC = importlib.util.spec_from_file_location("corpus_1000h", PATH)
assert SPEC is not None and SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
sys.modules["corpus_1000h"] = benchmark
SPEC.loader.exec_module(benchmark)


def test_an_hour_has_35_recordings_and_300_utterances(tmp_path: Path) -> None:
    benchmark.write_source(tmp_path, 35)
    lectures, segments = read_source(tmp_path), read_segments(tmp_path)
    assert [x.part for x in lectures] == ["train"] * 31 + ["dev"] * 2 + ["test"] * 2
    assert sum(len(x.transcript.split()) for x in lectures) == 300 * benchmark.TOKENS == 14_400
    assert sum(len(x.translation.split()) for x in lectures) == 300 * benchmark.WORDS == 9000
    assert sum(map(len, segments.values())) == 300 and list(segments) == [x.id for x in lectures]
    files = {x.audio.stat().st_ino: x for x in lectures if x.audio is not None}
    assert len(files) == 7 + 2 + 2  # the patterns of each part
    for x in files.values():
        assert x.audio is not None and sf.info(x.audio).frames >= max(row["end"] for row in segments[x.id])
    parts = [benchmark.part_of(i, 7) for i in range(7)]
    assert parts == ["train"] * 5 + ["dev", "test"]


@pytest.mark.slow
def test_a_tiny_corpus_passes_the_stages(tmp_path: Path) -> None:
    costs = dict(benchmark.measure(tmp_path, 0.2, [1, 4, 6, 7], 1))
    assert list(costs) == [1, 4, 6, 7]
    assert all(c.cpu_seconds > 0 and c.seconds > 0 and c.megabytes > 100 for c in costs.values())
    data = tmp_path / "data"
    for folder in ("source", "manifests", "cuts", "bitext", "translated_cuts"):
        assert read_done(data / folder) is not None
    num_windows = {
        part: len(list(CutSet.from_file(data / "translated_cuts" / f"ml2021_cuts_{part}.jsonl.gz")))
        for part in ("train", "dev", "test")
    }
    assert num_windows == {part: len(read_pairs(data / "bitext" / f"{part}.jsonl")) for part in num_windows}
    assert sum(num_windows.values()) == sum(benchmark.UTTERANCES)
    assert json.loads((data / "cuts" / "scores.json").read_text())["windows_train"]["tokens_without_audio"] == 0
    summary = (tmp_path / "decoded" / "wer-summary-train-stub.txt").read_text()
    assert summary == f"settings\tWER\nstub\t{100 / benchmark.TOKENS:.2f}\n"
