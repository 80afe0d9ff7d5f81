"""All searches behind one interface, under icefall's names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.fusion.internal_lm import InternalLm
from ml2021.asr.fusion.lexicon import load_lexicon
from ml2021.asr.fusion.scorer import Fusion, Scorer
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.spelling import Spelling
from ml2021.asr.search.beam_search import beam_search
from ml2021.asr.search.config import LEXICON, SearchConfig
from ml2021.asr.search.ctc_greedy import ctc_greedy_search
from ml2021.asr.search.ctc_prefix_beam import ctc_prefix_beam_search
from ml2021.asr.search.ctc_prefix_score import CtcGuide
from ml2021.asr.search.fast_beam_search import FastBeam, fast_beam_search, fast_beam_search_nbest
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.lg import load_lg
from ml2021.asr.search.modified_beam_search import modified_beam_search


@torch.no_grad()
def search(
    model: AsrModel, features: Tensor, feature_lens: Tensor, config: SearchConfig, fusion: Scorer | None = None
) -> list[Hypothesis]:
    """Decode a batch, features (N, T, F) and feature_lens (N,), with the method of the configuration.

    Args:
      fusion: the language models and hotwords of the configuration, from ml2021.asr.fusion.load.load_fusion; that
        inside the transducer, which ilm_scale subtracts, is added to it.
    Raises:
      ConfigError: see search_encoder_out.
    """
    encoder_out, lens, below = encoded(model, features, feature_lens, config.needs_units)
    return search_encoder_out(model, encoder_out, lens, config, fusion, below)


def encoded(
    model: AsrModel, features: Tensor, feature_lens: Tensor, for_units: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """encoder_out (N, T', D), its lengths (N,) and, for_units, the input of the head on units if the model has one."""
    features = features.to(next(model.parameters()).device)
    with torch.inference_mode():  # a tenth faster than no_grad
        if for_units and model.config.has_units_head:
            return model.forward_for_units(features, feature_lens)
        encoder_out, lens = model.forward_encoder(features, feature_lens)
    return encoder_out, lens, None


@torch.inference_mode(False)  # k2 needs the version counters of its tensors
@torch.no_grad()
def search_encoder_out(
    model: AsrModel,
    encoder_out: Tensor,
    lens: Tensor,
    config: SearchConfig,
    fusion: Scorer | None = None,
    below: Tensor | None = None,
) -> list[Hypothesis]:
    """Decode encoder_out (N, T', D) with lengths lens (N,).

    Args:
      model: as load_model gives it, if the method needs units of pronunciation.
      below: (N, T', C), the input of the head on units, see forward_for_units; for methods that need units.
    Raises:
      ConfigError: the configuration uses a language model or hotwords, but fusion is None; or the method needs k2 and
        it is not installed; or it needs a CTC head that was trained, one on units, or rnnt_type regular, and the model
        lacks it.
      DataError: the lexicon is missing or damaged.
    """
    if config.has_fusion and fusion is None:
        raise ConfigError("decoding with lm_scale or hotwords_file needs the fusion from load_fusion")
    c = config
    if c.ilm_scale > 0:
        fusion = Fusion([*([] if fusion is None else [fusion]), InternalLm(model, c.ilm_scale)])
    if c.decoding_method == "greedy_search":
        return greedy_search(model, encoder_out, lens, c.blank_penalty)
    if c.decoding_method == "modified_beam_search":
        guide = None if c.ctc_scale == 0 else _guide(model, encoder_out, lens, c)
        rescore = None
        if c.needs_units:
            spelling, units_log_probs = _units(model, below, "units_rescore_scale")
            scale = c.units_rescore_scale / (1 - c.ctc_scale)  # scores with a guide are divided by this
            rescore = partial(_rescored, units_log_probs, lens, spelling, scale)
        return modified_beam_search(model, encoder_out, lens, c.num_hypotheses, c.blank_penalty, fusion, guide, rescore)
    if c.decoding_method == "beam_search":
        if model.config.rnnt_type != "regular":  # it has not learned to emit another symbol at the same frame
            raise ConfigError(
                "beam_search emits several tokens per frame, which needs a model trained with rnnt_type regular; this "
                f"one has {model.config.rnnt_type}: use modified_beam_search"
            )
        return beam_search(model, encoder_out, lens, c.num_hypotheses, c.blank_penalty, c.max_sym_per_frame, fusion)
    if c.decoding_method == "fast_beam_search":
        return fast_beam_search(model, encoder_out, lens, _fast_beam(c))
    if c.decoding_method == "fast_beam_search_nbest":
        return fast_beam_search_nbest(model, encoder_out, lens, _fast_beam(c))
    if c.decoding_method == "fast_beam_search_nbest_LG":
        graph = load_lg(str(c.lg_file), c.ngram_lm_scale, encoder_out.device)
        return fast_beam_search_nbest(model, encoder_out, lens, _fast_beam(c), graph)
    if c.decoding_method == "lexicon_search":
        return _lexicon_search(model, encoder_out, below, lens, c, fusion)
    _require_ctc_head(model, c.decoding_method)
    log_probs = model.ctc_output(encoder_out).float()
    if c.decoding_method == "ctc_greedy_search":
        return ctc_greedy_search(log_probs, lens, c.blank_penalty)
    assert c.decoding_method == "ctc_prefix_beam_search"
    return ctc_prefix_beam_search(log_probs, lens, c.num_hypotheses, c.blank_penalty, fusion)


def _guide(model: AsrModel, encoder_out: Tensor, lens: Tensor, c: SearchConfig) -> CtcGuide:
    _require_ctc_head(model, "ctc_scale")
    return CtcGuide(model.ctc_output(encoder_out).float(), lens, c.num_hypotheses, c.ctc_scale, c.ctc_lag)


def _require_ctc_head(model: AsrModel, name: str) -> None:
    """Raise ConfigError if the CTC head was not trained; name: what needs it."""
    if model.config.ctc_loss_scale == 0:
        raise ConfigError(f"{name} needs a CTC head; this model was trained with ctc_loss_scale 0")


def _lexicon_search(
    model: AsrModel, encoder_out: Tensor, below: Tensor | None, lens: Tensor, c: SearchConfig, fusion: Scorer | None
) -> list[Hypothesis]:
    spelling, log_probs = _units(model, below, c.decoding_method)
    from ml2021.asr.search.lexicon_search import LexiconSearchConfig, lexicon_search  # compiled; few need it

    lexicon = load_lexicon(Path(c.lexicon_file or LEXICON), spelling)
    of_tokens = None
    if c.token_scale > 0:
        _require_ctc_head(model, "token_scale")
        of_tokens = model.ctc_output(encoder_out).float()
    sizes = LexiconSearchConfig(c.num_hypotheses, c.word_score, c.lm_scale, c.token_scale)
    return lexicon_search(log_probs, lens, lexicon, sizes, c.blank_penalty, fusion, of_tokens)


def _units(model: AsrModel, below: Tensor | None, what: str) -> tuple[Spelling, Tensor]:
    """The spelling of a model and the log-probs of its units; raises ConfigError if it has no head on them."""
    if below is None or model.spelling is None:
        raise ConfigError(
            f"{what} needs a CTC head on units of pronunciation; this model was trained with units_ctc_scale 0"
        )
    return model.spelling, model.units_log_probs(below)


def _rescored(
    log_probs: Tensor, lens: Tensor, spelling: Spelling, scale: float, hypotheses: list[list[Hypothesis]]
) -> Tensor:
    """The log-prob of the units of each hypothesis times a scale, (N, K), from log_probs (N, T', U) and lens (N,).

    -inf for more units than frames; 0 for all hypotheses of an utterance if that is so for all of them.
    """
    flat, beam = [h for of_utterance in hypotheses for h in of_utterance], len(hypotheses[0])
    words = [spelling.tokens.decode(h.tokens).split() for h in flat]
    units = [[u for word in spelling.units.encode_words(of_hyp) for u in word] for of_hyp in words]
    unit_lens = torch.tensor([len(ids) for ids in units])
    targets = torch.tensor([u for ids in units for u in ids], dtype=torch.int64)
    rows = log_probs.repeat_interleave(beam, dim=0).transpose(0, 1)
    losses = nn.functional.ctc_loss(
        rows, targets.to(rows.device), lens.repeat_interleave(beam), unit_lens.to(lens.device), reduction="none"
    )
    scores = -scale * losses.view(-1, beam)
    return torch.where(torch.isfinite(scores).any(dim=1, keepdim=True), scores, torch.zeros_like(scores))


def token_table(model: AsrModel, tokens: TokenTable, config: SearchConfig) -> TokenTable:
    """The table of the tokens that a search gives: that of the model or, with a lexicon, one with its words.

    Raises:
      DataError: the lexicon is missing or damaged.
    """
    if config.decoding_method != "lexicon_search" or model.spelling is None:
        return tokens
    return load_lexicon(Path(config.lexicon_file or LEXICON), model.spelling).table


def _fast_beam(c: SearchConfig) -> FastBeam:
    return FastBeam(c.beam, c.max_contexts, c.max_states, c.blank_penalty, c.num_paths, c.nbest_scale)
