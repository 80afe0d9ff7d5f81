"""Fine-tuning with LoRA and adapters: only these change, pretrained.pt holds them, and a killed training goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.export.offline import export_onnx
from ml2021.asr.model.config import LoraConfig
from ml2021.asr.model.load import load_model
from ml2021.asr.model.lora import merge_lora
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.first_weights import init_from
from ml2021.asr.train.options import TrainOptions, config_of, parse_arguments
from ml2021.asr.train.stage import training_by_hand
from ml2021.asr.train.train import train_recogniser
from ml2021.training.checkpoint import load_averaged, load_checkpoint

LORA = LoraConfig(rank=2, alpha=4.0, dropout=0.1)


@pytest.fixture(scope="module")
def quick(one_epoch: AsrConfig) -> AsrConfig:
    """With AdamW, which moves weights that start at zero at once."""
    train = replace(one_epoch.train, optimizer="adamw", schedule="cosine", base_lr=0.01, scan_worst_batches=False)
    return replace(one_epoch, train=train, batches_ahead=100000.0)


@pytest.fixture(scope="module")
def tuned(trained, tone_corpus, quick, tmp_path_factory):  # type: ignore[no-untyped-def]
    """Experiment folders after an epoch with LoRA and one with adapters."""
    folders = {}
    for name, config in (("lora", with_lora(quick)), ("adapter", with_adapters(quick))):
        folders[name] = tmp_path_factory.mktemp(name)
        tune(trained, tone_corpus, folders[name], config)
    return folders


def with_lora(config: AsrConfig) -> AsrConfig:
    return replace(config, lora=LORA)


def with_adapters(config: AsrConfig) -> AsrConfig:
    return replace(config, model=replace(config.model, adapter_dim=4))


def tune(trained: Path, corpus, folder: Path, config: AsrConfig, lang: Path | None = None) -> None:  # type: ignore[no-untyped-def]
    options = TrainOptions(init_from=trained / "pretrained.pt")
    train_recogniser(corpus.cuts, lang or corpus.lang, folder, config, options)


def encoded(model: AsrModel) -> torch.Tensor:
    features = torch.randn(2, 120, 80, generator=torch.Generator().manual_seed(0)) - 8
    with torch.no_grad():
        return model.ctc_log_probs(features, torch.tensor([120, 90]))[0]


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_only_what_was_added_is_trained(trained: Path, tuned: dict[str, Path], kind: str) -> None:
    base = load_checkpoint(trained / "pretrained.pt")["model"]
    content = load_checkpoint(tuned[kind] / "epoch-1.pt")
    added = content["model"].keys() - base.keys()
    assert added and all(kind in name for name in added)
    for weights in (content["model"], content["model_avg"]):
        assert all(torch.equal(weights[name].to(value.dtype), value) for name, value in base.items())
    zero_at_first = [name for name in added if name.endswith("lora_B") or ".out_proj." in name and kind == "adapter"]
    assert all(
        content["model"][name].abs().max() > 1e-3 for name in zero_at_first if "weight" in name or kind == "lora"
    )
    num_states = sum(len(group["params"]) for group in content["optimizer"]["param_groups"])
    assert num_states == len(added)


def test_pretrained_has_the_updates_merged_and_decodes_as_the_average(trained: Path, tuned: dict[str, Path]) -> None:
    exp = tuned["lora"]
    merged = load_checkpoint(exp / "pretrained.pt")["model"]
    base = load_checkpoint(trained / "pretrained.pt")["model"]
    assert merged.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed == {name for name in base if name.removesuffix(".weight").endswith(LORA.modules)}
    average = load_averaged(exp, None, 1, True)
    assert any("lora_A" in name for name in average)
    assert all(torch.equal(v.float(), merged[k]) for k, v in merge_lora(average, LORA.alpha).items())
    assert torch.equal(encoded(load_model(exp)[0]), encoded(load_model(exp, average)[0]))


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_exported_networks_are_those_of_the_tuned_model(
    trained: Path, tuned: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, tokens = load_model(tuned[kind])
    export_onnx(model, tokens, tmp_path)
    features = torch.randn(1, 100, 80, generator=torch.Generator().manual_seed(0)) - 8
    session = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx"), providers=["CPUExecutionProvider"])
    out = torch.from_numpy(session.run(None, {"x": features.numpy(), "x_lens": torch.tensor([100]).numpy()})[0])
    with torch.no_grad():
        expected, other = (
            m.joiner.encoder_proj(m.forward_encoder(features, torch.tensor([100]))[0])
            for m in (model, load_model(trained)[0])
        )
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    assert (out - other).abs().max() > 1e-3


@pytest.mark.parametrize("make", [with_lora, with_adapters])
def test_a_training_that_goes_on_gives_the_same_bits(trained, tone_corpus, quick, tmp_path, make) -> None:  # type: ignore[no-untyped-def]
    two = make(replace(quick, train=replace(quick.train, num_epochs=2)))
    tune(trained, tone_corpus, tmp_path / "whole", two)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "epoch-1.pt").write_bytes((tmp_path / "whole" / "epoch-1.pt").read_bytes())
    tune(trained, tone_corpus, tmp_path / "again", two)
    a, b = (load_checkpoint(tmp_path / run / "pretrained.pt")["model"] for run in ("whole", "again"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    other = replace(two, lora=replace(LORA, alpha=8.0))
    with pytest.raises(DataError, match=r"lora: then alpha 4, now alpha 8|no weight \S+lora_A"):
        tune(trained, tone_corpus, tmp_path / "again", other)


def test_weights_of_another_vocabulary_are_trained_too(  # type: ignore[no-untyped-def]
    trained, tone_corpus, other_lang, quick, tmp_path, caplog
) -> None:
    tune(trained, tone_corpus, tmp_path, with_lora(quick), other_lang)
    base = load_checkpoint(trained / "pretrained.pt")["model"]
    content = load_checkpoint(tmp_path / "epoch-1.pt")["model"]
    unequal = {k for k, v in base.items() if not torch.equal(v, content[k])}
    layers = ("decoder.embedding", "joiner.output_linear", "simple_am_proj", "simple_lm_proj", "ctc_output")
    assert unequal == {k for k in base if k.startswith(layers)}
    assert "trained as a whole, as not all of them is given: ctc_output.1.bias, ctc_output.1.weight" in caplog.text
    tokens = len(content["decoder.embedding.weight"])
    torch.manual_seed(quick.train.seed)
    first = AsrModel(quick.model, tokens).state_dict()
    assert all(not torch.equal(first[k], content[k]) for k in unequal)


def test_tuned_models_are_bases_in_turn(tuned, trained, tone_corpus, quick, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = load_model(trained)[0]
    init_from(model, tuned["lora"] / "pretrained.pt")
    assert torch.equal(encoded(model), encoded(load_model(tuned["lora"])[0]))
    with pytest.raises(DataError, match=r"epoch-1\.pt has weights of LoRA .* take pretrained\.pt of that training"):
        init_from(model, tuned["lora"] / "epoch-1.pt")
    with pytest.raises(DataError, match=r"does not fit the model: adapter_dim 4 \(not 0\)"):
        init_from(model, tuned["adapter"] / "pretrained.pt")
    adapted = AsrModel(with_adapters(quick).model, model.vocab_size).eval()
    assert init_from(adapted, tuned["adapter"] / "pretrained.pt") == frozenset()
    assert torch.equal(encoded(adapted), encoded(load_model(tuned["adapter"])[0]))


def test_without_a_checkpoint_to_start_from_it_is_refused(tone_corpus, conf, quick, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for config in (with_lora(quick), with_adapters(quick)):
        with pytest.raises(ConfigError, match="fine-tune a trained recogniser: name its checkpoint with --init-from"):
            train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path, config)
    arguments = ["--exp-dir", str(tmp_path), "--cuts", str(tone_corpus.cuts), "--lang-dir", str(tone_corpus.lang)]
    config = config_of(parse_arguments([*arguments, "--conf", str(conf), "--lora-r", "8", "--adapter-dim", "16"]))
    assert (config.lora.rank, config.model.adapter_dim) == (8, 16)
    with pytest.raises(ConfigError, match="with --init-from"):
        training_by_hand(tone_corpus.cuts, tone_corpus.lang, tmp_path, config, None, ())
    with pytest.raises(ConfigError, match="leave out frozen_encoder_steps and freeze_modules"):
        replace(with_lora(quick), freeze_modules=("encoder",))


def test_a_layer_that_is_not_there_is_refused_before_training(trained, tone_corpus, quick, tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = replace(quick, lora=replace(LORA, modules=("attention.in_proj",)))
    with pytest.raises(ConfigError, match=r"no linear layer 'attention\.in_proj'; it has self_attn_weights\.in_proj"):
        tune(trained, tone_corpus, tmp_path, config)
    assert not list(tmp_path.iterdir())
