"""Tokens that start with the weights of their sounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel, CtcModel
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.token_weights import start_tokens
from ml2021.asr.train.train import train_recogniser
from ml2021.training.checkpoint import save_checkpoint
from tests.ml2021.asr.zipformers import TWO_STACKS

TEXTS = ["他 們 學 習 機 器 的 model", "她 在 氣 model 機 會 的 model"]


@pytest.fixture
def tokens(tmp_path: Path) -> TokenTable:
    return make_lang(TEXTS, [], tmp_path / "lang", LangConfig(num_english_pieces=30))


@pytest.fixture
def units(tmp_path: Path) -> PronunciationUnits:
    units = PronunciationUnits.of_texts(TEXTS, 30)
    units.save(tmp_path / "aligner")
    return units


@pytest.fixture
def aligner(units: PronunciationUnits, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_checkpoint(tmp_path / "aligner" / "pretrained.pt", {"model": CtcModel(TWO_STACKS, len(units)).state_dict()})
    return tmp_path / "aligner" / "pretrained.pt"


def recogniser(tokens: TokenTable) -> AsrModel:
    torch.manual_seed(2)
    return AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), len(tokens))


def test_tokens_of_one_sound_share_its_score(tokens: TokenTable, units: PronunciationUnits, aligner: Path) -> None:
    model, before = recogniser(tokens), recogniser(tokens)
    start_tokens(model, aligner, tokens)
    head = torch.load(aligner, weights_only=True)["model"]
    encoder_out = torch.randn(7, TWO_STACKS.output_dim)
    of_units = encoder_out @ head["ctc_output.1.weight"].T + head["ctc_output.1.bias"]
    for layer in (model.ctc_output[1], model.simple_am_proj):
        logits = layer(encoder_out)
        # the blank, and the sounds -a of 他 她 and -i of 習 機 器 氣: their tokens sum up to exp(logit of the sound)
        torch.testing.assert_close(logits[:, 0], of_units[:, 0])
        for words in ("他 她", "習 機 器 氣"):
            unit = {ids[-1] for ids in units.encode_words(words.split())}
            assert len(unit) == 1
            same = [tokens.ids[word] for word in words.split()]
            torch.testing.assert_close(logits[:, same].logsumexp(1), of_units[:, unit.pop()])
    piece = tokens.encode("model")[-1]
    spelled = units.encode_words([tokens.symbols[piece].lstrip("▁")])[0]
    assert torch.equal(model.ctc_output[1].weight[piece], head["ctc_output.1.weight"][spelled[-1]])
    unknown = tokens.special.unk
    assert torch.equal(model.ctc_output[1].weight[unknown], before.ctc_output[1].weight[unknown])
    old = before.state_dict()
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, old[name])}
    layers = ("ctc_output.1", "simple_am_proj", "joiner.encoder_proj", "joiner.output_linear")
    assert changed == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_the_joiner_begins_as_the_ctc_head(tokens: TokenTable, aligner: Path) -> None:
    """With a decoder that adds nothing: equal for small inputs, and up to a change of rank if the joiner is narrow."""
    dim = TWO_STACKS.output_dim
    encoder_out = 0.01 * torch.randn(50, dim, dtype=torch.float64)
    for joiner_dim in (dim, dim // 2):
        torch.manual_seed(2)
        model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=joiner_dim), len(tokens))
        start_tokens(model, aligner, tokens)
        head, joiner = model.ctc_output[1].double(), model.joiner.double()
        assert isinstance(head, torch.nn.Linear)
        with torch.no_grad():
            logits = joiner(joiner.encoder_proj(encoder_out), torch.zeros(joiner_dim, dtype=torch.float64))
            difference, sizes = logits - head(encoder_out), torch.linalg.svdvals(head.weight)
        left_out = float(sizes[joiner_dim]) if joiner_dim < dim else 0.0
        assert float(difference.norm(dim=1).max()) <= left_out * float(encoder_out.norm(dim=1).max()) + 1e-5


def test_an_aligner_without_its_units_or_head_is_refused(tokens: TokenTable, aligner: Path) -> None:
    (aligner.parent / "units.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(DataError, match="no CTC head of 3 units"):
        start_tokens(recogniser(tokens), aligner, tokens)
    (aligner.parent / "units.txt").unlink()
    with pytest.raises(DataError, match=r"units\.txt"):
        start_tokens(recogniser(tokens), aligner, tokens)


def test_without_an_aligner_nothing_begins(tmp_path: Path, tokens: TokenTable) -> None:
    with pytest.raises(ConfigError, match="init_tokens_from_aligner needs the aligner"):
        train_recogniser(tmp_path, tmp_path / "lang", tmp_path / "asr", AsrConfig(init_tokens_from_aligner=True))
    assert not (tmp_path / "asr").exists()
