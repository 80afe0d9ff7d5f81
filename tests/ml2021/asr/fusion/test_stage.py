"""Stage 6 goes on with a language model that was trained by hand in its folder, and trains what is subtracted."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.stage import Input, Stage
from ml2021.asr.decode import windows
from ml2021.asr.fusion.arpa import read_arpa
from ml2021.asr.fusion.config import LmConfig, RnnLmConfig
from ml2021.asr.fusion.stage import CUTS, TEXTS, lm_stage
from ml2021.asr.fusion.train import main
from ml2021.training.config import TrainConfig


@pytest.fixture
def data(tone_corpus, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """A folder as stages 1, 2 and 4 leave it."""
    for name, source in (("cuts", tone_corpus.cuts), ("lang", tone_corpus.lang)):
        with Stage(name, tmp_path / name, [], {}).work() as out:
            shutil.copytree(source, out, dirs_exist_ok=True)
    with Stage("manifests", tmp_path / "manifests", [], {}).work() as out:
        (out / "texts.jsonl").write_text('{"text": "一 二"}\n')
    return tmp_path


def stage(data: Path, config: LmConfig) -> Stage:
    inputs = [Input(data / "cuts", 4, CUTS), Input(data / "lang", 2), Input(data / "manifests", 1, TEXTS)]
    return lm_stage(inputs, data / "lm", config)


def test_a_language_model_by_hand_is_taken_over(data: Path) -> None:
    folders = ["--cuts", str(data / "cuts"), "--lang-dir", str(data / "lang"), "--lm-dir", str(data / "lm")]
    main([*folders, "--texts", str(data / "manifests" / "texts.jsonl"), "--kind", "ngram", "--order", "3"])
    by_hand = (data / "lm" / "lm.arpa").read_bytes()
    key = json.loads((data / "lm" / ".key").read_text())
    (data / "lm" / ".key").write_text(json.dumps(key | {"worked": 100.0}))
    with pytest.raises(DataError, match=r"lm\.order was 3 and is 2"), stage(data, LmConfig("ngram", 2)).work():
        pass
    same = LmConfig("ngram", 3, RnnLmConfig(dim=3), TrainConfig(base_lr=9.0))  # which an n-gram model does not use
    assert stage(data, same).key == key["key"]
    with stage(data, same).work() as out:
        assert (out / "lm.arpa").read_bytes() == by_hand
    (data / "lm" / ".key").unlink()
    (data / "lm" / ".done").unlink()
    with pytest.raises(DataError, match=r"lm\.order was 3 and is 4"), stage(data, LmConfig("ngram", 4)).work():
        pass
    with stage(data, LmConfig("ngram", 3)).work() as out:
        assert (out / "lm.arpa").read_bytes() == by_hand


def test_stage_6_trains_the_model_that_is_subtracted_on_the_train_windows_alone(
    data: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def decode_parts(*arguments: Any) -> dict[str, Any]:
        decoded.append(arguments[4].lodr_dir)
        return {}

    monkeypatch.chdir(project)
    monkeypatch.setattr(windows, "decode_parts", decode_parts)
    with Stage("asr-train", data / "asr", [], {}).work() as out:
        (out / "config.json").write_text("{}")
    values = "decoding_method: modified_beam_search, lm_scale: 0.2, lodr_scale: 0.1, both_heads: false"
    (data / "decode.yaml").write_text(f"decode: {{{values}}}\nlm: {{kind: ngram, order: 3}}\n")
    arguments = ["--conf", str(data), "--data", str(data), "--exp", str(data)]
    main_of_stage_6 = runpy.run_path(str(project / "local" / "asr_decode.py"))["main"]
    main_of_stage_6(arguments)
    models = {name: read_arpa(data / name / "lm.arpa") for name in ("lm", "lodr")}
    assert {name: model.order for name, model in models.items()} == {"lm": 3, "lodr": 2}
    scores = {name: json.loads((data / name / "scores.json").read_text()) for name in models}
    assert scores["lm"]["lm_num_tokens"] == scores["lodr"]["lm_num_tokens"] + 2  # texts.jsonl
    main_of_stage_6(arguments)
    assert decoded == [str(data / "lodr")]
