"""Manifests of a source folder, and what validation refuses."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet, load_manifest
from lhotse.qa import validate_recordings_and_supervisions as lhotse_validate
from lhotse.serialization import load_manifest_lazy

from lhotse_prep.cli import main
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.splits import write_splits
from lhotse_prep.manifests.files import load_part
from lhotse_prep.manifests.make import make_manifests, prepare_ml2021
from lhotse_prep.manifests.validate import validate_recordings_and_supervisions
from lhotse_prep.text.config import TextConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import SerialExecutor
from lhotse_prep.workflow.files import read_jsonl, write_jsonl

RATE = 16_000


def make_source(folder: Path, **samples: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in samples.items():
        sf.write(folder / f"{name}.wav", values, RATE, subtype="FLOAT" if np.isnan(values).any() else "PCM_16")
        (folder / f"{name}.txt").write_text("我們 講 BERT。")
        (folder / f"{name}.en.txt").write_text("We talk  about BERT.")
    (folder / "t.txt").write_text("文字")
    (folder / "t.en.txt").write_text("Text.")
    write_splits(folder, {"train": list(samples), "text": ["t"]})
    return folder


def noise(num_samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.1, 0.1, num_samples).astype(np.float32)


def test_a_lecture_becomes_a_recording_and_a_supervision(tmp_path: Path) -> None:
    manifests = prepare_ml2021(make_source(tmp_path / "in", a=noise()), tmp_path / "out")
    recordings = load_manifest(tmp_path / "out" / "ml2021_recordings_train.jsonl.gz")
    supervisions = load_manifest(tmp_path / "out" / "ml2021_supervisions_train.jsonl.gz")
    lhotse_validate(recordings, supervisions)
    assert recordings["a"].num_samples == RATE and np.allclose(recordings["a"].load_audio(), noise(), atol=1e-4)
    assert supervisions["a"].text == "我 們 講 bert"
    assert supervisions["a"].custom["translated_text"]["eng"] == "We talk about BERT."
    assert list(manifests) == ["train", "dev", "test"] and len(manifests["dev"]["recordings"]) == 0
    assert read_jsonl(tmp_path / "out" / "texts.jsonl") == [{"id": "t", "text": "文 字", "translation": "Text."}]
    main(["validate", str(tmp_path / "out")])


def test_damaged_audio_is_refused_with_the_lectures_id(tmp_path: Path) -> None:
    with_nan = noise()
    with_nan[8000] = np.nan
    with pytest.raises(DataError, match="lecture b.*not numbers, first at 0.50 s"):
        prepare_ml2021(make_source(tmp_path / "1", a=noise(), b=with_nan), tmp_path / "out")
    with pytest.raises(DataError, match="recording c.*silent"):
        prepare_ml2021(make_source(tmp_path / "2", c=np.zeros(100, np.float32)), tmp_path / "out")
    source = make_source(tmp_path / "3", d=noise())
    prepare_ml2021(source, tmp_path / "out")
    (source / "d.wav").write_bytes((source / "d.wav").read_bytes()[:20_000])
    with pytest.raises(DataError, match="recording d.*(cut short|damaged)"):
        main(["validate", str(tmp_path / "out")])


def test_a_transcript_of_punctuation_alone_is_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "in", a=noise())
    (source / "a.txt").write_text("。，！")
    with pytest.raises(DataError, match="supervision a: its text is empty, or punctuation alone"):
        prepare_ml2021(source, tmp_path / "out")


def test_signs_of_a_wrong_encoding_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_source(tmp_path / "in", a=noise())
    (source / "a.txt").write_text("我們 it\x92s caf\ufffd 講")
    prepare_ml2021(source, tmp_path / "out")
    assert (
        "2 characters are signs of a wrong encoding and left out: U+0092 (1 times, a), U+FFFD (1 times, a)"
        in caplog.text
    )
    assert [r["code"] for r in read_jsonl(tmp_path / "out" / "characters.jsonl")] == ["U+0092", "U+FFFD"]


def manifests_of(path: Path) -> tuple[list[Recording], list[SupervisionSegment]]:
    sf.write(path, noise(), RATE)
    recording = Recording("r", [AudioSource("file", [0], str(path))], RATE, RATE, 1.0)
    return [recording], [SupervisionSegment("s", "r", 0.0, 1.0, text="我")]


def test_faults_that_lhotse_accepts_are_refused(tmp_path: Path) -> None:
    recordings, supervisions = manifests_of(tmp_path / "a.wav")

    def check(r: list[Recording], s: list[SupervisionSegment]) -> None:
        validate_recordings_and_supervisions(RecordingSet(r), SupervisionSet(s))

    check(recordings, supervisions)
    marker = tmp_path / "ran"
    command = Recording("c", [AudioSource("command", [0], f"touch {marker}; cat {tmp_path}/a.wav")], RATE, RATE, 1.0)
    with pytest.raises(DataError, match="recording c.*command"):
        check([command], [])
    assert not marker.exists()
    with pytest.raises(DataError, match="recording r: its id occurs more than once in train"):
        check(recordings * 2, supervisions)
    with pytest.raises(DataError, match="supervision s: its id occurs more than once in train"):
        check(recordings, supervisions * 2)
    with pytest.raises(DataError, match="supervision e: its text is empty"):
        check(recordings, [SupervisionSegment("e", "r", 0.0, 1.0, text=" ")])
    with pytest.raises(DataError, match="supervision l: spans 0.500-1.500 s, recording r has 1.000 s"):
        check(recordings, [SupervisionSegment("l", "r", 0.5, 1.0, text="我")])
    with pytest.raises(DataError, match="no recording x"):
        check(recordings, [SupervisionSegment("s", "x", 0.0, 1.0, text="我")])


def content(folder: Path) -> dict[str, bytes]:
    """{relative path: content} of all files of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lecture_files(folder: Path, names: str, seed: int = 0) -> Path:
    """A folder of lectures a user would have: NAME.wav, NAME.txt, NAME.en.txt."""
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        sf.write(folder / f"{name}.wav", np.random.default_rng(seed + i).uniform(-0.1, 0.1, 2 * RATE), RATE)
        (folder / f"{name}.txt").write_text(f"我們 講 BERT {name}。")
        (folder / f"{name}.en.txt").write_text(f"We talk about BERT {name}.")
    return folder


