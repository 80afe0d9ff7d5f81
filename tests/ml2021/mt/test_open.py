"""Translators of every kind, opened without training: what they give is what transformers gives by itself."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BertConfig, BertForMaskedLM

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from ml2021.mt.config import MtModelConfig, TranslateConfig, as_in_0_2
from ml2021.mt.load import read_ctranslate2
from ml2021.mt.model import build_model
from ml2021.mt.open import find_translator, open_translator, translator_files
from ml2021.mt.terms.checked import CheckedTranslator
from ml2021.mt.vocabulary import SourceStyle, train_vocabulary
from tests.ml2021.mt.published_models import write_marian, write_multilingual

LANGUAGES = {"m2m": ("zh", "en"), "nllb": ("zho_Hant", "eng_Latn"), "marian": ("", "")}
TOKENS = [["我", "們", "來", "講", "機", "器", "學", "習"], ["模", "型", "叫", "做", "bert"], ["老", "師", "看", "到"]]
TEXTS = ["我們來講機器學習", "模型叫做 bert", "老師看到"]
Publish = Callable[[str], Path]


@pytest.fixture(scope="module")
def publish(tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """Gives the folder of a tiny published model."""
    folders: dict[str, Path] = {}

    def published(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            if kind == "marian":
                write_marian(folders[kind], init_std=0.2)
            else:
                write_multilingual(kind, folders[kind], seed=7 if kind == "m2m" else 1)
        return folders[kind]

    return published


@pytest.fixture(scope="module")
def convert(publish: Publish, tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """Gives a model as CTranslate2's own converter writes it, with the tokenizer's files copied beside it."""
    from ctranslate2.converters import TransformersConverter

    folders: dict[str, Path] = {}

    def converted(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp("converted") / kind
            weights = ("config.json", "generation_config.json", "model.safetensors")
            files = [p.name for p in publish(kind).iterdir() if p.name not in weights]
            TransformersConverter(str(publish(kind)), copy_files=files).convert(str(folders[kind]))
        return folders[kind]

    return converted


def texts_of(folder: Path, **settings: Any) -> list[str]:
    translator = open_translator(str(folder), TranslateConfig(**settings))
    return [t.text for t in translator.translate(TOKENS)]


def texts_of_transformers(folder: Path, kind: str, max_length: int) -> list[str]:
    """Greedy translations by transformers alone, as the model's card tells."""
    source, target = LANGUAGES[kind]
    options = {"src_lang": source} if source else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    first = next((i for p, i in tokenizer.get_vocab().items() if p.strip("_") == target), None) if target else None
    texts = []
    for text in TEXTS:
        ids = model.generate(
            **tokenizer(text, return_tensors="pt"),
            forced_bos_token_id=first,
            num_beams=1,
            max_length=None,
            max_new_tokens=max_length + (first is not None),
            forced_eos_token_id=None,
        )
        texts.append(tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    return texts


@pytest.mark.parametrize("kind", LANGUAGES)
def test_published_models_translate_as_transformers_does_by_itself(publish, convert, kind):
    expected = texts_of_transformers(publish(kind), kind, 12)
    assert len(set(expected)) > 1
    for engine in ("ctranslate2", "transformers"):
        assert texts_of(publish(kind), engine=engine, beam_size=1, max_length=12) == expected, engine
    assert texts_of(convert(kind), beam_size=1, max_length=12) == expected
    assert texts_of(convert(kind), max_length=12) == texts_of(publish(kind), max_length=12, engine="transformers")


def test_languages_are_those_of_the_configuration(publish):
    texts = [texts_of(publish("m2m"), target_lang=target, max_length=12) for target in ("", "en", "de")]
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(ConfigError, match="target_lang must be a language of the model, got 'english'; .* en"):
        texts_of(publish("m2m"), target_lang="english")
    with pytest.raises(ConfigError, match="Marian model, which needs no source_lang"):
        texts_of(publish("marian"), source_lang="zh")
    with pytest.raises(ConfigError, match="translate.target_lang .* got 'deu'; it has one pair of languages"):
        texts_of(publish("marian"), target_lang="deu")


def test_a_marian_model_of_several_languages_is_asked_for_english(tmp_path):
    write_marian(tmp_path, extra=(">>eng<<", ">>deu<<"), init_std=0.2)
    for settings, piece in (({}, ">>eng<<"), ({"target_lang": "deu"}, ">>deu<<")):
        translator = open_translator(str(tmp_path), TranslateConfig(**settings))
        assert isinstance(translator, CheckedTranslator)
        assert translator.translator.vocabulary.source_prefix == (piece,)
    expected = open_translator(str(tmp_path), TranslateConfig(engine="transformers")).translate(TOKENS)
    assert [t.text for t in expected] == texts_of(tmp_path)
    with pytest.raises(ConfigError, match="got 'fra'; it has eng, deu"):
        texts_of(tmp_path, target_lang="fra")


@pytest.mark.parametrize("kind", ["marian", "nllb"])
def test_sentences_are_split_for_models_with_few_positions(tmp_path, kind, caplog):
    folder = tmp_path / "model"
    folder.mkdir()
    if kind == "marian":
        write_marian(folder, num_positions=40, init_std=0.2)
    else:
        write_multilingual(kind, folder, num_positions=40)
    sentences = [list("習學器機講來們我" if kind == "marian" else "型模師老料資") * 10, ["模", "型"]]
    results = []
    for engine in ("ctranslate2", "transformers"):
        translator = open_translator(str(folder), TranslateConfig(engine=engine))
        results.append([t.text for t in translator.translate(sentences)])
        assert "were translated in parts" in caplog.text
        caplog.clear()
    assert results[0] == results[1] and all(results[0])


def test_a_folder_for_ctranslate2_says_how_it_was_made(convert, publish, tmp_path):
    expected = texts_of(publish("marian"), max_length=12)
    assert read_ctranslate2(convert("marian")).num_positions == 512
    shutil.copytree(convert("marian"), tmp_path / "old")
    pieces = json.loads((tmp_path / "old" / "shared_vocabulary.json").read_text())
    (tmp_path / "old" / "shared_vocabulary.json").unlink()
    (tmp_path / "old" / "vocab.json").unlink()
    (tmp_path / "old" / "shared_vocabulary.txt").write_text("\n".join(pieces) + "\n")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    (tmp_path / "old" / "config.json").write_text(json.dumps(config | {"add_source_eos": True}))
    assert texts_of(tmp_path / "old", max_length=12) == expected


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: [p.unlink() for p in f.glob("*.spm")], "no source.spm in "),
        (lambda f: (f / "model.bin").write_bytes((f / "model.bin").read_bytes()[:50]), "damaged or cut short"),
        (lambda f: (f / "model.bin").write_bytes((f / "model.bin").read_bytes()[:-900]), "cannot be loaded"),
        (lambda f: (f / "shared_vocabulary.json").unlink(), "it has no shared_vocabulary.json"),
        (lambda f: (f / "shared_vocabulary.json").write_text("[" * 3), "a file of the CTranslate2 model .* damaged"),
        (lambda f: (f / "shared_vocabulary.json").write_text('["a"]'), "not the one that its model was trained with"),
        (lambda f: (f / "source.spm").write_bytes(b"no model"), "cannot be read as a sentencepiece model"),
        (lambda f: (f / "vocab.json").write_text("{"), "vocab.json is damaged"),
        (lambda f: (f / "model.bin").unlink(), "no CTranslate2 model in "),
    ],
)
def test_damaged_folders_for_ctranslate2_are_refused(convert, tmp_path, damage, message):
    folder = tmp_path / "model"
    shutil.copytree(convert("marian"), folder)
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        texts_of(folder)
    assert "\n" not in str(error.value)


