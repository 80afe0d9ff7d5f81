"""The context of a sentence: whole sentences of the same lecture, as many as fit, and as many as in training."""

from __future__ import annotations

import json
import random
import runpy
import shutil
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.mt.check_export import compare_translations
from ml2021.mt.config import MtConfig, MtDataConfig, MtModelConfig, NoiseConfig, TranslateConfig
from ml2021.mt.data import SentencePair, TranslationBatches, contexts_of, with_context
from ml2021.mt.decode import decode_bitext
from ml2021.mt.export import convert
from ml2021.mt.load import load_vocabulary
from ml2021.mt.model import build_model
from ml2021.mt.train import save_marian, train_translator
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator, load_translator, previous_sentences
from ml2021.mt.vocabulary import SOURCE_STYLE, SourceStyle, train_vocabulary
from ml2021.training.config import TrainConfig

PAIRS = [
    SentencePair("a-0", "a", ("一", "二"), "one two", 0),
    SentencePair("a-1", "a", ("三",), "three", 2),
    SentencePair("a-2", "a", ("四", "五"), "four five", 3),
    SentencePair("a-4", "a", ("八",), "eight", 9),  # the pair before it was rejected
    SentencePair("b-0", "b", ("九",), "nine", 0),
]


def test_context_is_the_preceding_sentences_of_the_same_lecture():
    assert contexts_of(PAIRS, 2) == [[], [("一", "二")], [("一", "二"), ("三",)], [], []]
    assert contexts_of(PAIRS, 1)[2] == [("三",)]
    assert contexts_of(PAIRS, 0) == [[]] * 5
    sentences = [p.tokens for p in PAIRS[:3]]
    assert previous_sentences(sentences, 1) == [[], [("一", "二")], [("三",)]]
    assert previous_sentences(sentences, 0) == [[]] * 3


def test_only_the_latest_sentences_that_fit_are_used():
    context = [["a", "b"], ["c"]]
    assert with_context(["x", "."], context, ".", 7) == ["a", "b", ".", "c", ".", "x", "."]
    assert with_context(["x", "."], context, ".", 6) == ["c", ".", "x", "."]
    assert with_context(["x", "."], context, ".", 3) == ["x", "."]


@pytest.mark.parametrize("count", [0, 1])
def test_context_is_in_the_source_and_not_in_the_target(tmp_path, count):
    sources, targets = [" ".join(p.tokens) for p in PAIRS], [p.target for p in PAIRS]
    vocabulary = train_vocabulary(sources, targets, 60, tmp_path)
    config = MtDataConfig(
        vocab_size=60, context=count, join_probability=0.0, noise=NoiseConfig(0.0, filler_drop=0.0), bpe_dropout=0.0
    )
    batches = TranslationBatches(PAIRS, PAIRS, vocabulary, config, seed=1)
    end = vocabulary.ids["</s>"]
    sources_by_target = {}
    for batch in batches.train_batches(1):
        for source, mask, labels in zip(batch.source, batch.source_mask, batch.labels):
            target = vocabulary.decode_ids([i for i in labels.tolist() if i >= 0])
            sources_by_target[target] = source[: int(mask.sum())].tolist()
    assert sources_by_target.keys() == set(targets)
    three, eight, nine = (sources_by_target[target] for target in ("three", "eight", "nine"))
    assert three.count(end) == 1 + count and eight.count(end) == nine.count(end) == 1
    assert three[-len(vocabulary.encode_source("三")) :] == vocabulary.encode_source("三")
    before = vocabulary.encode_source("一 二")
    assert (three[: len(before)] == before) == bool(count)


def test_config_refuses_a_negative_context():
    for config in (MtDataConfig, TranslateConfig):
        with pytest.raises(ConfigError, match="context"):
            config(context=-random.randint(1, 3))


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """marian/ and ctranslate2/ of an untrained model that is said to have been trained with one sentence of context."""
    folder = tmp_path_factory.mktemp("exp")
    sources, targets = [" ".join(p.tokens) for p in PAIRS], [p.target for p in PAIRS]
    vocabulary = train_vocabulary(sources, targets, 60, folder / "vocabulary")
    vocabulary.style = SourceStyle(context=1)
    torch.manual_seed(0)
    save_marian(build_model(MtModelConfig(32, 2, 1, 1, 32), len(vocabulary)), vocabulary, folder / "marian")
    convert(folder / "marian", folder / "ctranslate2")
    return folder


@pytest.fixture(scope="module")
def bitext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bitext")
    rows = [
        {"id": p.id, "lecture": p.lecture, "source": " ".join(p.tokens), "target": p.target, "score": 1.0}
        | {"first_token": p.first_token}
        for p in PAIRS
    ]
    for part in ("train", "dev", "test"):
        write_jsonl(folder / f"{part}.jsonl", rows)
    return folder


