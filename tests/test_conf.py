"""Every value in conf/ is read, and every configuration builds its model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.text.config import TextConfig
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.strict_config import from_mapping, load_config, to_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.fusion.config import LmConfig
from ml2021.asr.icefall.config import IcefallConfig
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.fine_tuning import keep_base
from ml2021.asr.model.recogniser import AsrModel, CtcModel, num_parameters
from ml2021.asr.train.config import AsrConfig
from ml2021.mt.config import MtConfig, TranslateConfig
from ml2021.mt.model import build_model
from ml2021.st.config import SentenceConfig, SubtitleConfig

PROJECT = Path(__file__).parents[1]
CORPORA = ("mini", "smoke", "ml2021")
SECTIONS: dict[str, dict[str, type]] = {
    "prep": {
        "mini": MiniConfig,
        "lang": LangConfig,
        "stretches": StretchConfig,
        "windows": WindowConfig,
        "bitext": BitextConfig,
        "corpus": CorpusConfig,
        "text": TextConfig,
        "checks": CheckConfig,
    },
    "asr": {"aligner": AlignerConfig, "asr": AsrConfig, "icefall": IcefallConfig},
    "mt": {"mt": MtConfig, "translate": TranslateConfig},
    "decode": {"decode": DecodeConfig, "lm": LmConfig, "sentences": SentenceConfig, "subtitles": SubtitleConfig},
}
BY_HAND = {("ml2021", "finetune"): {"asr": AsrConfig}}  # files that no stage reads, but ml2021.asr.train
ALL = [(corpus, file, section) for corpus in CORPORA for file in SECTIONS for section in SECTIONS[file]]


def load(corpus: str, file: str, section: str) -> Any:
    return load_config(PROJECT / "conf" / corpus / f"{file}.yaml", section, SECTIONS[file][section])


def test_folders_and_files_are_all_there() -> None:
    assert {p.name for p in (PROJECT / "conf").iterdir()} == {*CORPORA, "zipformer"}
    for corpus in CORPORA:
        others = {file for folder, file in BY_HAND if folder == corpus}
        assert {p.stem for p in (PROJECT / "conf" / corpus).glob("*.yaml")} == SECTIONS.keys() | others


def test_sections_are_those_that_the_stages_read() -> None:
    read = set()
    for path in (PROJECT / "local").glob("*.py"):
        read |= set(re.findall(r'load_config\(args\.conf / "(\w+)\.yaml", "(\w+)", (\w+)\)', path.read_text()))
    assert read == {(file, s, cls.__name__) for file, sections in SECTIONS.items() for s, cls in sections.items()}


@pytest.mark.parametrize("path", sorted((PROJECT / "conf").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_no_section_goes_unread(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    sections = BY_HAND.get((path.parent.name, path.stem)) or SECTIONS.get(path.stem, {"model": TransducerConfig})
    assert content.keys() <= sections.keys()


@pytest.mark.parametrize(
    ("name", "size"),
    [("mini", None), ("small", 23_285_615), ("medium", 65_549_011), ("streaming", 66_110_931), ("large", 149_281_046)],
)
def test_zipformer_layout_is_built_and_has_its_size(name: str, size: int | None) -> None:
    """The expected sizes are from icefall's results, for 500 tokens without a CTC head; large is causal here."""
    config = load_config(PROJECT / "conf" / "zipformer" / f"{name}.yaml", "model", TransducerConfig)
    model = AsrModel(config, 500).eval()
    if size is None:
        assert num_parameters(model.encoder) + num_parameters(model.encoder_embed) == 2_291_263
    else:
        assert num_parameters(model) - num_parameters(model.ctc_output) == size
    with torch.no_grad():
        out, lens = model.forward_encoder(torch.randn(1, 100, 80), torch.tensor([100]))
    assert out.shape == (1, 23, config.encoder.output_dim) and lens.item() == 23
    assert config.encoder.causal == (name in ("streaming", "large"))


def test_layouts_are_those_of_conf_zipformer() -> None:
    mini = load_config(PROJECT / "conf" / "zipformer" / "mini.yaml", "model", TransducerConfig).encoder
    assert load("mini", "asr", "asr").model.encoder == mini
    assert load("mini", "asr", "aligner").encoder == mini
    aligner = load("ml2021", "asr", "aligner").encoder
    assert aligner.stacks() == mini.stacks()[:-1] and aligner.embed_channels == mini.embed_channels


def test_recogniser_of_the_real_lectures_has_the_medium_zipformer() -> None:
    medium = load_config(PROJECT / "conf" / "zipformer" / "medium.yaml", "model", TransducerConfig)
    assert load("ml2021", "asr", "asr").model.encoder == medium.encoder


@pytest.mark.parametrize(("corpus", "file", "section"), ALL)
def test_section_is_loaded_and_equals_its_resolved_values(corpus: str, file: str, section: str) -> None:
    config = load(corpus, file, section)
    assert from_mapping(to_mapping(config), type(config), "resolved") == config


@pytest.mark.parametrize("corpus", CORPORA)
def test_recogniser_is_built_and_computes_its_losses(corpus: str) -> None:
    config = load(corpus, "asr", "asr")
    model = AsrModel(config.model, 40).train()
    losses = transducer_losses(model, torch.randn(2, 90, 80), torch.tensor([90, 61]), [[3, 4, 5], [6]])
    assert torch.isfinite(losses.simple + losses.pruned + losses.ctc)
    assert num_parameters(model) < 100_000_000


def test_fine_tuning_of_the_real_lectures_trains_lora_alone() -> None:
    config = load_config(PROJECT / "conf" / "ml2021" / "finetune.yaml", "asr", AsrConfig)
    model = AsrModel(config.model, 40).train()
    size = num_parameters(model)
    keep_base(model, config.lora, ())
    assert 0.03 < num_parameters(model) / size < 0.05
    losses = transducer_losses(model, torch.randn(1, 90, 80), torch.tensor([90]), [[3, 4, 5]])
    (losses.simple + losses.pruned + losses.ctc).backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        name for name, p in model.named_parameters() if "lora_" in name
    }


@pytest.mark.parametrize("corpus", CORPORA)
def test_aligner_is_built_and_its_encoder_fits_the_recogniser(corpus: str) -> None:
    aligner, asr = load(corpus, "asr", "aligner"), load(corpus, "asr", "asr")
    model = CtcModel(aligner.encoder, 40).eval()
    log_probs, lens = model(torch.randn(1, 50, 80), torch.tensor([50]))
    assert log_probs.shape == (1, 11, 40) and lens.tolist() == [11]
    if asr.init_encoder_from_aligner:
        recogniser = AsrModel(asr.model, 40)
        recogniser.encoder_embed.load_state_dict(model.encoder_embed.state_dict())
        recogniser.encoder.load_state_dict(model.encoder.state_dict())


@pytest.mark.parametrize("corpus", CORPORA)
def test_translator_is_built_and_computes_its_loss(corpus: str) -> None:
    config = load(corpus, "mt", "mt")
    model = build_model(config.model, 60)
    ids = torch.tensor([[5, 6, 7, 0]])
    assert torch.isfinite(model(input_ids=ids, decoder_input_ids=torch.tensor([[59, 5, 6]])).logits).all()