def test_a_recogniser_for_ctranslate2_is_refused(convert, tmp_path):
    shutil.copytree(convert("marian"), tmp_path / "whisper")
    model = tmp_path / "whisper" / "model.bin"
    model.write_bytes(model.read_bytes().replace(b"\x10\x00TransformerSpec\x00", b"\x0c\x00WhisperSpec\x00"))
    with pytest.raises(DataError, match="CTranslate2 model in .* is a recogniser, not a translator"):
        open_translator(str(tmp_path / "whisper"), TranslateConfig())


def test_a_model_that_lacks_weights_is_refused(publish, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(publish("nllb"), tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    lost = next(name for name in weights if "fc1" in name)
    del weights[lost]
    save_file(weights, path, {"format": "pt"})
    for engine in ("ctranslate2", "transformers"):
        with pytest.raises(DataError, match="is incomplete: 1 of its model's weights are missing, such as .*fc1"):
            texts_of(tmp_path / "model", engine=engine)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="cannot be read as a translation model: "):
        texts_of(tmp_path / "model")


def test_weights_of_pickle_never_run_code(publish, tmp_path):
    shutil.copytree(publish("nllb"), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    sign = tmp_path / "it-ran"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return sign.touch, ()

    torch.save({"x": Attack()}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be read as a translation model"):
        texts_of(tmp_path / "model")
    assert not sign.exists()


def write_bert(folder: Path) -> None:
    BertForMaskedLM(
        BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: None, "has no translation model: it has neither config.json nor model.bin; stage 8"),
        (lambda f: (f / "pretrained.pt").touch(), "has no translation model; is it a recogniser"),
        (lambda f: (f / "encoder.onnx").touch(), "has no translation model; is it a recogniser"),
        (lambda f: (f / "a.gguf").touch(), "it is in GGUF"),
        (lambda f: (f / "adapter_config.json").touch(), "it is an adapter"),
        (lambda f: write_json(f / "config.json", {"data": {"context": 1}}), "config.json names no model_type"),
        (lambda f: write_json(f / "config.json", {"model_type": "whisper"}), "a whisper model, a recogniser"),
        (lambda f: write_json(f / "config.json", {"model_type": "wav2vec2"}), "a wav2vec2 model, a recogniser"),
        (lambda f: write_json(f / "config.json", {"model_type": "qwen3_asr"}), "a qwen3_asr model, a recogniser"),
        (lambda f: write_json(f / "config.json", {"model_type": "t5"}), "a t5 model .* not a translator"),
        (lambda f: (f / "config.json").write_text("{"), "its config.json is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "its config.json is no JSON object"),
        (lambda f: write_json(f / "config.json", {"model_type": "marian"}), "incomplete marian model: it has no"),
        (write_bert, r"a bert model \(BertForMaskedLM\), not a translator"),
    ],
)
def test_folders_that_hold_no_translator_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message) as error:
        open_translator(str(tmp_path), TranslateConfig())
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_names_on_the_hub(publish, tmp_path, monkeypatch):
    """The weights are downloaded in one format, and only once the model is known to be a translator."""
    import huggingface_hub

    downloads: list[list[str]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        downloads.append(allow_patterns)
        return str(publish(name.split("/")[1]) if name != "x/bert" else tmp_path)

    files = ["model.safetensors", "pytorch_model.bin", "onnx/model.safetensors", "consolidated.safetensors"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name: files)
    assert texts_of(Path("x/marian"), max_length=12) == texts_of(publish("marian"), max_length=12)
    assert "*.bin" not in downloads[0] and downloads[1][-1] == "model.safetensors" and len(downloads) == 2
    assert files[1] not in downloads[1] and files[3] not in downloads[1]
    files.remove("model.safetensors")
    files.remove("consolidated.safetensors")
    find_translator("x/marian")
    assert downloads[-1][-1] == "pytorch_model.bin"
    write_bert(tmp_path)
    downloads.clear()
    with pytest.raises(DataError, match="translator x/bert is a bert model"):
        find_translator("x/bert")
    assert len(downloads) == 1


def test_names_that_the_hub_does_not_give(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    for error, message in (
        (GatedRepoError.__new__(GatedRepoError), "translator x/y .* asks for consent first; .*huggingface.co/x/y"),
        (RepositoryNotFoundError.__new__(RepositoryNotFoundError), "it has no such model, or a private one"),
        (LocalEntryNotFoundError("no\nnet"), "it does not answer, .* is there a network"),
        (RuntimeError("odd\nmore"), "downloaded from the hub: odd$"),
    ):

        def refuse(*_: object, raised: BaseException = error, **__: object) -> str:
            raise raised

        monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
        with pytest.raises(DataError, match=message):
            open_translator("x/y", TranslateConfig())
    for name in ("exp/my/mt", str(tmp_path / "none"), "../x", ""):
        with pytest.raises(DataError, match="is not a folder, and it is not the name of a model on the hub|no transl"):
            open_translator(name, TranslateConfig())
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file; name the folder"):
        open_translator(str(tmp_path / "file"), TranslateConfig())


def test_a_model_of_this_project_is_opened_from_its_experiment(tmp_path):
    folder = tmp_path / "exp" / "mt" / "marian"
    vocabulary = train_vocabulary([" ".join(s) for s in TOKENS], ["we talk", "it is called BERT", "sees"], 80, folder)
    torch.manual_seed(0)
    build_model(MtModelConfig(32, 2, 1, 1, 32), len(vocabulary)).save_pretrained(folder)
    vocabulary.save(folder)
    SourceStyle(spaced=True, context=1).write(folder)
    texts = texts_of(tmp_path / "exp" / "mt", max_length=12)
    assert texts == texts_of(folder, max_length=12, engine="transformers")
    translator = open_translator(str(tmp_path / "exp" / "mt"), TranslateConfig())
    assert translator.context == 1
    assert find_translator(str(tmp_path / "exp" / "mt")) == folder
    files = {p.name for p in translator_files(folder)}
    assert {"config.json", "model.safetensors", "source.spm", "vocab.json", "source_text.json"} <= files


def test_options_of_version_0_2_have_no_languages(tmp_path):
    """Its hashes of finished work must stay the same."""
    names = {"engine", "beam_size", "max_length", "max_batch_tokens", "compute_type", "context", "comet_model"}
    assert as_in_0_2(TranslateConfig(target_lang="en"), tmp_path).keys() == names


def test_published_models_read_no_context(publish):
    assert open_translator(str(publish("marian")), TranslateConfig()).context == 0
    with pytest.raises(ConfigError, match="translate.context is 2, but the model in .* with a context of 0"):
        open_translator(str(publish("marian")), TranslateConfig(context=2))
    with pytest.raises(ConfigError, match="translate.compute_type is int3"):
        open_translator(str(publish("marian")), TranslateConfig(compute_type="int3"))


def test_a_glossary_chooses_among_the_hypotheses_and_is_reported(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "m2m").mkdir()
    write_multilingual("m2m", tmp_path / "m2m", seed=1)
    glossary = tmp_path / "terms.tsv"
    glossary.write_text("機器學習\tthe\nBERT\tno such word\n", encoding="utf-8")
    for engine in ("ctranslate2", "transformers"):
        config = TranslateConfig(max_length=12, engine=engine)
        plain = open_translator(str(tmp_path / "m2m"), config)
        assert isinstance(plain, CheckedTranslator)
        hypotheses = [h.text for h in plain.translator.alternatives(TOKENS[0], [])]
        assert hypotheses[0] == plain.translate(TOKENS)[0].text == " ".join(["BE"] * 12)
        expected = next(h for h in hypotheses if "The" in h.split())
        checked = open_translator(str(tmp_path / "m2m"), config, glossary).translate(TOKENS)
        assert checked[0].text == expected
        kept = [[(use.term, use.is_kept) for use in t.terms] for t in checked]
        assert kept == [[("機器學習", True)], [("BERT", False)], []]
        assert "keeps more terms, 1 times" in caplog.text
        report = "glossary: terms occur 2 times; the translations keep 1 and miss 1: BERT (no such word) 1 times"
        assert report in caplog.text
        caplog.clear()
