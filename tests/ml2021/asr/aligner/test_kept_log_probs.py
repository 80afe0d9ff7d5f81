"""Log-probs of lectures in files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ml2021.asr.aligner.kept_log_probs import KeptLogProbs
from ml2021.asr.aligner.prepared import PreparedLecture


def test_kept_log_probs_are_those_of_the_same_recording_and_outlast_faults(tmp_path: Path, caplog) -> None:
    blocks = [np.random.default_rng(i).normal(size=(n, 7)).astype(np.float32) for i, n in enumerate((400, 700, 1))]
    kept, computed = KeptLogProbs(tmp_path / "log-probs" / "model"), []

    def taken(digest: str) -> np.ndarray:
        item = PreparedLecture("講座 1", [], np.zeros((0, 80)), np.zeros((0, 2)), np.zeros(0), digest)
        return np.concatenate(list(kept.blocks(item, lambda: computed.append(digest) or iter(blocks))))

    for digest in ("a", "a", "b", "a"):  # b: another recording of that name
        assert np.array_equal(taken(digest), np.concatenate(blocks))
    assert computed == ["a", "b"] and not caplog.messages
    (path,) = kept.folder.glob("*-a.f32")
    for content in (b"", path.read_bytes()[:-3]):
        path.write_bytes(content)
        assert np.array_equal(taken("a"), np.concatenate(blocks))
    shutil.rmtree(kept.folder)
    kept.folder.write_text("no folder, as where the disk is full")
    assert np.array_equal(taken("a"), np.concatenate(blocks))
    assert [m.startswith("lecture 講座 1: its log-probs are not kept in ") for m in caplog.messages] == [True] * 3
