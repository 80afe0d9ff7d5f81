"""The translator: a Marian Transformer of the transformers library with random weights."""

from __future__ import annotations

from torch import nn
from transformers import GenerationConfig, MarianConfig, MarianMTModel, PreTrainedModel

from ml2021.mt.config import MtModelConfig


def build_model(config: MtModelConfig, vocab_size: int) -> MarianMTModel:
    """Build a model with random weights. The last id of the vocabulary is padding, which also starts the decoder."""
    pad_id = vocab_size - 1
    marian = MarianConfig(
        vocab_size=vocab_size,
        decoder_vocab_size=vocab_size,
        d_model=config.d_model,
        encoder_layers=config.num_encoder_layers,
        decoder_layers=config.num_decoder_layers,
        encoder_attention_heads=config.num_heads,
        decoder_attention_heads=config.num_heads,
        encoder_ffn_dim=config.feedforward_dim,
        decoder_ffn_dim=config.feedforward_dim,
        dropout=config.dropout,
        max_position_embeddings=config.max_positions,
        activation_function="swish",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=pad_id,
        decoder_start_token_id=pad_id,
        bos_token_id=0,
        eos_token_id=0,
        forced_eos_token_id=None,
        init_std=config.d_model**-0.5,  # the embedding is scaled by sqrt(d_model)
    )
    model = MarianMTModel(marian)
    leave_out_padding(model)
    return model


def leave_out_padding(model: MarianMTModel) -> None:
    """Keep padding out of translations: CTranslate2 does not have it, and both engines must search the same pieces."""
    pad_id, eos_id = model.config.pad_token_id, model.config.eos_token_id
    model.final_logits_bias[0, pad_id] = -1e9
    model.generation_config = GenerationConfig(
        pad_token_id=pad_id,
        decoder_start_token_id=pad_id,
        bos_token_id=eos_id,
        eos_token_id=eos_id,
        bad_words_ids=[[pad_id]],
    )


def use_plain_search(model: PreTrainedModel) -> None:
    """Take a published model's search settings away: CTranslate2 would not use them, nor padding."""
    if isinstance(model, MarianMTModel):
        leave_out_padding(model)
        return
    config = model.config
    model.generation_config = GenerationConfig(
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )


def num_parameters(model: nn.Module) -> int:
    """Number of trained parameters: shared ones count once, the sinusoids of the positions do not count."""
    return sum(p.numel() for name, p in model.named_parameters() if "embed_positions" not in name)
