"""The command line: every command says what it reads and writes; align by a recogniser's words; windows as Shar."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import CutSet

from lhotse_prep.cli import main
from lhotse_prep.manifests.make import prepare_ml2021
from lhotse_prep.workflow.errors import ConfigError, DataError

RATE = 16_000
COMMANDS = ("corpus", "manifests", "align", "windows", "bitext", "validate")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_is_read_and_written(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    help_text = capsys.readouterr().out
    assert end.value.code == 0 and "Reads: " in help_text and "Writes: " in help_text


def lectures(folder: Path) -> Path:
    """Three lectures of four seconds."""
    folder.mkdir()
    for i in range(3):
        sf.write(folder / f"l{i}.wav", np.random.default_rng(i).uniform(-0.3, 0.3, 4 * RATE), RATE)
        (folder / f"l{i}.txt").write_text("我 們 講 bert 我 們 講 bert")
        (folder / f"l{i}.en.txt").write_text("We talk about BERT. We talk about BERT.")
    return folder


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_recipe_has_lhotses_signature_and_return_value(tmp_path: Path) -> None:
    assert list(inspect.signature(prepare_ml2021).parameters) == ["corpus_dir", "output_dir", "num_jobs"]
    manifests = prepare_ml2021(str(lectures(tmp_path / "in")), tmp_path / "out", num_jobs=2)
    assert {part: sorted(files) for part, files in manifests.items()} == dict.fromkeys(
        ("train", "dev", "test"), ["recordings", "supervisions"]
    )
    assert [s.id for files in manifests.values() for s in files["supervisions"]] == ["l0", "l1", "l2"]


def test_a_recognisers_words_are_matched_without_a_model_and_windows_become_shar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lhotse_prep.alignment.matching.speech_regions", lambda samples, name: np.array([[0, len(samples)]])
    )  # the noise of these lectures is not speech; voice activity is tested elsewhere
    words = ["我", "們", "講", "bert"] * 2
    ctm = [f"l{i} 1 {0.4 * k + 0.2:.2f} 0.3 {w}\n" for i in range(3) for k, w in enumerate(words)]
    (tmp_path / "words.ctm").write_text("".join(ctm))
    m, a, w = (str(tmp_path / x) for x in "maw")
    main(["manifests", str(lectures(tmp_path / "in")), m])
    with pytest.raises(DataError, match="lecture l0 has no words with times.*; give them with --words.*--stage 3"):
        main(["align", m, a])
    main(["align", m, a, "--words", str(tmp_path / "words.ctm")])
    main(["windows", m, a, w, "--shar", "--num-jobs", "1"])
    plain = CutSet.from_file(Path(w) / "ml2021_cuts_train.jsonl.gz").to_eager()
    shards = CutSet.from_shar(in_dir=Path(w) / "shar/train").to_eager()
    assert list(plain.ids) == list(shards.ids) and len(plain) >= 1
    for cut, stored in zip(plain, shards):
        assert [s.text for s in stored.supervisions] == [s.text for s in cut.supervisions]
        assert [s.alignment for s in stored.supervisions] == [s.alignment for s in cut.supervisions]
        assert np.array_equal(stored.load_features(), cut.load_features())
        assert np.array_equal(stored.load_audio(), cut.load_audio())
    manifests = {p.name: p.read_bytes() for p in Path(w).glob("*.gz")}
    monkeypatch.setattr("lhotse_prep.windows.write.write_shar", interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(["windows", m, a, w, "--shar", "--max-duration", "3"])
    assert {p.name: p.read_bytes() for p in Path(w).glob("*.gz")} == manifests
    main(["windows", m, a, w])
    assert not (Path(w) / "shar").exists()  # it held the earlier windows
    for cut in CutSet.from_file(Path(w) / "ml2021_cuts_test.jsonl.gz"):
        assert cut.load_features().shape[1] == 80  # the feature files are where the cuts say


def test_wrong_values_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_jobs must be >= 1"):
        main(["validate", str(tmp_path), "--num-jobs", "0"])
    with pytest.raises(ConfigError, match="max_rejected must be in 0..1, got 2"):
        main(["validate", str(tmp_path), "--max-rejected", "2"])
    command = [sys.executable, "-m", "lhotse_prep", "manifests", str(tmp_path / "none"), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith("lhotse_prep: error: no corpus")
    assert "Traceback" not in result.stderr


def test_a_second_run_of_a_command_leaves_no_part_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests, alignments, windows and pairs of a corpus with three parts, then of one that has train alone."""
    monkeypatch.setattr(
        "lhotse_prep.alignment.matching.speech_regions", lambda samples, name: np.array([[0, len(samples)]])
    )
    words = ["我", "們", "講", "bert"] * 2
    ctm = [f"l{i} 1 {0.4 * k + 0.2:.2f} 0.3 {w}\n" for i in range(3) for k, w in enumerate(words)]
    (tmp_path / "words.ctm").write_text("".join(ctm))
    corpus, data = lectures(tmp_path / "in"), tmp_path / "data"
    m, a, w, b = (data / name for name in ("manifests", "aligned", "cuts", "bitext"))

    def run() -> dict[str, set[str]]:
        main(["manifests", str(corpus), str(m)])
        main(["align", str(m), str(a), "--words", str(tmp_path / "words.ctm")])
        main(["windows", str(m), str(a), str(w), "--shar"])
        main(["bitext", str(data), str(b)])
        return {x.name: {p.name for p in x.iterdir() if not p.name.startswith(".")} for x in (m, a, w, b)}

    first = run()
    for i in (0, 1):
        for suffix in (".wav", ".txt", ".en.txt"):
            (corpus / f"l{i}{suffix}").unlink()
    second = run()
    for name, files in first.items():
        assert second[name] <= files and not [f for f in second[name] if "dev" in f or "test" in f]
        assert name == "bitext" or any("test" in f for f in files)
    assert [p.name for p in (w / "shar").iterdir()] == ["train"]


def test_a_folder_of_another_command_is_not_replaced(tmp_path: Path) -> None:
    main(["manifests", str(lectures(tmp_path / "in")), str(tmp_path / "m")])
    main(["manifests", str(tmp_path / "in"), str(tmp_path / "other")])
    with pytest.raises(DataError, match="other holds .*, which this command does not write; name another folder"):
        main(["align", str(tmp_path / "m"), str(tmp_path / "other")])
    assert (tmp_path / "other" / "ml2021_recordings_train.jsonl.gz").is_file()
