"""Initial weights from another training: all or some modules, also with another vocabulary."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from lhotse_prep.tokens.char_table import CharTable
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang, tokens_txt
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.first_weights import init_from
from ml2021.asr.train.options import TrainOptions, read_asr_config
from ml2021.asr.train.token_weights import known_tokens
from ml2021.asr.train.train import train_recogniser
from ml2021.training.checkpoint import load_checkpoint


def initial_weights(checkpoint, modules, corpus, lang, config, folder):  # type: ignore[no-untyped-def]
    """The weights of the model before the first step, with --init-from."""
    options = TrainOptions(init_from=checkpoint, init_modules=modules, print_diagnostics=True)
    captured = {}

    def keep(self):  # type: ignore[no-untyped-def]
        captured.update({k: v.clone() for k, v in self.model.state_dict().items()})
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml2021.training.trainer.Trainer.diagnose", keep)
        train_recogniser(corpus.cuts, lang, folder, config, options)
    return captured


@pytest.mark.parametrize("modules", [(), ("encoder",), ("encoder", "joiner.decoder_proj")])
def test_init_from_copies_the_named_modules(trained, tone_corpus, one_epoch, tmp_path, modules):  # type: ignore[no-untyped-def]
    weights = initial_weights(trained / "epoch-1.pt", modules, tone_corpus, tone_corpus.lang, one_epoch, tmp_path)
    checkpoint = load_checkpoint(trained / "epoch-1.pt")["model"]
    for k, v in weights.items():
        copied = not modules or any(k.startswith(m + ".") for m in modules)
        if v.is_floating_point() and checkpoint[k].unique().numel() > 1:
            assert torch.equal(v, checkpoint[k]) == copied, k


@pytest.mark.parametrize("same_size", [False, True])
def test_another_vocabulary_keeps_the_rows_of_shared_tokens_and_the_log_names_the_layers(  # type: ignore[no-untyped-def]
    trained, tone_corpus, other_lang, one_epoch, tmp_path, caplog, same_size
) -> None:
    lang = other_lang
    if same_size:  # the folder lang beside the checkpoint shows the difference
        lang = tmp_path / "lang"
        words = ["model data"] * 3
        make_lang(["一 二 三 四 五 六 七 九", *words], words, lang, LangConfig(num_english_pieces=10))
    weights = initial_weights(trained / "pretrained.pt", (), tone_corpus, lang, one_epoch, tmp_path / "exp")
    checkpoint = load_checkpoint(trained / "pretrained.pt")["model"]
    per_token = ("decoder.embedding", "joiner.output_linear", "simple_am_proj", "simple_lm_proj", "ctc_output")
    old, new = load_lang(trained / "lang"), load_lang(lang)
    kept = {i: old.ids[x] for i, x in enumerate(new.symbols) if x in old.ids}
    added = [i for i, x in enumerate(new.symbols) if x not in old.ids]
    assert added
    assert "一" in old.ids
    assert new.symbols[0] in old.ids
    for k, v in weights.items():
        if not k.startswith(per_token):
            assert torch.equal(v, checkpoint[k]), k
        else:
            assert all(torch.equal(v[i], checkpoint[k][j]) for i, j in kept.items()), k
            assert all(not (checkpoint[k] == v[i]).flatten(1).all(1).any() for i in added if v.dim() > 1), k
            assert k in caplog.text
    assert f"another vocabulary: {len(added)} of the model's {len(new)} tokens are initialised at random" in caplog.text


def test_without_a_vocabulary_beside_the_checkpoint_tokens_begin_at_random(  # type: ignore[no-untyped-def]
    trained, tone_corpus, other_lang, one_epoch, tmp_path, caplog
) -> None:
    (tmp_path / "alone").mkdir()
    path = tmp_path / "alone" / "pretrained.pt"
    path.write_bytes((trained / "pretrained.pt").read_bytes())
    weights = initial_weights(path, (), tone_corpus, other_lang, one_epoch, tmp_path / "exp")
    rows = load_checkpoint(path)["model"]["ctc_output.1.weight"]
    assert not any((rows == row).all(1).any() for row in weights["ctc_output.1.weight"])
    count = len(load_lang(other_lang))
    assert f"another vocabulary: {count} of the model's {count} tokens are initialised at random" in caplog.text


def test_a_head_that_the_checkpoint_lacks_is_at_random_as_a_whole(  # type: ignore[no-untyped-def]
    trained, tone_corpus, other_lang, one_epoch, tmp_path
) -> None:
    shutil.copytree(other_lang, tmp_path / "lang")  # larger than that of the model
    torch.manual_seed(5)
    larger = AsrModel(one_epoch.model, len(load_lang(other_lang))).state_dict()
    torch.save({"model": {k: v for k, v in larger.items() if not k.startswith("ctc_output")}}, tmp_path / "a.pt")
    weights = initial_weights(tmp_path / "a.pt", (), tone_corpus, tone_corpus.lang, one_epoch, tmp_path / "exp")
    torch.manual_seed(one_epoch.train.seed)
    first = AsrModel(one_epoch.model, len(load_lang(tone_corpus.lang))).state_dict()
    for k in ("ctc_output.1.weight", "ctc_output.1.bias"):
        assert torch.equal(weights[k], first[k])
    assert torch.equal(weights["decoder.embedding.weight"][0], larger["decoder.embedding.weight"][0])


def test_tokens_in_another_order_are_given_wholly(trained, tone_corpus, one_epoch, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    old = load_lang(trained / "lang")
    shutil.copytree(trained / "lang", tmp_path / "lang")
    symbols = [*old.symbols[:3], *reversed(old.symbols[3:])]
    (tmp_path / "lang" / "tokens.txt").write_text(tokens_txt(symbols), encoding="utf-8")
    (tmp_path / "lang" / "lang.json").unlink()
    new = load_lang(tmp_path / "lang")
    known = known_tokens(trained / "pretrained.pt", new)
    assert known is not None and len(known) == len(new)
    model = AsrModel(one_epoch.model, len(new))
    assert init_from(model, trained / "pretrained.pt", (), known) == frozenset()
    given = load_checkpoint(trained / "pretrained.pt")["model"]["joiner.output_linear.weight"]
    rows = model.state_dict()["joiner.output_linear.weight"]
    assert all(torch.equal(rows[i], given[old.ids[x]]) for i, x in enumerate(symbols))
    assert "another vocabulary" not in caplog.text
    assert known_tokens(trained / "pretrained.pt", old) is None
    other = CharTable(["<blank>", "<UNK>", "三", "model", "a"])
    assert known_tokens(trained / "pretrained.pt", other) == {0: 0, 1: old.special.unk, 2: old.ids["三"]}


def test_layers_with_rows_of_another_size_are_refused(trained, other_lang, one_epoch) -> None:  # type: ignore[no-untyped-def]
    wider = AsrModel(replace(one_epoch.model, joiner_dim=24), len(load_lang(other_lang)))
    known = known_tokens(trained / "pretrained.pt", load_lang(other_lang))
    with pytest.raises(DataError, match=r"joiner\.output_linear\.weight is .* does not fit|does not fit the model"):
        init_from(wider, trained / "pretrained.pt", ("encoder", "joiner.output_linear"), known)


def test_module_that_is_missing_or_does_not_fit_is_named(trained, tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    path = trained / "pretrained.pt"
    with pytest.raises(DataError, match="no module 'adapter' in the model; its modules are encoder_embed, encoder"):
        initial_weights(path, ("encoder", "adapter"), tone_corpus, tone_corpus.lang, one_epoch, tmp_path)
    content = load_checkpoint(path)["model"]
    torch.save({"model": {k: v for k, v in content.items() if not k.startswith("joiner")}}, tmp_path / "part.pt")
    with pytest.raises(DataError, match="no module 'joiner' in .*part.pt; it has ctc_output, decoder, encoder"):
        initial_weights(tmp_path / "part.pt", ("joiner",), tone_corpus, tone_corpus.lang, one_epoch, tmp_path)
    with pytest.raises(DataError, match=r"part\.pt does not fit the model: no weight joiner\.encoder_proj\.weight"):
        initial_weights(tmp_path / "part.pt", (), tone_corpus, tone_corpus.lang, one_epoch, tmp_path)
    wider = replace(
        one_epoch, model=replace(one_epoch.model, encoder=replace(one_epoch.model.encoder, encoder_dim=(32, 64)))
    )
    with pytest.raises(DataError, match=r"encoder\.\S+ is \(\S*48.*the model's is \(\S*64"):
        initial_weights(path, ("encoder",), tone_corpus, tone_corpus.lang, wider, tmp_path)


@pytest.mark.parametrize("modules", [(), ("encoder_embed", "encoder")])
def test_causal_model_initialised_from_another_gives_the_same_in_one_chunk(trained, tmp_path, modules) -> None:  # type: ignore[no-untyped-def]
    model, tokens = load_model(trained)
    config = read_asr_config(trained)
    encoder = replace(config.model.encoder, causal=True, chunk_size=(-1,), left_context_frames=(-1,))
    causal = AsrModel(replace(config.model, encoder=encoder), len(tokens)).eval()
    init_from(causal, trained / "pretrained.pt", modules)
    features, lens = torch.randn(2, 150, 80, generator=torch.Generator().manual_seed(0)), torch.tensor([150, 150])
    with torch.no_grad():
        (causal_out, _), (out, _) = causal.forward_encoder(features, lens), model.forward_encoder(features, lens)
    torch.testing.assert_close(causal_out, out, atol=1e-5, rtol=1e-4)
    assert out.abs().max() > 0.1
    with pytest.raises(DataError, match="does not fit"):  # the other direction would lose weights
        torch.save({"model": causal.state_dict()}, tmp_path / "causal.pt")
        init_from(model, tmp_path / "causal.pt", modules)
