"""What a folder or a name on the hub is; every wrong one is one line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.qwen.checkpoint import (
    ALIGNER,
    HUB_ALIGNER,
    HUB_RECOGNISER,
    RECOGNISER,
    choose_device,
    choose_dtype,
    digests_of,
    find_checkpoint,
    kind_of,
    load_checkpoint,
)

CPU = torch.device("cpu")


@pytest.fixture
def folder(recogniser_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recogniser_folder, tmp_path / "qwen"))


def load(name: str | Path, kind: str = RECOGNISER) -> None:
    load_checkpoint(name, kind, CPU, torch.float32)


def test_kinds_of_folders_and_names(
    recogniser_folder: Path, aligner_folder: Path, original_of: Callable[[Path, bool], Path], tmp_path: Path
) -> None:
    assert kind_of(recogniser_folder) == kind_of(str(recogniser_folder)) == RECOGNISER
    assert kind_of(aligner_folder) == ALIGNER
    assert kind_of(original_of(aligner_folder, True)) == ALIGNER
    assert kind_of(original_of(recogniser_folder, False)) == RECOGNISER
    names = ("Qwen/Qwen3-ASR-1.7B", "Qwen/Qwen3-ASR-0.6B-hf", HUB_RECOGNISER, "someone/qwen3_asr-zh-tw")
    assert {kind_of(name) for name in names} == {RECOGNISER}
    assert {kind_of(name) for name in ("Qwen/Qwen3-ForcedAligner-0.6B", HUB_ALIGNER)} == {ALIGNER}
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper/config.json").write_text('{"model_type": "whisper"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("{")
    others = (tmp_path, tmp_path / "whisper", tmp_path / "broken", tmp_path / "none", "exp/a/qwen3-asr", "base")
    assert {kind_of(other) for other in (*others, "Qwen/Qwen3-8B", "Qwen/Qwen2-Audio-7B")} == {""}


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def lose_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.multi_modal_projector.linear_1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def index_without_its_part(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def set_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), "is not a model of transformers: it has no config.json"),
        (write("config.json", "{"), "config.json cannot be read"),
        (write("config.json", "[]"), "config.json is not a JSON object"),
        (set_config(model_type="qwen3"), "is a model of type qwen3, not Qwen3-ASR"),
        (set_config(model_type=None), "names no model_type, not Qwen3-ASR"),
        (set_config(architectures=["Qwen3ASRForTokenClassification"]), "which times words that are known"),
        (set_config(audio_config={"d_model": "wide"}), "cannot be read as a recogniser of Qwen3-ASR: "),
        (set_config(audio_token_id=5), "its tokenizer is not the one of its model: <|audio_pad|> is not id 5 in it"),
        (remove("model.safetensors"), "is incomplete: it has no model.safetensors"),
        (index_without_its_part, "is incomplete: it has no model-00001-of-00002.safetensors"),
        (write("model.safetensors.index.json", "{}"), "names no parts"),
        (remove("tokenizer.json"), "is incomplete: it has no tokenizer.json"),
        (write("tokenizer.json", "{}"), "cannot be read as a recogniser of Qwen3-ASR: "),
        (remove("chat_template.jinja"), "is incomplete: it has no chat_template.jinja"),
        (remove("processor_config.json"), "cannot be read as a recogniser of Qwen3-ASR: "),
        (write("model.safetensors", "version https://git-lfs.github.com/\noid"), "safetensors is a pointer"),
        (cut_weights, "cannot be read as a recogniser of Qwen3-ASR: "),
        (lose_a_weight, "1 of the model's weights are not in it, such as model.multi_modal_projector.linear_1.weight"),
    ],
)
def test_damaged_folders_are_one_line(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(DataError) as error:
        load(folder)
    assert message in str(error.value) and str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recogniser_is_no_aligner(recogniser_folder: Path, aligner_folder: Path) -> None:
    with pytest.raises(DataError, match="is a recogniser of Qwen3-ASR, not its forced aligner"):
        load(recogniser_folder, ALIGNER)
    with pytest.raises(DataError, match="forced aligner, which times words that are known"):
        load(aligner_folder, RECOGNISER)


def test_other_names_are_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    (tmp_path / "file").write_text("")
    for name in (tmp_path / "none", tmp_path / "file", "exp/models/qwen", "qwen"):
        with pytest.raises(DataError, match="neither a folder nor the name of a model on the hub"):
            find_checkpoint(name, RECOGNISER)


def test_a_name_is_downloaded_after_a_look_at_its_kind(aligner_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(aligner_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_checkpoint(HUB_ALIGNER, ALIGNER) == aligner_folder
    assert asked[0] == ["config.json"] and "*.safetensors" in asked[1]
    with pytest.raises(DataError, match="^me/qwen3-asr is Qwen's forced aligner"):
        find_checkpoint("me/qwen3-asr", RECOGNISER)
    assert asked[2:] == [["config.json"]]


def test_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("cannot find it\nin the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = f"{HUB_RECOGNISER} is not a folder and cannot be downloaded from the hub: it does not answer, .*"
    with pytest.raises(DataError, match=message):
        load(HUB_RECOGNISER)


def test_an_older_transformers_is_one_line(recogniser_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="4.57.1"))
    with pytest.raises(ConfigError, match="needs transformers 5.20 or later, and 4.57.1 is installed: pip install"):
        load(recogniser_folder)


def test_a_gpu_that_is_too_small_is_one_line(recogniser_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transformers.Qwen3ASRForConditionalGeneration.to", to)
    with pytest.raises(ConfigError, match="does not fit into the free memory of device cpu: use device cpu"):
        load(recogniser_folder)


def test_digests_change_with_a_file(folder: Path) -> None:
    before = digests_of(folder)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= before.keys()
    (folder / "chat_template.jinja").write_text("other")
    after = digests_of(folder)
    assert {name for name in before if before[name] != after[name]} == {"chat_template.jinja"}


def test_devices_and_precisions() -> None:
    assert choose_device("cpu") == CPU
    assert choose_dtype("default", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(ConfigError, match="compute_type of Qwen3-ASR must be default, float32.* got 'int8'"):
        choose_dtype("int8", CPU)
    with pytest.raises(ConfigError, match="device must be cpu, cuda .* got 'gpu'"):
        choose_device("gpu")
    with pytest.raises(ConfigError, match="device is cuda:99, but torch finds"):
        choose_device("cuda:99")
