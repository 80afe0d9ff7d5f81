"""Corpora with a truth: whose voices are heard in the damage, and copies with damaged sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from benchmarks.lecture_damage import SpokenLecture
from benchmarks.spoken_corpora import others_of, read_corpora, write_damaged
from lhotse_prep.workflow.files import MARK


def test_voices_are_of_other_corpora_and_texts_of_other_lectures() -> None:
    x, y, z = (
        SpokenLecture.of_truth(name, np.full(3, n, np.float32), [(0.0, 1.0, name)]) for n, name in enumerate("xyz")
    )
    others = others_of(x, Path("a"), {Path("a"): [x, y], Path("b"): [z]})
    assert [v[0] for v in others.voices] == [2] and others.texts == [["y"], ["z"]]
    alone = others_of(x, Path("a"), {Path("a"): [x, y]})
    assert [v[0] for v in alone.voices] == [1] and alone.texts == [["y"]]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """A corpus of one lecture of 20 s with two utterances."""
    corpus = tmp_path / "voices"
    (corpus / "truth").mkdir(parents=True)
    truth = [[1.0, 3.0, "甲 乙"], [15.0, 18.0, "丙"]]
    (corpus / "truth/x.json").write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8")
    (corpus / "x.txt").write_text("甲乙丙", encoding="utf-8")
    (corpus / "x.en.txt").write_text("a b c", encoding="utf-8")
    sf.write(corpus / "x.flac", 0.1 * np.sin(np.arange(20 * 16_000) / 10), 16_000)
    return corpus


def test_a_damaged_copy_has_the_true_times(folder: Path, tmp_path: Path) -> None:
    copy, corpora = tmp_path / "copy", read_corpora([folder])
    corpora[tmp_path] = [SpokenLecture.of_truth("y", np.ones(16_000, np.float32), [(0.0, 1.0, "丁 戊")])]
    write_damaged(folder, corpora, "break", 0, copy)
    ((before,), (after,)) = read_corpora([folder])[folder], read_corpora([copy])[copy]
    assert after.words == before.words and after.seconds - before.seconds == pytest.approx(600, abs=1)
    longer = after.utterances - before.utterances
    assert longer[0].tolist() == [0, 0] and longer[1] == pytest.approx([600, 600], abs=1)
    assert (copy / "x.txt").read_bytes() == (folder / "x.txt").read_bytes()
    write_damaged(folder, corpora, "pink-5", 0, copy)  # in place of the other
    ((noisy,),) = read_corpora([copy]).values()
    assert len(noisy.samples) == len(before.samples) and not np.allclose(noisy.samples, before.samples, atol=0.01)


def test_a_lecture_alone_has_no_other_voices(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="x is the only lecture: give another corpus, for other voices and texts"):
        write_damaged(folder, read_corpora([folder]), "break", 0, tmp_path / "copy")


def test_a_corpus_is_copied_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    (folder / "x.en.txt").unlink()
    (folder / "splits.yaml").write_text("x: dev\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        write_damaged(folder, read_corpora([folder]), "break", 0, tmp_path / "copy")
    corpora = read_corpora([folder])
    corpora[tmp_path] = [SpokenLecture.of_truth("y", np.ones(16_000, np.float32), [(0.0, 1.0, "丁 戊")])]
    with pytest.raises(SystemExit, match=r"--damage rom: no damage 'rom'; there are none, "):
        write_damaged(folder, corpora, "rom", 0, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    write_damaged(folder, corpora, "pink-5", 0, tmp_path / "copy")
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == [MARK, "splits.yaml", "truth", "x.flac", "x.txt"]


def test_damage_to_the_text_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--damage foreign changes the text: use benchmarks/alignment_damage.py"):
        corpora = read_corpora([folder])
        corpora[tmp_path] = [SpokenLecture.of_truth("y", np.zeros(16_000, np.float32), [(0.0, 1.0, "丁 " * 300)])]
        write_damaged(folder, corpora, "foreign", 0, tmp_path / "copy")