def ids_of(folder: Path) -> set[str]:
    return {r.id for path in folder.glob("ml2021_recordings_*") for r in load_manifest(path)}


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """A corpus that changed between runs gives what a new folder would hold."""
    corpus = lecture_files(tmp_path / "in", "abcdef")
    (corpus / "t.txt").write_text("文字")
    (corpus / "u.txt").write_text("文字 二")
    (corpus / "t.en.txt").write_text("Text.")
    write_splits(corpus, {"train": list("abc"), "dev": ["d"], "test": ["e"], "decode": ["f"], "text": ["t", "u"]})
    main(["manifests", str(corpus), str(tmp_path / "out")])
    assert ids_of(tmp_path / "out") == set("abcdef") and (tmp_path / "out/untranslated.jsonl").is_file()
    for name in ("a.wav", "a.txt", "a.en.txt", "b.en.txt", "u.txt", "t.en.txt", "f.wav"):
        (corpus / name).unlink()
    sf.write(corpus / "c.wav", np.random.default_rng(99).uniform(-0.1, 0.1, RATE), RATE)
    write_splits(corpus, {"train": ["b", "c"], "test": ["e"], "text": ["t"]})
    for out in ("out", "new"):
        main(["manifests", str(corpus), str(tmp_path / out)])
    for path in (tmp_path / "new").iterdir():
        if path.name.endswith(".gz"):
            new = [x.to_dict() for x in load_manifest(path)]
            assert [x.to_dict() for x in load_manifest(tmp_path / "out" / path.name)] == [
                {**x, "sources": [{**y, "source": y["source"].replace("/new/", "/out/")} for y in x["sources"]]}
                if "sources" in x
                else x
                for x in new
            ]
    assert content(tmp_path / "out").keys() == content(tmp_path / "new").keys()
    assert ids_of(tmp_path / "out") == {"b", "c", "e"}


def test_another_corpus_replaces_the_first_and_a_failed_run_changes_nothing(tmp_path: Path) -> None:
    first, second = lecture_files(tmp_path / "1", "abcd"), lecture_files(tmp_path / "2", "xyz", 50)
    out = tmp_path / "out"
    main(["manifests", str(first), str(out)])
    before = content(out)
    (second / "y.txt").write_text("。")
    with pytest.raises(DataError, match="supervision y: its text is empty"):
        main(["manifests", str(second), str(out)])
    assert content(out) == before
    (second / "y.txt").write_text("我們")
    main(["manifests", str(second), str(out)])
    assert ids_of(out) == set("xyz") and not (out / "source" / "a.wav").exists()
    main(["validate", str(out)])


