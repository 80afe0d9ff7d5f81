"""Training from a published Marian model: its weights, its pieces, its spacing of Chinese text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import MarianMTModel

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.mt.check_export import compare_translations
from ml2021.mt.config import MtConfig, MtDataConfig, TranslateConfig
from ml2021.mt.export import convert
from ml2021.mt.load import load_vocabulary
from ml2021.mt.pretrained import copy_vocabulary, find_pretrained, load_pretrained
from ml2021.mt.train import train_translator
from ml2021.training.config import TrainConfig
from tests.ml2021.mt.published_models import CHINESE, ENGLISH, write_marian

CONFIG = MtConfig(
    data=MtDataConfig(max_tokens=200, join_probability=0.0),
    train=TrainConfig(num_epochs=1, base_lr=1e-4, warmup_steps=1, average_epochs=1, keep_epochs=2, average_period=1),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in the published format."""
    folder = tmp_path_factory.mktemp("published")
    write_marian(folder)
    return folder


@pytest.fixture(scope="module")
def bitext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bitext")
    rows = [
        {"id": f"x-{i}", "lecture": "x", "source": " ".join(s.replace("bert", "")), "target": t, "first_token": 20 * i}
        for i, (s, t) in enumerate(zip(CHINESE, ENGLISH))
    ]
    for part in ("train", "dev", "test"):
        write_jsonl(folder / f"{part}.jsonl", rows)
    return folder


def test_training_starts_from_the_weights_and_keeps_the_pieces(published, bitext, tmp_path):
    still = replace(CONFIG.train, base_lr=1e-9, weight_decay=0.0)
    train_translator(bitext, tmp_path, replace(CONFIG, train=still, init_from=str(published)), torch.device("cpu"))
    before = MarianMTModel.from_pretrained(published).state_dict()
    after = MarianMTModel.from_pretrained(tmp_path / "marian").state_dict()
    for name in before:
        if name != "final_logits_bias":  # training keeps padding out of translations
            assert torch.allclose(before[name], after[name], atol=1e-6), name
    vocabulary = load_vocabulary(tmp_path / "marian")
    assert vocabulary.ids == json.loads((published / "vocab.json").read_text())
    assert vocabulary.source_text(("我", "們", "bert", "好")) == "我們 bert 好"
    convert(tmp_path / "marian", tmp_path / "ct2")
    assert load_vocabulary(tmp_path / "ct2").source_text(("我", "們")) == "我們"
    config = TranslateConfig(max_length=20, beam_size=2)
    same = compare_translations(tmp_path / "marian", tmp_path / "ct2", bitext / "test.jsonl", config, 12)
    assert same["ctranslate2_same_percent"] == 100


def test_a_model_of_this_project_keeps_its_spaces(published, tmp_path):
    ours = tmp_path / "ours"
    shutil.copytree(published, ours)
    shutil.copyfile(ours / "source.spm", ours / "target.spm")
    assert copy_vocabulary(ours, tmp_path / "copy").source_text(("我", "們")) == "我 們"


def test_unsupported_incomplete_and_mismatched_models_are_refused(published, tmp_path):
    broken = tmp_path / "t5"
    shutil.copytree(published, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    with pytest.raises(DataError, match="t5 model; training can only start from marian or m2m_100"):
        find_pretrained(str(broken))
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "target.spm").unlink()
    with pytest.raises(DataError, match="incomplete marian model: it has no target.spm"):
        find_pretrained(str(broken))
    vocabulary = copy_vocabulary(published, tmp_path / "vocabulary")
    vocabulary.ids.popitem()
    vocabulary.ids.popitem()
    vocabulary.ids["<pad>"] = len(vocabulary.ids)
    with pytest.raises(DataError, match="not the one that its model was trained with"):
        load_pretrained(published, vocabulary)


def test_error_for_a_name_unknown_to_the_hub_is_one_line(monkeypatch):
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("no such repository\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(DataError, match="init_from nobody/nothing is not a folder.*no such repository$"):
        find_pretrained("nobody/nothing")
