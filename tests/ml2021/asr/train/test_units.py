"""Training with a head on units of pronunciation: its loss, its first weights, and the files that decoding needs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel, CtcModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import TrainOptions
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.train.units import units_of
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint

TEXT = "一 二 三 四 五 六 七 八"


def with_head(config: AsrConfig, stacks: int = 0, scale: float = 0.5) -> AsrConfig:
    return replace(config, model=replace(config.model, units_ctc_scale=scale, units_stacks=stacks))


@pytest.fixture(scope="module")
def aligner(config: AsrConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stage 3 leaves: units and weights of an encoder with a CTC head."""
    folder = tmp_path_factory.mktemp("aligner")
    units = PronunciationUnits.of_texts([TEXT, "model data"], 10)
    units.save(folder)
    torch.manual_seed(5)
    save_checkpoint(folder / "pretrained.pt", {"model": CtcModel(config.model.encoder, len(units)).state_dict()})
    return folder


@pytest.fixture(scope="module")
def with_units(tone_corpus, one_epoch, aligner, tmp_path_factory):  # type: ignore[no-untyped-def]
    """An experiment folder after one epoch with a head below the last stack, begun from the aligner."""
    folder = tmp_path_factory.mktemp("with-units")
    options = TrainOptions(init_from=aligner / "pretrained.pt", init_modules=("encoder_embed", "encoder"))
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, folder, with_head(one_epoch), options)
    return folder


@pytest.mark.parametrize("stacks", [0, 1, 2])
def test_the_loss_is_torchs_ctc_of_the_stacks_below_the_head(config: AsrConfig, stacks: int) -> None:
    torch.manual_seed(stacks)
    model = AsrModel(with_head(config, stacks).model, 12, 7).eval()
    features, lens = torch.randn(4, 90, 80), torch.tensor([90, 80, 90, 50])
    units = [[1, 2, 2], [3], [], [6] * 30]  # a text that the units cannot write, and one that is too long
    tokens = [[3, 4], [5], [6, 7], [8]]
    with torch.no_grad():
        losses = transducer_losses(model, features, lens, tokens, units=units)
        embedded, embedded_lens = model.encoder_embed(features, lens, model.encoder_config.mask_padding)
        outputs = list[torch.Tensor]()
        hooks = [s.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for s in model.encoder.encoders]
        encoder_out, out_lens = model.encoder(embedded, embedded_lens)
        for hook in hooks:
            hook.remove()
        below = encoder_out if stacks != 1 else model.encoder.downsample_output(outputs[0], embedded_lens)
        log_probs = model.units_output(below)
        expected = sum(
            torch.nn.functional.ctc_loss(
                log_probs[i, : out_lens[i]],
                torch.tensor(units[i]),
                out_lens[i],
                torch.tensor(len(units[i])),
                reduction="sum",
            )
            for i in (0, 1)
        )
    assert losses.units is not None
    assert float(losses.units) == pytest.approx(float(expected), rel=1e-4)
    with torch.no_grad():
        plain = transducer_losses(model, features, lens, tokens)
    assert plain.units is None
    assert torch.equal(plain.ctc, losses.ctc) and torch.equal(plain.pruned, losses.pruned)


def test_units_of_a_batch_are_reordered_as_the_encoders_output_is(config: AsrConfig) -> None:
    """On a CPU, utterances are encoded in batches by length."""
    torch.manual_seed(0)
    model = AsrModel(with_head(config, 1).model, 12, 7).eval()
    features, lens = torch.randn(3, 1500, 80), torch.tensor([1500, 60, 900])
    with torch.inference_mode():
        encoder_out, out_lens, below = model.forward_for_units(features, lens)
        for i in range(3):
            alone, _, below_alone = model.forward_for_units(features[i : i + 1, : lens[i]], lens[i : i + 1])
            assert torch.allclose(encoder_out[i, : out_lens[i]], alone[0], atol=1e-4)
            assert torch.allclose(below[i, : out_lens[i]], below_alone[0], atol=1e-4)


def test_without_a_head_nothing_changes(tone_corpus, one_epoch, trained, tmp_path):  # type: ignore[no-untyped-def]
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, with_head(one_epoch, 1, scale=0.0))
    before, after = (load_checkpoint(f / "epoch-1.pt") for f in (trained, tmp_path))
    assert before["model"].keys() == after["model"].keys() and before["fingerprint"] == after["fingerprint"]
    assert all(torch.equal(before["model"][k], after["model"][k]) for k in before["model"])
    assert not (tmp_path / "units").exists()


