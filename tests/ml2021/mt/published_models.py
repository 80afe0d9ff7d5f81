"""Tiny models with random weights in the formats of published ones, for tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ml2021.mt.vocabulary import FILES

CHINESE = ["我們來講機器學習", "這個模型叫做bert", "你可以訓練它"] * 4
ENGLISH = ["we talk about machine learning", "this model is called BERT", "you can train it"] * 4
NOUNS = {"模型": "model", "資料": "data", "老師": "teacher", "bert": "BERT", "cnn": "CNN"}
VERBS = {"看到": "sees", "訓練": "trains"}
SENTENCES = [(f"{a}{v}{b}", f"The {NOUNS[a]} {VERBS[v]} the {NOUNS[b]}") for a in NOUNS for v in VERBS for b in NOUNS]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_marian(folder: Path, num_positions: int = 512, extra: tuple[str, ...] = (), init_std: float = 0.02) -> None:
    """A sentencepiece model per side, one vocabulary, padding last and zero, as in opus-mt; `extra` pieces first."""
    names = ["</s>", "<unk>", *extra]
    for file, texts in zip(FILES, (CHINESE, ENGLISH)):
        (folder / file).write_bytes(_pieces(texts))
        spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / file))
        names += [p for i in range(len(spm)) if (p := spm.id_to_piece(i)) not in (*names, "<s>")]
    (folder / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate([*names, "<pad>"])}))
    pad = len(names)
    torch.manual_seed(0)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=pad + 1,
            decoder_vocab_size=pad + 1,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=num_positions,
            activation_function="swish",
            scale_embedding=True,
            pad_token_id=pad,
            decoder_start_token_id=pad,
            bos_token_id=0,
            eos_token_id=0,
            forced_eos_token_id=None,
            init_std=init_std,
        )
    )
    model.generation_config = GenerationConfig(  # as opus-mt's
        max_length=num_positions,
        num_beams=6,
        bad_words_ids=[[pad]],
        pad_token_id=pad,
        bos_token_id=0,
        eos_token_id=0,
        forced_eos_token_id=0,
        decoder_start_token_id=pad,
        renormalize_logits=True,
    )
    model.save_pretrained(folder)


def _pieces(texts: list[str]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=45, hard_vocab_limit=False, minloglevel=2
    )
    return model.getvalue()


def write_tokenizer(kind: str, folder: Path) -> int:
    """Write tokenizer files of m2m or nllb: one sentencepiece model, then a piece per language.

    Returns:
      The number of pieces.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([side for pair in SENTENCES for side in pair]),
        model_writer=model,
        model_type="bpe",
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    spm, file = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()), folder / "sentencepiece.bpe.model"
    file.write_bytes(model.getvalue())
    names = ["<s>", "<pad>", "</s>", "<unk>", *(spm.id_to_piece(i) for i in range(3, len(spm)))]
    if kind == "nllb":
        merges = [(a, p[len(a) :]) for p in names for a in names if p != a and p.startswith(a) and p[len(a) :] in names]
        merges.sort(key=lambda m: names.index(m[0] + m[1]))
        NllbTokenizer(vocab={n: i for i, n in enumerate(names)}, merges=merges).save_pretrained(folder)
    else:
        (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}))
        codes = M2M100Tokenizer(str(folder / "vocab.json"), str(file)).lang_code_to_token.values()
        marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        config = {"tokenizer_class": "M2M100Tokenizer", "src_lang": None, "tgt_lang": None} | marks
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "special_tokens_map.json").write_text(json.dumps(marks | {"additional_special_tokens": list(codes)}))
    return len(AutoTokenizer.from_pretrained(folder))


def write_multilingual(kind: str, folder: Path, num_positions: int = 1024, seed: int = 0) -> None:
    """A model of m2m or nllb: more ids than pieces, its own search settings, stored in bf16."""
    num_pieces = write_tokenizer(kind, folder)
    torch.manual_seed(seed)
    model = M2M100ForConditionalGeneration(
        M2M100Config(
            vocab_size=num_pieces + (8 if kind == "m2m" else 2),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            encoder_layerdrop=0.5,
            decoder_layerdrop=0.5,
            init_std=0.2,
            dropout=0.02,
            attention_dropout=0.0,
            max_position_embeddings=num_positions,
        )
    )
    model.generation_config = GenerationConfig(
        max_length=5,
        num_beams=5,
        early_stopping=True,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    model.to(torch.bfloat16).save_pretrained(folder)


def chat_tokenizer(template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """A token for each byte, and the special tokens of ChatML."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    fast.chat_template = template
    return fast


def write_chat_model(
    kind: str, folder: Path, template: str | None = CHAT_TEMPLATE, num_positions: int = 4096, **settings: Any
) -> None:
    """A chat model of kind llama or qwen3, which would like to sample."""
    tokenizer = chat_tokenizer(template)
    tokenizer.save_pretrained(folder)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": num_positions,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**shape)) if kind == "llama" else Qwen3ForCausalLM(Qwen3Config(**shape))
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=1.3, eos_token_id=[tokenizer.eos_token_id], **settings
    )
    model.to(torch.bfloat16).save_pretrained(folder)
