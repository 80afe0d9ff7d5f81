"""A corpus of tones for tests that train a recogniser: each token is a frequency band."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, Features, MonoCut, NumpyFilesWriter, SupervisionSegment

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.train import train_recogniser

TOKENS = "一二三四五六七八"
FRAMES_PER_TOKEN = 16
CONF = """
asr:
  model:
    encoder:
      num_encoder_layers: [1, 1]
      downsampling_factor: [1, 2]
      encoder_dim: [32, 48]
      encoder_unmasked_dim: [24]
      feedforward_dim: [64]
      num_heads: [2]
      query_head_dim: [16]
      cnn_module_kernel: [7]
    decoder_dim: 32
    joiner_dim: 32
    warm_step: 10
  data:
    max_duration: 4.0
    ref_duration: 0.1
    num_buckets: 2
    spec_augment: {num_frame_masks: 2, max_frames_mask: 6, num_feature_masks: 1, features_mask_size: 5}
  train:
    num_epochs: 2
    optimizer: scaled_adam
    schedule: eden
    base_lr: 0.03
    warmup_steps: 5
    average_period: 2
    average_epochs: 1
    keep_epochs: 3
    save_every_n: 3
    log_interval: 1
"""


@dataclass(frozen=True)
class ToneCorpus:
    """Folders in the layout of stages 2 and 4."""

    cuts: Path
    lang: Path


def write_tones(folder: Path, part: str, num_cuts: int, seed: int) -> None:
    """Write cuts of two to six tokens, with features on disk."""
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
                type="fbank",
                num_frames=num_frames,
                num_features=80,
                frame_shift=0.01,
                sampling_rate=16000,
                start=0,
                duration=duration,
                storage_type="numpy_files",
                storage_path=str(folder / f"feats_{part}"),
                storage_key=writer.write(cut_id, values),
                recording_id=cut_id,
                channels=0,
            )
            text = " ".join(TOKENS[t] for t in ids)
            supervision = SupervisionSegment(cut_id, cut_id, 0.0, duration, text=text)
            cuts.append(MonoCut(cut_id, 0.0, duration, 0, supervisions=[supervision], features=features))
    CutSet.from_cuts(cuts).to_file(folder / f"ml2021_cuts_{part}.jsonl.gz")


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> ToneCorpus:
    """24 train cuts, 4 dev cuts, and a lang folder for them."""
    folder = tmp_path_factory.mktemp("tones")
    corpus = ToneCorpus(folder / "cuts", folder / "lang")
    for part, num_cuts in (("train", 24), ("dev", 4)):
        write_tones(corpus.cuts, part, num_cuts, seed=num_cuts)
    english = ["model data"] * 3
    make_lang([" ".join(TOKENS), *english], english, corpus.lang, LangConfig(num_english_pieces=10))
    assert Counter(TOKENS).keys() <= set(load_lang(corpus.lang).symbols)
    return corpus


@pytest.fixture(scope="session")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conf")
    (folder / "asr.yaml").write_text(CONF)
    return folder


@pytest.fixture(scope="session")
def config(conf: Path) -> AsrConfig:
    return load_config(conf / "asr.yaml", "asr", AsrConfig)


@pytest.fixture(scope="session")
def one_epoch(config: AsrConfig) -> AsrConfig:
    train = replace(config.train, num_epochs=1)
    return replace(config, train=train)


@pytest.fixture(scope="session")
def trained(tone_corpus, one_epoch, tmp_path_factory):  # type: ignore[no-untyped-def]
    """An experiment folder after one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, folder, one_epoch)
    return folder


@pytest.fixture(scope="session")
def other_lang(tone_corpus, tmp_path_factory):  # type: ignore[no-untyped-def]
    """A lang folder with the same characters and two more."""
    folder = tmp_path_factory.mktemp("lang")
    words = ["model data"] * 3
    make_lang(["一 二 三 四 五 六 七 八 九 十", *words], words, folder, LangConfig(num_english_pieces=10))
    return folder
