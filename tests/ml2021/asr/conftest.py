"""A corpus of tones for tests that train a recogniser: each token is a band of frequencies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, Features, MonoCut, NumpyFilesWriter, SupervisionSegment

from lhotse_prep.prep_config import LangConfig
from lhotse_prep.tokens import load_lang, make_lang

TOKENS = "一二三四五六七八"
FRAMES_PER_TOKEN = 16


@dataclass(frozen=True)
class ToneCorpus:
    """Folders as stages 2 and 4 leave them."""

    cuts: Path
    lang: Path


def write_tones(folder: Path, part: str, num_cuts: int, seed: int) -> None:
    """Cuts of two to six tokens, with features on disk."""
    rng = np.random.default_rng(seed)
    cuts = []
    with NumpyFilesWriter(str(folder / f"feats_{part}")) as writer:
        for i in range(num_cuts):
            ids = rng.integers(0, len(TOKENS), rng.integers(2, 7))
            num_frames = FRAMES_PER_TOKEN * len(ids) + 12
            values = rng.normal(-8, 0.5, (num_frames, 80)).astype(np.float32)
            for j, token in enumerate(ids.tolist()):
                begin = FRAMES_PER_TOKEN * j + 6
                values[begin : begin + FRAMES_PER_TOKEN - 2, 10 * token : 10 * token + 10] += 8
            duration = num_frames / 100
            cut_id = f"{part}-{i:04d}"
            features = Features(
                type="fbank", num_frames=num_frames, num_features=80, frame_shift=0.01, sampling_rate=16000, start=0,
                duration=duration, storage_type="numpy_files", storage_path=str(folder / f"feats_{part}"),
                storage_key=writer.write(cut_id, values), recording_id=cut_id, channels=0,
            )  # fmt: skip
            text = " ".join(TOKENS[t] for t in ids)
            supervision = SupervisionSegment(cut_id, cut_id, 0.0, duration, text=text)
            cuts.append(MonoCut(cut_id, 0.0, duration, 0, supervisions=[supervision], features=features))
    CutSet.from_cuts(cuts).to_file(folder / f"ml2021_cuts_{part}.jsonl.gz")


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> ToneCorpus:
    """24 train cuts, 4 dev cuts, and their tokens."""
    folder = tmp_path_factory.mktemp("tones")
    corpus = ToneCorpus(folder / "cuts", folder / "lang")
    for part, num_cuts in (("train", 24), ("dev", 4)):
        write_tones(corpus.cuts, part, num_cuts, seed=num_cuts)
    english = ["model data"] * 3
    make_lang([" ".join(TOKENS), *english], english, corpus.lang, LangConfig(num_english_pieces=10))
    assert Counter(TOKENS).keys() <= set(load_lang(corpus.lang).symbols)
    return corpus
