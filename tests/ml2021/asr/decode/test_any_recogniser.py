"""Whole lectures by any recogniser from the command line: the files and scores of our own decoding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl
from ml2021.asr.decode import any_recogniser as module
from ml2021.asr.decode.__main__ import main
from ml2021.asr.decode.lectures import lectures_of
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord


class Other:
    """Gives the same words for each recording; "quiet" has no speech."""

    name = "faster-whisper my model"

    def __init__(self, options: RecogniserOptions) -> None:
        self.options = options
        self.recordings: list[str] = []

    def digests(self) -> dict[str, str]:
        return {"model.bin": "1", "options": self.options.digest()}

    def recognise(self, audio: Path) -> list[TimedWord]:
        self.recordings.append(audio.stem)
        if audio.stem == "quiet":
            raise NoSpeechError(f"{audio}: no speech was detected in it")
        return [TimedWord("我", 0.5, 1.0, 0.75), TimedWord("deep", 1.0, 2.25, 0.5)]


@pytest.fixture
def recognisers(monkeypatch: pytest.MonkeyPatch) -> list[Other]:
    """Those that are opened."""
    opened: list[Other] = []

    def open_(path: str, options: RecogniserOptions) -> Other:
        assert path == "some/model"
        opened.append(Other(options))
        return opened[-1]

    monkeypatch.setattr(module, "open_recogniser", open_)
    return opened


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Two test lectures and their transcripts."""
    recordings, supervisions = [], []
    for name in ("w1", "quiet"):
        path = tmp_path / f"{name}.wav"
        sf.write(path, 0.1 * np.sin(0.1 * np.arange(3 * SAMPLE_RATE) + len(name)), SAMPLE_RATE)
        recordings.append(Recording.from_file(path, recording_id=name))
        supervisions.append(SupervisionSegment(name, name, 0.0, 3.0, text="我 們 deep"))
    folder = tmp_path / "manifests"
    folder.mkdir()
    RecordingSet.from_recordings(recordings).to_file(folder / "ml2021_recordings_test.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(folder / "ml2021_supervisions_test.jsonl.gz")
    return folder


def test_files_and_scores_are_those_of_our_decoding(
    recognisers: list[Other], manifests: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out"
    command = ["--recogniser", "some/model", "--manifests", str(manifests), "--out-dir", str(out), "--script", "s2twp"]
    main([*command, "--beam-size", "2", "--language", "zh"])
    assert read_jsonl(out / "w1.jsonl")[0] == {"word": "我", "start": 0.5, "end": 1.0, "confidence": 0.75, "tokens": []}
    assert (out / "lectures.ctm").read_text(encoding="utf-8").splitlines()[0] == "w1 1 0.500 0.500 我 0.7500"
    suffix = "faster-whisper-my-model-beam-size-2-language-zh-s2twp-long"
    for kind in ("recogs", "errs", "wer-summary"):
        assert (out / f"{kind}-test-{suffix}.txt").is_file()
    assert "2 lectures in" in caplog.text and "MER 66.67% (4 / 6" in caplog.text
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert settings["recogniser"] == Other.name and settings["digests"]["model.bin"] == "1"
    main([*command, "--beam-size", "2", "--language", "zh"])  # nothing is left to decode
    assert [r.recordings for r in recognisers] == [["w1", "quiet"], []] or recognisers[0].recordings == ["quiet", "w1"]
    assert recognisers[1].recordings == []
    assert recognisers[0].options == RecogniserOptions(language="zh", beam_size=2, script="s2twp")
    with pytest.raises(DataError, match="another model or other settings"):
        main(command)


def test_audio_needs_no_transcript(recognisers: list[Other], manifests: Path, tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("bert\n")
    options = ["--hotwords", str(tmp_path / "terms.txt"), "--device", "cpu", "--num-threads", "1"]
    main(
        ["--recogniser", "some/model", "--audio", str(tmp_path / "w1.wav"), "--out-dir", str(tmp_path / "o"), *options]
    )
    assert {p.name for p in (tmp_path / "o").glob("*.*")} >= {"w1.jsonl", "lectures.ctm", "settings.json"}
    expected = RecogniserOptions(hotwords=tmp_path / "terms.txt", device="cpu", num_threads=1)
    assert recognisers[0].options == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--audio", "a.wav"], "either --exp-dir, a folder of stage 5, or --recogniser"),
        (["--audio", "a.wav", "--exp-dir", "e", "--recogniser", "base"], "either --exp-dir"),
        (["--audio", "a.wav", "--recogniser", "base"], "and --out-dir"),
        (["--cuts", "c", "--recogniser", "base", "--out-dir", "o"], "decodes whole lectures"),
        (["--audio", "a.wav", "--exp-dir", "e", "--language", "zh"], "--language goes with --recogniser"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(options)
    assert e.value.code == 2 and message in capsys.readouterr().err


def test_options_of_our_recognisers_are_refused_for_others(recognisers: list[Other]) -> None:
    with pytest.raises(ConfigError, match="--lm-scale, --decoding-method is for recognisers of this project"):
        main(
            ["--recogniser", "some/model", "--audio", "a.wav", "--out-dir", "o", "--lm-scale", "0.1"]
            + ["--decoding-method", "greedy_search"]
        )


def test_folder_of_ours_is_decoded_as_with_exp_dir(
    trained: Path, manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--audio", str(tmp_path / "w1.wav")]
    main(["--recogniser", str(trained), *arguments, "--out-dir", str(tmp_path / "a")])
    main(["--exp-dir", str(trained), *arguments, "--out-dir", str(tmp_path / "b")])
    assert (tmp_path / "a" / "settings.json").read_bytes() == (tmp_path / "b" / "settings.json").read_bytes()
    assert (tmp_path / "a" / "w1.jsonl").read_bytes() == (tmp_path / "b" / "w1.jsonl").read_bytes()


def test_any_object_of_the_interface_decodes_from_python(manifests: Path, tmp_path: Path) -> None:
    other = Other(RecogniserOptions())
    lectures = lectures_of(manifests, "test")
    rate = module.decode_with(other, lectures, tmp_path / "out", "test", "stub")
    assert rate is not None and (rate.total.num_ref, rate.total.deletions) == (6, 4)
    assert other.recordings == ["w1", "quiet"] and (tmp_path / "out" / "recogs-test-stub.txt").is_file()
    again = module.decode_with(other, lectures, tmp_path / "out", "test", "stub")
    assert again is not None and again.total == rate.total and len(other.recordings) == 2
