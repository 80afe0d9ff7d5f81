"""The translator memorises a few pairs, and both engines reproduce them."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import torch
from torch.nn import functional as F
from transformers import MarianMTModel

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl
from ml2021.mt.check_export import compare_translations
from ml2021.mt.config import MtConfig, MtDataConfig, MtModelConfig, NoiseConfig, TranslateConfig
from ml2021.mt.data import IGNORED, MtBatch, TranslationBatches, collate, read_bitext
from ml2021.mt.decode import decode_bitext
from ml2021.mt.export import convert
from ml2021.mt.model import build_model
from ml2021.mt.train import TranslationTask, train_translator
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator
from ml2021.mt.vocabulary import EOS, train_vocabulary
from ml2021.scoring.comet import COMMAND_VARIABLE
from ml2021.training.config import TrainConfig

NOUNS = {"模 型": "model", "資 料": "data", "老 師": "teacher", "bert": "BERT", "self-attention": "self-attention"}
VERBS = {"看 到": "sees", "訓 練": "trains", "改 變": "changes"}
CPU = torch.device("cpu")
CONFIG = MtConfig(
    model=MtModelConfig(64, 4, 1, 1, 128, 0.0),
    data=MtDataConfig(vocab_size=150, max_tokens=300, join_probability=0.1, noise=NoiseConfig(0.0), bpe_dropout=0.0),
    train=TrainConfig(
        num_epochs=40,
        base_lr=4e-3,
        warmup_steps=20,
        average_epochs=2,
        average_period=2,
        keep_epochs=3,
        log_interval=1000,
    ),
)


@pytest.fixture(scope="module")
def bitext(tmp_path_factory):
    """All 75 sentences of a tiny language as train, a few of them as dev and test."""
    folder = tmp_path_factory.mktemp("bitext")
    rows = []
    at = 0
    for a in NOUNS:
        for v in VERBS:
            for b in NOUNS:
                source = f"{a} {v} {b}"
                row = {"id": f"x-{len(rows):04d}", "lecture": "x", "source": source, "first_token": at}
                rows.append(row | {"target": f"The {NOUNS[a]} {VERBS[v]} the {NOUNS[b]}.", "score": 1.0})
                at += len(source.split())
    write_jsonl(folder / "train.jsonl", rows)
    chosen = random.Random(0).sample(rows, 12)
    write_jsonl(folder / "dev.jsonl", chosen)
    write_jsonl(folder / "test.jsonl", chosen)
    return folder


@pytest.fixture(scope="module")
def trained(bitext, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    train_translator(bitext, folder, CONFIG, CPU)
    return folder


@pytest.fixture(scope="module")
def converted(trained):
    convert(trained / "marian", trained / "ctranslate2")
    return trained / "ctranslate2"


def test_learns_the_pairs(trained, bitext):
    pairs = read_bitext(bitext / "train.jsonl")
    translator = TransformersTranslator(trained / "marian", TranslateConfig(engine="transformers"))
    hypotheses = [t.text for t in translator.translate([p.tokens for p in pairs])]
    assert sum(h == p.target for h, p in zip(hypotheses, pairs)) >= 74


@pytest.mark.parametrize("beam_size", [1, 4])
def test_both_engines_give_the_same_text(trained, converted, bitext, beam_size):
    config = TranslateConfig(beam_size=beam_size, max_batch_tokens=100)
    sentences = [p.tokens for p in read_bitext(bitext / "train.jsonl")]
    sentences.append(())
    ours = CTranslate2Translator(converted, config).translate(sentences)
    peers = TransformersTranslator(trained / "marian", config).translate(sentences)
    assert [t.score for t in ours] == pytest.approx([t.score for t in peers], abs=0.05)
    ours, peers = ([t.text for t in side] for side in (ours, peers))
    assert ours[75] == peers[75] == ""
    assert ours == peers


def test_both_engines_give_the_same_scores(trained, converted, bitext):
    """Scores of greedy translations, summed over their pieces, which also depend on the start of the decoder."""
    config = TranslateConfig()
    marian, engine = TransformersTranslator(trained / "marian", config), CTranslate2Translator(converted, config).engine
    vocabulary = marian.vocabulary
    for pair in read_bitext(bitext / "train.jsonl")[::5]:
        source = vocabulary.source_pieces(vocabulary.source_text(pair.tokens)) + [EOS]
        result = engine.translate_batch([source], beam_size=1, length_penalty=0, return_scores=True)[0]
        target = [vocabulary.ids[p] for p in result.hypotheses[0]] + [vocabulary.ids[EOS]]
        batch = collate([(vocabulary.encode_source(vocabulary.source_text(pair.tokens)), target)])
        decoder_input = torch.tensor([[vocabulary.start_id, *target[:-1]]])
        with torch.no_grad():
            logits = marian.model(batch.source, batch.source_mask, decoder_input).logits
        expected = logits.log_softmax(-1)[0].gather(1, torch.tensor(target)[:, None]).sum()
        assert result.scores[0] == pytest.approx(float(expected), abs=0.01)


def test_a_conversion_with_other_translations_is_refused(trained, converted, bitext, tmp_path):
    test = bitext / "test.jsonl"
    same = compare_translations(trained / "marian", converted, test, TranslateConfig(), 10)
    assert same == {"ctranslate2_num_sentences": 10, "ctranslate2_same_percent": 100.0}
    other = MarianMTModel.from_pretrained(trained / "marian")
    with torch.no_grad():  # changes the start of the decoder
        other.model.shared.weight[-1] = 20 * other.model.shared.weight[5]
    shutil.copytree(trained / "marian", tmp_path / "marian")
    other.save_pretrained(tmp_path / "marian")
    with pytest.raises(DataError, match="embedding of its padding"):
        compare_translations(tmp_path / "marian", converted, test, TranslateConfig(), 10)


def test_batching_does_not_change_a_translation(converted, bitext):
    sentences = [p.tokens for p in read_bitext(bitext / "test.jsonl")] + [("模", "型")]
    translator = CTranslate2Translator(converted, TranslateConfig())
    together = [t.text for t in translator.translate(sentences)]
    assert together == [translator.translate([s])[0].text for s in sentences]


@pytest.mark.parametrize("engine", ["ctranslate2", "transformers"])
def test_decoding_scores_the_test_part(trained, bitext, tmp_path, engine, caplog):
    caplog.set_level("INFO")
    decode_bitext(bitext / "test.jsonl", trained / "marian", tmp_path, TranslateConfig(engine=engine))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert ("bleu_mt_int8" in scores) == (engine == "ctranslate2")  # the same model, quantised
    if engine == "ctranslate2":
        assert scores["bleu_mt_int8"] > 90 and scores["int8_same_percent"] > 80
        line = f"int8: BLEU {scores['bleu_mt_int8']:.2f}, {scores['int8_same_percent']:g}% of translations the same"
        assert line in caplog.text
    assert scores["bleu_mt"] > 95 and scores["num_parameters_mt"] > 10_000
    assert "version:" in scores["bleu_signature"]
    rows = [json.loads(line) for line in (tmp_path / "hyps.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["id"] for r in rows] == [p.id for p in read_bitext(bitext / "test.jsonl")]


def test_decoding_scores_with_comet_if_it_is_installed(trained, bitext, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    command = tmp_path / "comet-score"
    command.write_text("#!/bin/sh\nprintf 'a file\\tscore: 0.8125\\n'\n")
    command.chmod(0o755)
    monkeypatch.setenv(COMMAND_VARIABLE, str(command))
    (tmp_path / "model.ckpt").touch()
    config = TranslateConfig(engine="transformers", comet_model=str(tmp_path / "model.ckpt"))
    decode_bitext(bitext / "test.jsonl", trained / "marian", tmp_path, config)
    assert json.loads((tmp_path / "scores.json").read_text())["comet_mt"] == 0.8125
    assert "COMET 0.8125" in caplog.text
    command.unlink()
    decode_bitext(bitext / "test.jsonl", trained / "marian", tmp_path, config)
    assert "comet_mt" not in json.loads((tmp_path / "scores.json").read_text()) and "no COMET" in caplog.text


def test_a_killed_run_resumes_to_exactly_the_same_weights(bitext, tmp_path):
    config = MtConfig(
        model=MtModelConfig(32, 2, 1, 1, 32, 0.1),
        data=MtDataConfig(vocab_size=120, max_tokens=100, max_pieces=50),
        train=TrainConfig(
            num_epochs=3, warmup_steps=5, average_epochs=1, keep_epochs=4, average_period=2, save_every_n=3
        ),
    )
    train_translator(bitext, tmp_path / "whole", config, CPU)

    class Killed(Exception):
        pass

    def killed(task, model, batch, step, after):
        if step == after and model.training:
            raise Killed
        return compute_loss(task, model, batch, step)

    compute_loss = TranslationTask.compute_loss
    for after in (5, 9):  # in the first epoch and in a later one
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(TranslationTask, "compute_loss", lambda *args, after=after: killed(*args, after=after))
            train_translator(bitext, tmp_path / "resumed", config, CPU)
    train_translator(bitext, tmp_path / "resumed", config, CPU)
    whole, resumed = (
        torch.load(tmp_path / name / "pretrained.pt", weights_only=True)["model"] for name in ("whole", "resumed")
    )
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name


@pytest.fixture(scope="module")
def small(bitext, tmp_path_factory):
    """A task with an untrained model, and encoded pairs of different lengths."""
    pairs = read_bitext(bitext / "train.jsonl")
    sources, targets = [" ".join(p.tokens) for p in pairs], [p.target for p in pairs]
    vocabulary = train_vocabulary(sources, targets, 120, tmp_path_factory.mktemp("vocabulary"))
    batches = TranslationBatches(pairs, [], vocabulary, MtDataConfig(), 1)
    torch.manual_seed(0)
    model = build_model(MtModelConfig(32, 2, 1, 1, 32, 0.0), len(vocabulary)).eval()
    encoded = [
        (vocabulary.encode_source(s), vocabulary.encode_target(t))
        for s, t in zip(sources[:6] + [sources[6] * 4], targets[:6] + [targets[6] + targets[7]])
    ]
    return TranslationTask(batches, 0.1, CPU), model, encoded


def test_padding_does_not_change_the_loss(small):
    task, model, encoded = small
    together = task.compute_loss(model, collate(encoded), 0)
    alone = [task.compute_loss(model, collate([pair]), 0) for pair in encoded]
    assert together.weight == sum(r.weight for r in alone)
    assert float(together.sums["nll"]) == pytest.approx(float(sum(r.sums["nll"] for r in alone)), rel=1e-5)
    padded = collate(encoded)
    wider = MtBatch(
        F.pad(padded.source, (0, 7)), F.pad(padded.source_mask, (0, 7)), F.pad(padded.labels, (0, 5), value=IGNORED)
    )
    torch.testing.assert_close(task.compute_loss(model, wider, 0).loss, together.loss)


def test_loss_is_cross_entropy_of_the_next_piece(small):
    """Compared with the loss of MarianMTModel, and in training with the label smoothing of torch."""
    task, model, encoded = small
    batch = collate(encoded)
    output = model(input_ids=batch.source, attention_mask=batch.source_mask, labels=batch.labels)
    torch.testing.assert_close(task.compute_loss(model, batch, 0).loss, output.loss)
    model.train()
    logits = output.logits[..., :-1]  # the last id is padding
    smoothed = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(task.compute_loss(model, batch, 0).loss, smoothed)
    model.eval()


def test_vocabulary_of_another_model_is_refused(trained, converted, bitext, tmp_path):
    pairs = read_bitext(bitext / "dev.jsonl")
    other = train_vocabulary([p.target for p in pairs], [p.target for p in pairs], 60, tmp_path)
    for folder, engine in ((converted, CTranslate2Translator), (trained / "marian", TransformersTranslator)):
        kept = {f: (folder / f).read_bytes() for f in ("source.spm", "target.spm", "vocab.json")}
        try:
            for name in kept:
                (folder / name).write_bytes((other.folder / name).read_bytes())
            with pytest.raises(DataError, match="not the one that its model was trained with"):
                engine(folder, TranslateConfig())
        finally:
            for name, content in kept.items():
                (folder / name).write_bytes(content)


def test_a_sentence_longer_than_the_positions_is_translated_in_parts(trained, converted, caplog):
    config = TranslateConfig(max_length=20)
    for translator in (CTranslate2Translator(converted, config), TransformersTranslator(trained / "marian", config)):
        sentences = [("模",), ("型",) * 300, ("型",) * 600, ("q" * 600,), ()]
        short, half, long, endless, empty = (t.text for t in translator.translate(sentences))
        assert long == f"{half} {half}" and empty == ""
        assert short == translator.translate([("模",)])[0].text and isinstance(endless, str)
        assert "translated in parts" in caplog.text
        caplog.clear()


def test_missing_models_say_which_stage_makes_them(tmp_path):
    with pytest.raises(DataError, match="stage 11"):
        CTranslate2Translator(tmp_path, TranslateConfig())
    with pytest.raises(DataError, match="stage 8"):
        TransformersTranslator(tmp_path, TranslateConfig())
    with pytest.raises(DataError, match="stage 8"):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_pairs_is_an_error(tmp_path):
    for part in ("train", "dev", "test"):
        write_jsonl(tmp_path / f"{part}.jsonl", [])
    with pytest.raises(DataError, match="rejected.jsonl"):
        train_translator(tmp_path, tmp_path / "exp", CONFIG, CPU)
    with pytest.raises(DataError, match="rejected.jsonl"):
        decode_bitext(tmp_path / "test.jsonl", tmp_path, tmp_path, TranslateConfig())