def test_the_first_weights_are_the_aligners_and_decoding_needs_only_the_folder(  # type: ignore[no-untyped-def]
    tone_corpus, one_epoch, aligner, with_units, tmp_path, caplog
) -> None:
    captured = {}

    def keep(self) -> str:  # type: ignore[no-untyped-def]
        captured.update({k: v.clone() for k, v in self.model.state_dict().items()})
        return ""

    options = TrainOptions(
        init_from=aligner / "pretrained.pt", init_modules=("encoder_embed", "encoder"), print_diagnostics=True
    )
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        patch.setattr("ml2021.training.trainer.Trainer.diagnose", keep)
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, with_head(one_epoch), options)
    given = load_checkpoint(aligner / "pretrained.pt")["model"]
    for name in ("1.weight", "1.bias"):
        assert torch.equal(captured[f"units_output.{name}"], given[f"ctc_output.{name}"])
    assert "the head on units has the weights of ctc_output" in caplog.text
    model, _ = load_model(with_units)
    assert model.spelling is not None and len(model.spelling.units) == model.num_units
    assert model.spelling.units.encode_words(["三"]) == PronunciationUnits.load(aligner).encode_words(["三"])
    assert not torch.equal(model.units_output[1].weight, given["ctc_output.1.weight"])  # it has learned


def test_a_head_of_other_shape_starts_at_random_with_a_warning(  # type: ignore[no-untyped-def]
    tone_corpus, one_epoch, aligner, tmp_path, caplog
) -> None:
    options = TrainOptions(
        init_from=aligner / "pretrained.pt", init_modules=("encoder_embed", "encoder"), print_diagnostics=True
    )
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, with_head(one_epoch, 1), options)
    assert "the head on units starts at random: units_output.1.weight is" in caplog.text


def test_a_trained_head_goes_on_in_another_training_or_is_left_out(  # type: ignore[no-untyped-def]
    tone_corpus, one_epoch, with_units, trained, tmp_path, caplog
) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    def first_weights(checkpoint: Path, config: AsrConfig, name: str) -> dict[str, torch.Tensor]:
        options = TrainOptions(init_from=checkpoint, print_diagnostics=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "ml2021.training.trainer.Trainer.diagnose",
                lambda self: kept.append({k: v.clone() for k, v in self.model.state_dict().items()}) or "",
            )
            train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / name, config, options)
        return kept[-1]

    given = load_checkpoint(with_units / "pretrained.pt")["model"]
    same = first_weights(with_units / "pretrained.pt", with_head(one_epoch), "same")
    assert all(torch.equal(same[k], given[k]) for k in given if k.startswith("units_output"))
    without = first_weights(with_units / "pretrained.pt", one_epoch, "without")
    assert not any(k.startswith("units_output") for k in without) and "which is left out" in caplog.text
    new = first_weights(trained / "pretrained.pt", with_head(one_epoch), "new")
    assert "units_output.1.weight" in new and "has no units beside it" in caplog.text


def test_units_are_of_the_train_texts_without_an_aligner(tone_corpus, one_epoch, tmp_path):  # type: ignore[no-untyped-def]
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, with_head(one_epoch, 1))
    model, _ = load_model(tmp_path)
    assert model.spelling is not None
    assert all(model.spelling.units.write_words([c]) != [None] for c in TEXT.split())
    with pytest.raises(DataError, match=r"units.txt"):
        (tmp_path / "units" / "units.txt").unlink()
        load_model(tmp_path)


def test_a_text_that_the_units_cannot_write_has_none() -> None:
    units = PronunciationUnits.of_texts(["一 二 ab"], 10)
    assert len(units_of("一 二", units)) > 2 and units_of("一 光", units) == [] and units_of("一 xyz", units) == []


def test_units_of_another_language_are_refused(tone_corpus, one_epoch, aligner, tmp_path):  # type: ignore[no-untyped-def]
    PronunciationUnits.of_texts(["model data"], 10).save(tmp_path)
    (tmp_path / "pretrained.pt").write_bytes((aligner / "pretrained.pt").read_bytes())
    options = TrainOptions(init_from=tmp_path / "pretrained.pt", init_modules=("encoder",))
    with pytest.raises(DataError, match="cannot write 100%"):
        train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "exp", with_head(one_epoch), options)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="units_stacks must be in 0..6"):
        TransducerConfig(units_stacks=7)
    with pytest.raises(ConfigError, match="units_ctc_scale"):
        TransducerConfig(units_ctc_scale=-1.0)
