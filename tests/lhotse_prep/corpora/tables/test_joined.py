"""Lectures joined with their utterances: boundaries are recovered to the sample and used instead of an alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from lhotse import SupervisionSet, load_manifest

from lhotse_prep.cli import main
from lhotse_prep.corpora.tables.find_pieces import PREFIX, Piece, PiecePlace, digest_of, find_pieces, prefix_hash
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000


def pieces_of(sounds: dict[str, np.ndarray]) -> dict[int, list[Piece]]:
    pieces: dict[int, list[Piece]] = {}
    for name, pcm in sounds.items():
        pieces.setdefault(prefix_hash(pcm), []).append(Piece(name, len(pcm), digest_of(pcm)))
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_pieces_are_found_where_they_are(seed: int) -> None:
    """Pieces back to back, with gaps, with a common beginning, and one that is missing."""
    rng = np.random.default_rng(seed)
    sounds = {f"u{i}": rng.integers(-999, 999, rng.integers(PREFIX, 9000), dtype=np.int16) for i in range(8)}
    sounds["longer"] = np.concatenate([sounds["u0"], rng.integers(-9, 9, 500, dtype=np.int16)])
    parts, places, at = [], [], 0
    for name in rng.permutation(sorted(sounds)):
        gap = rng.integers(-99, 99, rng.integers(0, 2000) * rng.integers(0, 2), dtype=np.int16)
        parts += [gap, sounds[name]]
        places.append(PiecePlace(name, at + len(gap), at + len(gap) + len(sounds[name])))
        at = places[-1].end
    absent = rng.integers(-999, 999, 4000, dtype=np.int16)
    recording = np.concatenate([*parts, absent[:3000]])
    assert find_pieces(recording, pieces_of(sounds | {"absent": absent})) == places


def test_hash_rolls_across_blocks() -> None:
    rng = np.random.default_rng(0)
    recording = rng.integers(-999, 999, (1 << 20) + 9000, dtype=np.int16)
    at = (1 << 20) - PREFIX // 2
    assert find_pieces(recording, pieces_of({"u": recording[at : at + 5000]})) == [PiecePlace("u", at, at + 5000)]


def flac(path: Path, pcm: np.ndarray) -> bytes:
    sf.write(path, pcm, RATE)
    return path.read_bytes()


def corpus(tmp_path: Path) -> tuple[Path, dict[str, list[tuple[str, int]]]]:
    """Tables of two lectures of six test utterances, of which two are also in dev, and one training utterance.

    Returns:
      The folder, and (id, number of samples) of the utterances of each lecture.
    """
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    lectures: dict[str, list[tuple[str, int]]] = {}
    long_rows, rows = [], {"train": [], "dev": [], "test": []}
    for lecture in ("week1_1", "week1_2"):
        pcms = [rng.integers(-9999, 9999, int(rng.uniform(16, 24) * RATE), dtype=np.int16) for _ in range(6)]
        texts = [f"第 {'一二三四五六'[i]} 句 term-{i} " * 4 for i in range(6)]
        utterances = []
        for i, (pcm, text) in enumerate(zip(pcms, texts)):
            name = f"{lecture}_{i:03d}"
            content = {
                "audio": {"bytes": flac(tmp_path / "x.flac", pcm), "path": f"{name}.wav"},
                "file": f"{name}.wav",
                "transcription": text,
                "translation": f"Sentence {i}.",
            }
            rows["test"].append(content)
            if i == 4:
                rows["dev"].append(content)
            utterances.append((name, len(pcm)))
        lectures[lecture] = utterances
        long_rows.append(
            {
                "audio": {"bytes": flac(tmp_path / "x.flac", np.concatenate(pcms)), "path": f"{lecture}.wav"},
                "file": f"{lecture}.wav",
                "transcription": " ".join(t.strip() for t in texts),
                "translation": " ".join(f"Sentence {i}." for i in range(6)),
            }
        )
    pcm = rng.integers(-9999, 9999, 3 * RATE, dtype=np.int16)
    rows["train"].append(
        {
            "audio": {"bytes": flac(tmp_path / "x.flac", pcm), "path": "t.wav"},
            "file": "week9_1_000.wav",
            "transcription": "訓 練",
            "translation": "Training.",
        }
    )
    for folder, part, content in [("long", "test", long_rows), *(("short", p, rows[p]) for p in rows)]:
        (tmp_path / "in" / folder).mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(content), tmp_path / "in" / folder / f"{part}-0.parquet")
    return tmp_path / "in", lectures


def test_boundaries_are_exact_and_used_instead_of_an_alignment(tmp_path: Path) -> None:
    path, lectures = corpus(tmp_path)
    main(["manifests", str(path), str(tmp_path / "m"), "--script", "t2s"])
    main(["align", str(tmp_path / "m"), str(tmp_path / "a")])
    test = load_manifest(tmp_path / "a/ml2021_supervisions_test.jsonl.gz", SupervisionSet)
    for lecture, utterances in lectures.items():
        supervisions = [s for s in test if s.recording_id == lecture]
        edges = np.concatenate([[0], np.cumsum([n for _, n in utterances])])
        assert [s.custom["utterance"] for s in supervisions] == [name for name, _ in utterances]
        assert [round(s.start * RATE) for s in supervisions] == edges[:-1].tolist()
        assert [round(s.end * RATE) for s in supervisions] == edges[1:].tolist()
        assert [s.text for s in supervisions] == [
            " ".join(["第", "一二三四五六"[i], "句", f"term-{i}"] * 4) for i in range(6)
        ]
        assert [s.custom["first_token"] for s in supervisions] == [16 * i for i in range(6)]
        assert [s.custom["translated_text"]["eng"] for s in supervisions] == [f"Sentence {i}." for i in range(6)]
        assert [bool(s.custom.get("in_dev")) for s in supervisions] == [i == 4 for i in range(6)]
    dev = load_manifest(tmp_path / "a/ml2021_supervisions_dev.jsonl.gz", SupervisionSet)
    train = load_manifest(tmp_path / "a/ml2021_supervisions_train.jsonl.gz", SupervisionSet)
    assert [s.id for s in dev] == ["week1_1_004", "week1_2_004"] and [s.text for s in train] == ["训 练"]
    assert all(r["exact"] and r["timed_part"] == 1 for r in read_jsonl(tmp_path / "a/confidence.jsonl"))
    main(["windows", str(tmp_path / "m"), str(tmp_path / "a"), str(tmp_path / "w")])
    cuts = load_manifest(tmp_path / "w/ml2021_cuts_test.jsonl.gz")
    assert sorted(s.custom["utterance"] for c in cuts for s in c.supervisions) == sorted(
        name for utterances in lectures.values() for name, _ in utterances
    )


def test_utterances_with_other_texts_than_the_transcript_are_not_used(tmp_path: Path, caplog) -> None:  # noqa: ANN001
    path, _ = corpus(tmp_path)
    table = pq.read_table(path / "long/test-0.parquet").to_pylist()
    table[0]["transcription"] += " 多 的"
    pq.write_table(pa.Table.from_pylist(table), path / "long/test-0.parquet")
    main(["manifests", str(path), str(tmp_path / "m")])
    segments = load_manifest(tmp_path / "m/ml2021_segments_test.jsonl.gz", SupervisionSet)
    assert {s.recording_id for s in segments} == {"week1_2"}
    assert any("lecture week1_1: its 6 utterances have 96 tokens, its transcript 98" in m for m in caplog.messages)


def test_the_same_name_in_two_parts_keeps_each_rows_text_and_sound(tmp_path: Path) -> None:
    """Without utterances of test, those of train and dev are searched for, of which two are called alike."""
    rng = np.random.default_rng(1)
    pcms = [rng.integers(-9999, 9999, 2 * RATE, dtype=np.int16) for _ in range(4)]
    texts = ["甲 一", "乙 二", "丙 三", "丁 四"]

    def row(name: str, pcm: np.ndarray, text: str) -> dict:
        audio = {"bytes": flac(tmp_path / "x.flac", pcm), "path": name}
        return {"audio": audio, "file": name, "transcription": text, "translation": f"{text} in English"}

    tables = {
        "long/lectures": [row("week1.wav", np.concatenate(pcms), " ".join(texts))],
        "short/train": [row("a.wav", pcms[0], texts[0]), row("b.wav", pcms[1], texts[1])],
        "short/dev": [row("a.wav", pcms[2], texts[2]), row("b.wav", pcms[3], texts[3])],
    }
    for name, rows in tables.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / f"{name}-00000-of-00001.parquet")
    options = ["--kind", "long", "--utterances", str(tmp_path / "in/short")]
    main(["corpus", str(tmp_path / "in/long"), str(tmp_path / "out"), *options])
    segments = read_jsonl(tmp_path / "out" / "segments.jsonl")
    assert [(s["begin"], s["text"], s["translation"]) for s in segments] == [
        (2 * RATE * i, text, f"{text} in English") for i, text in enumerate(texts)
    ]
    assert len({s["id"] for s in segments}) == 4
