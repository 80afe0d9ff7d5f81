"""Training from M2M100 and NLLB models: tiny ones of the classes of transformers, with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, M2M100ForConditionalGeneration

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.mt.check_export import compare_translations
from ml2021.mt.config import MAX_POSITIONS, MtConfig, MtDataConfig, NoiseConfig, TranslateConfig
from ml2021.mt.data import TranslationBatches, read_bitext
from ml2021.mt.decode import decode_bitext
from ml2021.mt.export import convert
from ml2021.mt.load import load_model, load_vocabulary
from ml2021.mt.pretrained import copy_vocabulary, find_pretrained, load_pretrained
from ml2021.mt.train import TranslationTask, train_translator
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator
from ml2021.training.config import TrainConfig
from tests.ml2021.mt.published_models import SENTENCES, write_multilingual

LANGUAGES = {"m2m": ("zh", "en"), "nllb": ("zho_Hant", "eng_Latn")}
CPU = torch.device("cpu")
Publish = Callable[[str], Path]


@pytest.fixture(scope="module")
def publish(tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """Gives the folder of a tiny model."""
    folders: dict[str, Path] = {}

    def published(kind: str) -> Path:
        if kind in folders:
            return folders[kind]
        folder = tmp_path_factory.mktemp(kind)
        write_multilingual(kind, folder)
        return folders.setdefault(kind, folder)

    return published


@pytest.fixture(scope="module")
def bitext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bitext")
    tokens = [" ".join(s).replace("b e r t", " bert ").replace("c n n", " cnn ").split() for s, _ in SENTENCES]
    rows = [
        {"id": f"x-{i}", "lecture": "x", "source": " ".join(t), "target": target, "first_token": 20 * i}
        for i, (t, (_, target)) in enumerate(zip(tokens, SENTENCES))
    ]
    for part in ("train", "dev", "test"):
        write_jsonl(folder / f"{part}.jsonl", rows)
    return folder


def config_of(kind: str, folder: Path, num_epochs: int = 1, base_lr: float = 1e-2) -> MtConfig:
    source, target = LANGUAGES[kind]
    return MtConfig(
        data=MtDataConfig(
            max_tokens=120, max_pieces=100, join_probability=0.0, label_smoothing=0.0, noise=NoiseConfig(0.0)
        ),
        train=TrainConfig(
            num_epochs=num_epochs,
            base_lr=base_lr,
            warmup_steps=5,
            average_epochs=1,
            keep_epochs=4,
            average_period=1,
            save_every_n=2,
        ),
        init_from=str(folder),
        source_lang=source,
        target_lang=target,
    )


@pytest.fixture(scope="module")
def train(publish: Publish, bitext: Path, tmp_path_factory: pytest.TempPathFactory) -> Publish:
    folders: dict[str, Path] = {}

    def trained(kind: str) -> Path:
        if kind not in folders:
            folder = tmp_path_factory.mktemp("exp")
            train_translator(bitext, folder, config_of(kind, publish(kind), 60), CPU)
            convert(folder / "marian", folder / "ctranslate2")
            folders[kind] = folder
        return folders[kind]

    return trained


@pytest.mark.parametrize("kind", LANGUAGES)
def test_special_pieces_are_those_of_its_own_tokenizer(publish, tmp_path, kind):
    source_lang, target_lang = LANGUAGES[kind]
    vocabulary = copy_vocabulary(publish(kind), tmp_path, source_lang, target_lang)
    tokenizer = AutoTokenizer.from_pretrained(publish(kind), src_lang=source_lang, tgt_lang=target_lang)
    assert vocabulary.source_text(("老", "師", "bert")) == "老師 bert"
    for source, target in SENTENCES:
        ids = tokenizer(source, text_target=target)
        assert vocabulary.prefix_ids + vocabulary.encode_source(source) == ids["input_ids"]
        assert vocabulary.encode_target(target) == ids["labels"]
        assert vocabulary.decode_ids([vocabulary.start_id, *ids["labels"], len(vocabulary) + 1]) == target


@pytest.mark.parametrize("kind", LANGUAGES)
def test_learns_the_pairs_and_both_engines_translate_them(train, bitext, kind):
    pairs = read_bitext(bitext / "train.jsonl")
    config = TranslateConfig(max_length=40)
    for engine, folder in ((TransformersTranslator, "marian"), (CTranslate2Translator, "ctranslate2")):
        hypotheses = [t.text for t in engine(train(kind) / folder, config).translate([p.tokens for p in pairs])]
        assert sum(h == p.target for h, p in zip(hypotheses, pairs)) >= 48, engine


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("kind", LANGUAGES)
def test_both_engines_search_alike(train, bitext, kind, beam_size):
    """Also with contexts that it was not trained with, in a very long sentence, and up to the maximum length."""
    sentences = [p.tokens for p in read_bitext(bitext / "test.jsonl")[::3]] + [(), ("模",) * 600]
    contexts = [[], *([s] for s in sentences[:-1])]
    config = TranslateConfig(max_length=6, beam_size=beam_size, max_batch_tokens=700)
    ours = CTranslate2Translator(train(kind) / "ctranslate2", config).translate(sentences, contexts)
    peers = TransformersTranslator(train(kind) / "marian", config).translate(sentences, contexts)
    assert [t.text for t in ours] == [t.text for t in peers]
    assert [t.score for t in ours] == pytest.approx([t.score for t in peers], abs=0.02)
    assert len({t.text for t in ours}) > 5 and ours[-2].text == ""


@pytest.mark.parametrize("kind", LANGUAGES)
def test_training_starts_from_the_weights_in_float32(publish, tmp_path, kind):
    vocabulary = copy_vocabulary(publish(kind), tmp_path, *LANGUAGES[kind])
    model = load_pretrained(publish(kind), vocabulary)
    before = M2M100ForConditionalGeneration.from_pretrained(publish(kind), dtype=torch.float32).state_dict()
    assert all(
        torch.equal(before[name], value) and value.dtype == torch.float32 for name, value in model.state_dict().items()
    )
    model.train()
    model(input_ids=torch.tensor([[5, 2]]), decoder_input_ids=torch.tensor([[2, 5]])).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())  # no layer is skipped


def test_loss_is_that_of_transformers(publish, bitext, tmp_path):
    vocabulary = copy_vocabulary(publish("nllb"), tmp_path, *LANGUAGES["nllb"])
    model = load_model(publish("nllb"), vocabulary).eval()
    pairs = read_bitext(bitext / "train.jsonl")
    batches = TranslationBatches(pairs, pairs[:7], vocabulary, MtDataConfig(bpe_dropout=0.0), 1)
    task = TranslationTask(batches, 0.0, CPU)
    for batch in task.valid_batches():
        expected = model(input_ids=batch.source, attention_mask=batch.source_mask, labels=batch.labels).loss
        torch.testing.assert_close(task.compute_loss(model, batch, 0).loss, expected)


def test_a_killed_run_resumes_to_exactly_the_same_weights(publish, bitext, tmp_path):
    config = config_of("m2m", publish("m2m"), num_epochs=2)

    class Killed(Exception):
        pass

    compute_loss = TranslationTask.compute_loss

    def killed(task, model, batch, step):
        if step == 3 and model.training:
            raise Killed
        return compute_loss(task, model, batch, step)

    train_translator(bitext, tmp_path / "whole", config, CPU)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TranslationTask, "compute_loss", killed)
        train_translator(bitext, tmp_path / "resumed", config, CPU)
    with pytest.raises(DataError, match="vocabulary"):  # other languages need a new run
        train_translator(bitext, tmp_path / "resumed", replace(config, source_lang="ja"), CPU)
    train_translator(bitext, tmp_path / "resumed", config, CPU)
    whole, resumed = (
        torch.load(tmp_path / name / "pretrained.pt", weights_only=True)["model"] for name in ("whole", "resumed")
    )
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("kind", LANGUAGES)
def test_decoding_and_the_check_of_the_export(train, bitext, tmp_path, kind):
    folder = train(kind)
    same = compare_translations(
        folder / "marian", folder / "ctranslate2", bitext / "test.jsonl", TranslateConfig(max_length=40), 20
    )
    assert same == {"ctranslate2_num_sentences": 20, "ctranslate2_same_percent": 100.0}
    decode_bitext(bitext / "test.jsonl", folder / "marian", tmp_path, TranslateConfig(max_length=40))
    assert json.loads((tmp_path / "scores.json").read_text())["bleu_mt"] > 90
    assert find_pretrained(str(folder / "marian")) == folder / "marian"  # training can start from it again


@pytest.mark.parametrize(
    ("kind", "source", "target", "names"),
    [
        ("m2m", "zh", "eng_Latn", ["target_lang", "eng_Latn", " en,", " zh,", " de,"]),
        ("nllb", "", "eng_Latn", ["source_lang", "''", "zho_Hant", "eng_Latn", "deu_Latn"]),
    ],
)
def test_error_for_an_unknown_language_lists_the_known_ones(publish, bitext, tmp_path, kind, source, target, names):
    config = replace(config_of(kind, publish(kind)), source_lang=source, target_lang=target)
    with pytest.raises(ConfigError) as error:
        train_translator(bitext, tmp_path, config, CPU)
    assert all(name in str(error.value) for name in names), str(error.value)


def test_languages_without_a_multilingual_model_are_refused(bitext, tmp_path):
    with pytest.raises(ConfigError, match="mt.init_from"):
        train_translator(bitext, tmp_path, MtConfig(source_lang="zh"), CPU)


def test_a_vocabulary_of_another_model_is_refused(train, publish, bitext, tmp_path):
    for folder, engine in (("marian", TransformersTranslator), ("ctranslate2", CTranslate2Translator)):
        shutil.copytree(train("nllb") / folder, tmp_path / folder)
        (tmp_path / folder / "tokenizer.json").unlink()
        other = copy_vocabulary(publish("m2m"), tmp_path / "other", *LANGUAGES["m2m"])
        other.save(tmp_path / folder)
        with pytest.raises(DataError, match="not the one that its model was trained with"):
            engine(tmp_path / folder, TranslateConfig())


def test_a_damaged_tokenizer_is_named(train, tmp_path):
    shutil.copytree(train("nllb") / "marian", tmp_path / "marian")
    (tmp_path / "marian" / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="the tokenizer in .*marian cannot be read"):
        load_vocabulary(tmp_path / "marian")


def test_a_sentence_fits_into_the_positions(train):
    translator = TransformersTranslator(train("nllb") / "marian", TranslateConfig(max_length=5))
    widths = []
    generate = translator.model.generate
    translator.model.generate = lambda ids, **options: widths.append(ids.shape[1]) or generate(ids, **options)
    longest, pieces = ("老", "師") * 600, translator.vocabulary.source_pieces
    while len(pieces("".join(longest))) > MAX_POSITIONS - 2:  # one piece for the language, one for the end mark
        longest = longest[1:]
    for sentences, contexts in (([longest], None), ([longest[200:]], [[("模",)] * 300]), ([("老", *longest)], None)):
        translator.translate(sentences, contexts)
        assert MAX_POSITIONS - 1 <= max(widths) <= MAX_POSITIONS
