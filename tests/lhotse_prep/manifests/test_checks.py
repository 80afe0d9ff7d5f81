"""Each fault of texts, parts and manifests has its message; good data has none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from lhotse import RecordingSet, SupervisionSet

from lhotse_prep.cli import main
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.manifests.checks import check_overlap, check_same_audio, check_text
from lhotse_prep.manifests.files import load_safely, write_manifest
from lhotse_prep.workflow.config import RejectPolicy
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl
from lhotse_prep.workflow.findings import REJECTED, Finding, settle

LIMITS = CheckConfig()
RATE = 16_000


def messages(text: str, translation: str, seconds: float) -> list[str]:
    return [str(f) for f in check_text("u1", "train", text, translation, seconds, LIMITS)]


@pytest.mark.parametrize(
    ("text", "translation", "seconds"),
    [
        ("我 們 講 bert", "We talk about BERT.", 2.0),
        ("self-supervised learning", "self-supervised learning", 2.0),  # English in both
        ("對", "Right.", 5.0),
        ("我 們", "", 1.0),
        ("bert", "我們 means we: BERT", 2.0),
    ],
)
def test_good_text(text: str, translation: str, seconds: float) -> None:
    assert messages(text, translation, seconds) == []


@pytest.mark.parametrize(
    ("text", "translation", "seconds", "message"),
    [
        ("", "We.", 1.0, "its text is empty, or punctuation alone; give it its transcript"),
        (" \u3000 ", "We.", 1.0, "its text is empty"),
        ("，。", "We.", 1.0, "its text is empty"),
        ("我 " * 60, "We.", 2.0, "30.0 characters a second, limit 25 (60 characters in 2.00 s); is this the text of"),
        ("我 們", "We.", 60.0, "0.03 characters a second, limit 0.3 (2 characters in 60.00 s); is its text complete"),
        ("We talk about it.", "我們講這個", 3.0, "100% of its translation is Chinese and 0% of its transcript; "),
        ("我 們", "我們。", 1.0, "its translation is its transcript; give it its English translation"),
    ],
)
def test_bad_text(text: str, translation: str, seconds: float, message: str) -> None:
    (text_message,) = messages(text, translation, seconds)
    assert text_message.startswith(f"supervision u1: {message}")


def test_audio_of_dev_must_leave_train_and_test() -> None:
    digests = {"train": {"a": "1", "b": "2"}, "dev": {"c": "1", "d": "3"}, "test": {"e": "3", "f": "2", "g": "4"}}
    overlaps = [(f.part, f.id) for f in check_overlap(digests)]
    assert overlaps == [("train", "a"), ("train", "b"), ("test", "e")]
    assert str(check_overlap(digests)[0]) == (
        "recording a: its samples are those of c in dev; take it out of train: parts must not share audio"
    )


def test_the_same_audio_twice_in_a_part_is_a_warning() -> None:
    (finding,) = check_same_audio("train", {"a": "1", "b": "1", "c": "2"})
    assert (finding.id, finding.is_error) == ("b", False) and "those of a" in finding.message


def folder(path: Path, count: int = 20) -> Path:
    """Write manifests: train has recordings r0, r1, ...; dev and test are empty."""
    path.mkdir()
    recordings, supervisions = [], []
    for i in range(count):
        audio = path / f"r{i}.wav"
        sf.write(audio, np.random.default_rng(i).uniform(-0.2, 0.2, RATE), RATE)
        recordings.append(
            {
                "id": f"r{i}",
                "sources": [{"type": "file", "channels": [0], "source": str(audio)}],
                "sampling_rate": RATE,
                "num_samples": RATE,
                "duration": 1.0,
                "channel_ids": [0],
            }
        )
        supervisions.append(
            {
                "id": f"r{i}",
                "recording_id": f"r{i}",
                "start": 0.0,
                "duration": 1.0,
                "channel": 0,
                "text": "我 們",
                "custom": {"translated_text": {"eng": "We."}},
            }
        )
    store(path, recordings, supervisions)
    return path


def store(path: Path, recordings: list[dict[str, Any]], supervisions: list[dict[str, Any]]) -> None:
    for part in ("train", "dev", "test"):
        for kind, rows in (("recordings", recordings), ("supervisions", supervisions)):
            with gzip.open(path / f"ml2021_{kind}_{part}.jsonl.gz", "wt") as f:
                f.writelines(json.dumps(r) + "\n" for r in (rows if part == "train" else []))


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    with gzip.open(path / f"ml2021_{kind}_train.jsonl.gz", "rt") as f:
        return [json.loads(line) for line in f]


def test_good_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(folder(tmp_path / "m"))])
    assert "train: 20 recordings, 20 supervisions, all good" in capsys.readouterr().out


def test_bad_recordings_are_left_out_with_skip_bad(tmp_path: Path) -> None:
    path, out = folder(tmp_path / "m"), tmp_path / "good"
    sf.write(path / "r3.wav", np.zeros(RATE), RATE)
    with pytest.raises(DataError, match="recording r3: .*r3.wav is silent from beginning to end"):
        main(["validate", str(path)])
    with pytest.raises(DataError, match=r"1 of 20 are bad \(5.0%\), more than --max-rejected 0.04"):
        main(["validate", str(path), "--skip-bad", "--max-rejected", "0.04", "--out", str(out)])
    main(["validate", str(path), "--skip-bad", "--out", str(out)])
    assert [r["check"] for r in read_jsonl(out / "rejected.jsonl")] == ["silent"]
    assert {r["id"] for r in rows(out, "recordings")} == {f"r{i}" for i in range(20)} - {"r3"}
    assert len(rows(out, "supervisions")) == 19
    main(["validate", str(out)])


def test_clipping_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder(tmp_path / "m", 1)
    samples = np.random.default_rng(0).uniform(-0.2, 0.2, RATE)
    samples[:1600] = 1.0
    sf.write(path / "r0.wav", samples, RATE)
    main(["validate", str(path)])
    assert any("recording r0: 10.00% of its samples are clipped, limit 0.10%" in m for m in caplog.messages)


def test_manifests_that_could_run_code_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", 2)
    good_recordings, good_supervisions = rows(path, "recordings"), rows(path, "supervisions")

    def check(change: dict[str, Any], message: str) -> None:
        store(path, [good_recordings[0], good_recordings[1] | change], good_supervisions)
        with pytest.raises(DataError, match=message):
            main(["validate", str(path)])

    marker = tmp_path / "ran"
    source = {"type": "command", "channels": [0], "source": f"touch {marker}"}
    check({"sources": [source]}, "line 2, recording r1: its audio source is of type 'command'; only files")
    check({"sources": [source | {"type": "url"}]}, "of type 'url'")
    check({"sources": [source | {"type": "file", "source": f"pipe:touch {marker}"}]}, "of type 'pipe'")
    check(
        {"custom": {"more": {"storage_type": "memory_raw", "storage_path": ""}}}, "storage type 'memory_raw'.*pickled"
    )
    assert not marker.exists()
    (path / "ml2021_recordings_train.jsonl.gz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="ml2021_recordings_train.jsonl.gz is damaged or not JSON lines"):
        main(["validate", str(path)])
    (path / "x.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"read as \.jsonl, .* only; convert it with `lhotse copy`"):
        load_safely(path / "x.pkl", RecordingSet)


def test_manifest_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    manifest = load_safely(folder(tmp_path / "m") / "ml2021_supervisions_train.jsonl.gz", SupervisionSet)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_manifest(tmp_path / name, manifest)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert list(load_safely(tmp_path / "a.jsonl.gz", SupervisionSet)) == list(manifest)


def test_rejections_of_two_steps_are_listed_together(tmp_path: Path) -> None:
    rows = [Finding("silent", kind, kind, "train", "is silent", "record it again") for kind in ("lecture", "utterance")]
    for findings in (rows[:1], rows[:1], rows[1:]):
        settle(findings, 100, RejectPolicy(skip_bad=True), tmp_path)
    assert [row["id"] for row in read_jsonl(tmp_path / REJECTED)] == ["lecture", "utterance"]
