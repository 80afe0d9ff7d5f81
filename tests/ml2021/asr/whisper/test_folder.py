"""What is a Whisper model, and what a user is told about one that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.whisper.folder import is_whisper, model_folder


@pytest.fixture()
def copy(tiny_whisper: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_whisper, tmp_path / "model"))


@pytest.mark.parametrize(
    "name",
    ["base", "base.en", "large-v3", "turbo", "distil-large-v3.5", "openai/whisper-small"]
    + ["SoybeanMilk/faster-whisper-Breeze-ASR-25", "MediaTek-Research/Breeze-ASR-25"],
)
def test_names(name: str) -> None:
    assert is_whisper(name)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-ASR-0.6B", "bases", "", "/tmp/whisper/base", "exp/mini/asr", "large-v9"])
def test_other_names(name: str) -> None:
    assert not is_whisper(name)


def test_folders(tiny_whisper: Path, tmp_path: Path) -> None:
    assert is_whisper(tiny_whisper) and is_whisper(str(tiny_whisper))
    assert not is_whisper(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\x06\0\0\0\x10\0TransformerSpec\0")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert not is_whisper(tmp_path)
    assert not is_whisper(tmp_path / "model.bin")
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}', encoding="utf-8")
    assert is_whisper(tmp_path)  # of transformers: what to do is said when it is opened


def test_a_complete_folder_is_taken(tiny_whisper: Path) -> None:
    assert model_folder(str(tiny_whisper)) == tiny_whisper


def of_transformers(folder: Path) -> None:
    (folder / "model.bin").rename(folder / "model.safetensors")


def with_tokenizer_of_another_model(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["added_tokens"]:
        row["id"] += 1
    path.write_text(json.dumps(content), encoding="utf-8")


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.bin").unlink(), r"has no model\.bin: copy or download all"),
        (
            of_transformers,
            r"is not in CTranslate2's format .*ct2-transformers-converter --model \S*/model --output_dir",
        ),
        (written("model.bin", b"version https://git-lfs.github.com/spec/v1\n"), r"pointer of Git LFS.*git lfs pull"),
        (written("model.bin", b"\x06\0\0\0\x10\0TransformerSpec\0"), r"and they are those of a TransformerSpec"),
        (written("model.bin", b""), r"model\.bin should be .* damaged, or not CTranslate2's"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (written("config.json", b"{"), r"config\.json is damaged"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (written("tokenizer.json", b"[]"), r"tokenizer\.json is damaged"),
        (
            with_tokenizer_of_another_model,
            r"is not the tokenizer of this Whisper model: its <\|startoftranscript\|> is",
        ),
        (lambda folder: (folder / "vocabulary.json").unlink(), r"has no vocabulary\.json or vocabulary\.txt"),
        (written("vocabulary.json", b"\xff"), r"vocabulary\.json is damaged"),
        (written("vocabulary.json", b"{}"), r"vocabulary\.json is damaged: it is not a list"),
    ],
)
def test_damaged_folders_are_refused(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(DataError, match=message) as e:
        model_folder(str(copy))
    assert "\n" not in str(e.value)


def test_a_file_is_refused(tiny_whisper: Path) -> None:
    with pytest.raises(DataError, match="is a file: name the folder"):
        model_folder(str(tiny_whisper / "model.bin"))


def test_a_name_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    faster_whisper = pytest.importorskip("faster_whisper.utils")

    def fail(*args: object, **kwargs: object) -> str:
        raise hub.errors.LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(faster_whisper.huggingface_hub, "snapshot_download", fail)
    with pytest.raises(DataError, match=r"Whisper model base is not a folder here .*\(no connection\): check its name"):
        model_folder("base")
    with pytest.raises(DataError, match=r"Whisper model nobody is not a folder here .*Invalid model size"):
        model_folder("nobody")