ENGINES = (("transformers", "marian"), ("ctranslate2", "ctranslate2"))


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_the_model_says_how_much_context_it_was_trained_with(exp_dir: Path, engine: str, name: str) -> None:
    assert load_translator(exp_dir / name, TranslateConfig(engine=engine)).context == 1
    assert load_translator(exp_dir / name, TranslateConfig(engine=engine, context=1)).context == 1
    for other in (0, 2):
        with pytest.raises(ConfigError) as error:
            load_translator(exp_dir / name, TranslateConfig(engine=engine, context=other))
        message = f"translate.context is {other}, but the model in {exp_dir / name} was trained with a context of 1: "
        assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_a_model_without_a_record_was_trained_without_context(
    exp_dir: Path, tmp_path: Path, engine: str, name: str
) -> None:
    """Such as published models."""
    shutil.copytree(exp_dir / name, tmp_path / name)
    (tmp_path / name / SOURCE_STYLE).unlink()
    assert load_translator(tmp_path / name, TranslateConfig(engine=engine)).context == 0
    assert load_translator(tmp_path / name, TranslateConfig(engine=engine, context=0)).context == 0
    with pytest.raises(ConfigError, match="context is 1, but the model in .* was trained with a context of 0"):
        load_translator(tmp_path / name, TranslateConfig(engine=engine, context=1))


def test_the_context_of_models_of_version_0_2_is_in_the_configuration_of_their_training(
    exp_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(exp_dir / "marian", tmp_path / "marian")
    (tmp_path / "marian" / SOURCE_STYLE).unlink()
    (tmp_path / "config.json").write_text(json.dumps({"data": {"context": 2}}))
    convert(tmp_path / "marian", tmp_path / "elsewhere" / "ctranslate2")
    assert TransformersTranslator(tmp_path / "marian", TranslateConfig()).context == 2
    assert CTranslate2Translator(tmp_path / "elsewhere" / "ctranslate2", TranslateConfig()).context == 2


@pytest.mark.parametrize("content", ["{", "[1]", "3", '{"spaced": 1}', '{"context": -1}', '{"context": "1"}', "\ud800"])
def test_a_damaged_record_is_refused(exp_dir: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(exp_dir / "marian", tmp_path / "marian")
    (tmp_path / "marian" / SOURCE_STYLE).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=SOURCE_STYLE):
        load_vocabulary(tmp_path / "marian")


def test_stages_9_and_11_give_the_model_its_context(
    exp_dir: Path, bitext: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for engine in (CTranslate2Translator, TransformersTranslator):

        def recorded(self, sentences, contexts=None, translate=engine.translate):  # type: ignore[no-untyped-def]
            calls.append(contexts)
            return translate(self, sentences, contexts)

        monkeypatch.setattr(engine, "translate", recorded)
    config = TranslateConfig(max_length=5)
    decode_bitext(bitext / "test.jsonl", exp_dir / "marian", tmp_path, config)
    monkeypatch.setattr("ml2021.mt.check_export.MIN_SAME", 0.0)
    compare_translations(exp_dir / "marian", exp_dir / "ctranslate2", bitext / "test.jsonl", config, 20)
    assert len(calls) == 4 and all(contexts == contexts_of(PAIRS, 1) for contexts in calls)
    with pytest.raises(ConfigError, match="translate.context is 0"):
        decode_bitext(bitext / "test.jsonl", exp_dir / "marian", tmp_path, TranslateConfig(context=0))


def test_training_records_its_context(bitext: Path, exp_dir: Path, tmp_path: Path) -> None:
    """Also if it starts from a model with another one."""
    train = TrainConfig(num_epochs=1, warmup_steps=1, average_epochs=1)
    for context, init_from in ((2, ""), (0, str(exp_dir / "marian"))):
        data = MtDataConfig(vocab_size=60, context=context, bpe_dropout=0.0)
        config = MtConfig(MtModelConfig(32, 2, 1, 1, 32), data, train, init_from)
        train_translator(bitext, tmp_path / str(context), config, torch.device("cpu"))
        assert load_vocabulary(tmp_path / str(context) / "marian").style == SourceStyle(True, context)


def test_stage_8_refuses_to_train_with_another_context_than_the_next_stages(tmp_path: Path, project: Path) -> None:
    main = runpy.run_path(str(project / "local" / "mt_train.py"))["main"]
    options = ["--conf", str(tmp_path), "--data", str(tmp_path), "--exp", str(tmp_path / "exp")]
    for trained, translated, error in (
        (1, 0, ConfigError),
        (0, 1, ConfigError),
        (1, 1, DataError),
        (1, "null", DataError),
    ):
        text = f"mt:\n  data: {{context: {trained}}}\ntranslate:\n  context: {translated}\n"
        (tmp_path / "mt.yaml").write_text(text)
        with pytest.raises(error) as caught:  # DataError: there is no bitext
            main(options)
        message = f"{tmp_path / 'mt.yaml'}: translate.context is {translated}, but mt.data.context is {trained}; "
        assert str(caught.value).startswith(message) == (error is ConfigError)
