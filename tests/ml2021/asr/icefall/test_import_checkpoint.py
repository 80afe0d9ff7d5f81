"""Import of a checkpoint and a byte-BPE lang folder of icefall: decoding, and fine-tuning with both vocabularies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece as spm
import torch
import yaml
from lhotse import CutSet

from lhotse_prep.tokens.byte_bpe import from_byte_chars
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode.__main__ import main as decode
from ml2021.asr.decode.long_form import words_of
from ml2021.asr.export.sherpa import SherpaConfig, decode_cuts
from ml2021.asr.fusion.hotwords import read_hotwords
from ml2021.asr.icefall.convert import import_checkpoint
from ml2021.asr.icefall.import_checkpoint import main
from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.train.options import TrainOptions, read_asr_config
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.words.timed_word import TimedToken
from ml2021.scoring.texts import read_texts
from ml2021.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def icefall(one_epoch, tmp_path_factory):  # type: ignore[no-untyped-def]
    """epoch-1.pt with random weights, no CTC head and an attention decoder; lang_bbpe/ with byte BPE in capitals."""
    folder = tmp_path_factory.mktemp("icefall")
    texts = ["一 二 三 四 五 六 七 八 model data"]
    make_lang(texts, [], folder / "lang_bbpe", LangConfig(kind="bbpe", num_pieces=290, case="upper"))
    (folder / "lang_bbpe" / "lang.json").unlink()
    torch.manual_seed(1)
    model = AsrModel(one_epoch.model, len(load_lang(folder / "lang_bbpe")))
    model.joiner.output_linear.weight.data *= 4  # hypotheses of several tokens
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("ctc_output")}
    weights["attention_decoder.embed.weight"] = torch.zeros(3)
    torch.save({"model": weights, "exp_dir": Path("zipformer/exp"), "batch_idx_train": 7}, folder / "epoch-1.pt")
    (folder / "layout.yaml").write_text(yaml.safe_dump({"model": _plain(to_mapping(one_epoch.model))}))
    return folder


def _plain(value):  # type: ignore[no-untyped-def]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def imported(icefall, tmp_path_factory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("imported")
    options = {"checkpoint": "epoch-1.pt", "lang-dir": "lang_bbpe", "model": "layout.yaml"}
    main(
        [x for k, v in options.items() for x in (f"--{k}", str(icefall / v))]
        + ["--exp-dir", str(folder), "--case=upper"]
    )
    return folder


def test_decodes_as_icefall_decodes(imported, icefall, tone_corpus, tmp_path):  # type: ignore[no-untyped-def]
    (tmp_path / "decode.yaml").write_text("")
    options = ["--exp-dir", str(imported), "--cuts", str(tone_corpus.cuts), "--conf", str(tmp_path), "--part", "dev"]
    decode([*options, "--out-dir", str(tmp_path / "out")])
    hyps = read_texts(next((tmp_path / "out").glob("recogs-dev-*.txt")), "hyp")
    model, _ = load_model(imported)
    config = read_asr_config(imported)
    assert config.model.ctc_loss_scale == 0
    pieces = spm.SentencePieceProcessor(str(icefall / "lang_bbpe" / "bbpe.model"))
    for cut in CutSet.from_file(tone_corpus.cuts / "ml2021_cuts_dev.jsonl.gz"):
        features = torch.from_numpy(cut.load_features())[None]
        with torch.no_grad():
            ids = greedy_search(model, *model.forward_encoder(features, torch.tensor([features.shape[1]])))[0].tokens
        assert len(ids) > 1
        text = from_byte_chars(pieces.decode(list(ids))).decode("utf-8", "ignore").lower()
        assert "".join(hyps[cut.id].split()) == "".join(text.split())


def test_fine_tunes_with_its_own_tokens(imported, tone_corpus, one_epoch, tmp_path, caplog):  # type: ignore[no-untyped-def]
    start = TrainOptions(init_from=imported / "pretrained.pt")
    still = replace(one_epoch, train=replace(one_epoch.train, base_lr=1e-9))
    train_recogniser(tone_corpus.cuts, imported / "lang", tmp_path / "exp", still, start)
    assert "another vocabulary" not in caplog.text
    before = load_checkpoint(imported / "pretrained.pt")["model"]["joiner.output_linear.weight"]
    tuned = load_model(tmp_path / "exp")
    assert torch.allclose(tuned[0].joiner.output_linear.weight, before, atol=1e-4)
    assert tuned[1].kind == "bbpe" and tuned[1].upper_case
    (tmp_path / "decode.yaml").write_text("")
    options = ["--exp-dir", str(tmp_path / "exp"), "--cuts", str(tone_corpus.cuts), "--conf", str(tmp_path)]
    decode([*options, "--part", "dev", "--epoch", "1"])


def test_fine_tunes_from_icefalls_own_file_with_new_tokens(icefall, tone_corpus, one_epoch, tmp_path, caplog):  # type: ignore[no-untyped-def]
    train_recogniser(
        tone_corpus.cuts, tone_corpus.lang, tmp_path, one_epoch, TrainOptions(init_from=icefall / "epoch-1.pt")
    )
    assert "has no CTC head" in caplog.text and "attention decoder, which is left out" in caplog.text
    assert "another vocabulary" in caplog.text and "joiner.output_linear.weight" in caplog.text
    assert load_model(tmp_path)[1].kind == "char+bpe"


def test_tokens_of_another_training_are_refused(icefall, tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="epoch-1.pt has 290 tokens.*take both from the same training run"):
        import_checkpoint(icefall / "epoch-1.pt", tone_corpus.lang, tmp_path / "new", one_epoch.model, "auto")
    assert not (tmp_path / "new").exists()


def test_words_have_the_times_of_their_bytes(imported, tmp_path):  # type: ignore[no-untyped-def]
    table = load_lang(imported / "lang")
    words = ["我", "model", "們", "data"]
    ids = table.encode(" ".join(words))
    starts = np.cumsum([0, *map(len, table.encode_words(" ".join(words)))])[:-1]
    assert len(ids) > len(words)
    tokens = [TimedToken(i, 3 * n, 0.5) for n, i in enumerate(ids)]
    timed = words_of(tokens, table, np.array([[0, (len(ids) * 3 + 5) * FRAME]]))
    assert [w.text for w in timed] == words
    assert [w.start for w in timed] == pytest.approx([0.12 * s for s in starts])
    assert all(a.end == b.start for a, b in zip(timed, timed[1:]))
    assert [t.id for w in timed for t in w.tokens] == ids
    (tmp_path / "terms.txt").write_text("Model data :2\n龘\n", encoding="utf-8")
    assert read_hotwords(tmp_path / "terms.txt", table, 1.5) == {
        tuple(table.encode("model data")): 2.0,
        tuple(table.encode("龘")): 1.5,
    }


def test_hotwords_of_sherpa_are_for_characters(tmp_path: Path) -> None:
    (tmp_path / "bpe.vocab").write_text("<blk>\t0\n")
    with pytest.raises(ConfigError, match="kind bpe or bbpe"):
        decode_cuts(tmp_path, tmp_path / "cuts", SherpaConfig(hotwords_file="a.txt"))