def test_what_the_command_did_not_write_and_the_corpus_itself_are_not_replaced(tmp_path: Path) -> None:
    corpus, out = lecture_files(tmp_path / "in", "abc"), tmp_path / "out"
    main(["manifests", str(corpus), str(out)])
    with pytest.raises(DataError, match="would be made anew, and .*source is in it; name another folder"):
        main(["manifests", str(out / "source"), str(out)])
    (out / "notes.md").write_text("mine")
    with pytest.raises(DataError, match="out holds notes.md, which this command does not write"):
        main(["manifests", str(corpus), str(out)])
    for command in (["align", str(out), str(out)], ["windows", str(out), str(out), str(out)]):
        with pytest.raises(DataError, match="would be made anew, and .* is in it; name another folder"):
            main(command)
    assert ids_of(out) == set("abc")


def test_parts_without_data_leave_no_files_and_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    prepare_ml2021(make_source(tmp_path / "in", a=noise()), tmp_path / "out")
    assert "no recordings in dev and test, so there are no manifests of it" in caplog.text
    manifests = sorted(p.name for p in (tmp_path / "out").glob("*.gz"))
    assert manifests == ["ml2021_recordings_train.jsonl.gz", "ml2021_supervisions_train.jsonl.gz"]
    for name in manifests:  # as `lhotse cut describe` and `lhotse validate` open them
        assert load_manifest_lazy(tmp_path / "out" / name) is not None


def test_an_empty_manifest_of_an_earlier_version_is_an_empty_part(tmp_path: Path) -> None:
    prepare_ml2021(make_source(tmp_path / "in", a=noise()), tmp_path / "out")
    path = tmp_path / "out" / "ml2021_recordings_dev.jsonl.gz"
    for content in (b"", gzip.compress(b"")):
        path.write_bytes(content)
        assert len(load_part(tmp_path / "out", "recordings", "dev", RecordingSet)) == 0
    path.unlink()
    assert len(load_part(tmp_path / "out", "recordings", "dev", RecordingSet)) == 0
    with pytest.raises(DataError, match=r"no .*ml2021_recordings_dev.jsonl.gz: stage 1 or 3 makes it"):
        load_part(tmp_path / "in", "recordings", "dev", RecordingSet)


def segments_of(name: str, texts: list[str]) -> list[dict[str, object]]:
    step = RATE // len(texts)
    return [
        {"lecture": name, "id": f"{name}_{i}", "begin": i * step, "end": (i + 1) * step}
        | {"text": text, "translation": f"It is {i}.", "in_dev": False}
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize("order", ["same", "other", "mixed"])
def test_exact_times_are_those_of_each_lecture_in_any_order(tmp_path: Path, order: str) -> None:
    rng = random.Random(0)
    texts = {name: [rng.choice("我們講的") for _ in range(3)] for name in "abcde"}
    source = tmp_path / "in"
    source.mkdir()
    for i, (name, parts) in enumerate(texts.items()):
        sf.write(source / f"{name}.wav", np.random.default_rng(i).uniform(-0.1, 0.1, RATE), RATE)
        (source / f"{name}.txt").write_text("".join(parts))
    write_splits(source, {"train": ["a", "c", "e"], "test": ["d", "b"]})
    rows = [row for name, parts in texts.items() for row in segments_of(name, parts) if name != "c"]
    if order == "other":
        rows = [row for name in "ebda" for row in rows if row["lecture"] == name]
    elif order == "mixed":
        rows.sort(key=lambda row: str(row["id"])[::-1])
    write_jsonl(source / "segments.jsonl", rows)
    prepare_ml2021(source, tmp_path / "out")
    for part, names in (("train", "ae"), ("test", "db")):
        segments = load_manifest(tmp_path / "out" / f"ml2021_segments_{part}.jsonl.gz")
        assert [(s.recording_id, s.text) for s in segments] == [(name, text) for name in names for text in texts[name]]


def test_recordings_are_given_to_the_executor_one_by_one(tmp_path: Path) -> None:
    class Watching(SerialExecutor):
        def map(self, function, pieces, title, total=None):  # type: ignore[no-untyped-def]
            assert iter(pieces) is pieces and total == 3  # with a list, they would all be in memory
            return super().map(function, pieces, title)

    source = make_source(tmp_path / "in", **{name: np.roll(noise(), i) for i, name in enumerate("abc")})
    manifests = make_manifests(source, tmp_path / "out", CorpusConfig(), TextConfig(), CheckConfig(), Watching())
    assert [r.id for r in manifests["train"]["recordings"]] == ["a", "b", "c"]
    assert len(manifests["train"]["supervisions"]) == 3 and manifests["train"]["supervisions"].is_lazy
