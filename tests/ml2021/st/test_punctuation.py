"""A mark after each word, as the real sherpa-onnx gives it; windows do not matter; wrong models are one line."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lhotse_prep.workflow.errors import DataError
from ml2021.st.punctuation import Punctuator

TOKENS = ["<unk>", "我", "们", "讲", "机", "器", "好", "吗", "了", "learning", "self", "supervised"]
MARKS = ["<unk>", "_", "，", "。", "？", "、"]
AFTER = {"好": "，", "吗": "？", "了": "。", "learning": "、"}  # what the model of the tests puts after a token
METADATA = {
    "tokens": "|".join(TOKENS),
    "punctuations": "|".join(MARKS),
    "unk_symbol": "<unk>",
    "vocab_size": str(len(TOKENS)),
}


def write_model(path: Path, metadata: dict[str, str] = METADATA, num_marks: int = len(MARKS)) -> Path:
    """A ct-transformer's inputs, output and metadata around a table: the mark depends on the token alone."""
    table = np.zeros((len(TOKENS), num_marks), dtype=np.float32)
    for i, token in enumerate(TOKENS):
        table[i, MARKS.index(AFTER.get(token, "_")) % num_marks] = 5.0
    nodes = [
        helper.make_node("Gather", ["table", "inputs"], ["gathered"]),
        helper.make_node("Cast", ["text_lengths"], ["lengths"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["lengths", "zero"], ["nothing"]),
        helper.make_node("Add", ["gathered", "nothing"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("inputs", TensorProto.INT32, ["N", "T"]),
        helper.make_tensor_value_info("text_lengths", TensorProto.INT32, ["N"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "T", num_marks])]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.float32([0.0]), "zero")]
    graph = helper.make_graph(nodes, "punctuation", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("punctuation") / "model.onnx").parent


def test_words_of_either_script_and_parts_of_terms_are_known(folder: Path) -> None:
    words = ["我", "們", "講", "Learning", "機", "器", "好", "嗎", "self-learning", "嗯", "了"]
    assert Punctuator(folder).sentence_ends(words) == ["", "", "", "、", "", "", "，", "？", "、", "", "。"]


def test_the_end_of_the_lecture_ends_a_sentence(folder: Path) -> None:
    punctuator = Punctuator(folder)
    assert punctuator.sentence_ends([]) == []
    assert punctuator.sentence_ends(["我", "好"]) == ["", "。"]
    assert punctuator.sentence_ends(["我"]) == ["。"] and punctuator.sentence_ends(["嗎"]) == ["？"]


def test_english_has_its_own_marks(folder: Path) -> None:
    assert Punctuator(folder).sentence_ends(["learning"] * 2 + ["x"]) == [",", ",", "."]
    assert Punctuator(folder).sentence_ends(["learning", "我", "了"]) == ["、", "", "。"]


@pytest.mark.parametrize("seed", range(3))
def test_windows_change_nothing(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    words = [rng.choice(["我", "们", "好", "吗", "了", "嗯"]) for _ in range(rng.randint(200, 2000))]
    marks = Punctuator(folder).sentence_ends(words)
    assert marks[:-1] == [AFTER.get(word, "") for word in words[:-1]]


def test_no_window_is_longer_than_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    punctuator, lengths = Punctuator(folder), []
    logits = punctuator._logits
    monkeypatch.setattr(punctuator, "_logits", lambda tokens: lengths.append(len(tokens)) or logits(tokens))
    punctuator.sentence_ends(["我"] * 5000)
    assert max(lengths) == 240 and sum(lengths) < 2.2 * 5000


def test_sherpa_onnx_puts_the_same_marks(folder: Path) -> None:
    """In a process of its own, which sherpa-onnx would end if it disliked the model."""
    words = ["我", "们", "好", "我", "吗", "讲", "机", "器", "了", "我", "们", "讲", "了"]
    code = (
        "import sys, sherpa_onnx as s\n"
        "model = s.OfflinePunctuationModelConfig(ct_transformer=sys.argv[1])\n"
        "print(s.OfflinePunctuation(s.OfflinePunctuationConfig(model=model)).add_punctuation(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", code, str(folder / "model.onnx"), "".join(words)]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    marks = Punctuator(folder).sentence_ends(words)
    assert result.stdout.strip() == "".join(word + mark for word, mark in zip(words, marks, strict=True))


def test_int8_is_taken_where_there_is_nothing_else(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.int8.onnx")
    assert Punctuator(tmp_path).path == path == Punctuator(path).path
    write_model(tmp_path / "model.onnx")
    assert Punctuator(tmp_path).path.name == "model.onnx"


def test_models_that_are_none_are_refused_in_one_line(tmp_path: Path, folder: Path) -> None:
    def refused(path: Path, message: str) -> None:
        with pytest.raises(DataError, match=message) as error:
            Punctuator(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)

    refused(tmp_path / "nothing", "it does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "neither model.onnx nor model.int8.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((folder / "model.onnx").read_bytes()[:200])
    refused(cut, "no readable ONNX model")
    cut.write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(cut, "no readable ONNX model")
    refused(write_model(tmp_path / "other.onnx", {"model_type": "zipformer2"}), "no tokens, punctuations, unk_symbol")
    refused(write_model(tmp_path / "unknown.onnx", METADATA | {"unk_symbol": "<oov>"}), "<oov>")
    refused(write_model(tmp_path / "marks.onnx", num_marks=4), r"shape \(3, 4\)")
    refused(write_model(tmp_path / "tokens.onnx", METADATA | {"tokens": "a|" * 50 + "<unk>"}), "cannot be run")
