"""Vocabularies of published models: special tokens anywhere, capitals, characters; what cannot be used is refused."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as proto

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import lang_hash, load_lang, make_lang
from lhotse_prep.tokens.special_tokens import special_tokens
from lhotse_prep.workflow.errors import ConfigError, DataError

TEXTS = ["我 们 来 讲 机 器 学 习 的 ATTENTION", "THE GENERATOR LEARNS", "这 是 DEEP LEARNING"]
CHARS = ["我", "们", "来", "讲", "学", "习"]


def write_tokens(folder: Path, symbols: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    return folder


def write_pieces(folder: Path, specials: Sequence[str], unk_at: int, more: Sequence[str] = ()) -> Path:
    """A BPE of TEXTS with the specials in front, <unk> in the place unk_at, and more user-defined pieces at the end."""
    trained = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=trained,
        model_type="bpe",
        vocab_size=70,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
        character_coverage=1.0,
        hard_vocab_limit=False,
    )
    model = proto.ModelProto()
    model.ParseFromString(trained.getvalue())
    unk, *texts = [(p.piece, p.score, p.type) for p in model.pieces]
    marks = [(s, 0.0, proto.ModelProto.SentencePiece.USER_DEFINED) for s in specials]
    pieces = [*marks, *texts]
    pieces.insert(unk_at, unk)
    pieces += [(s, 0.0, proto.ModelProto.SentencePiece.USER_DEFINED) for s in more]
    del model.pieces[:]
    for piece, score, kind in pieces:
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.unk_id = unk_at
    model.trainer_spec.vocab_size = len(pieces)
    write_tokens(folder, [p for p, _, _ in pieces])
    (folder / "bpe.model").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("specials", "unk_at", "more"),
    [
        (["<blk>"], 30, []),  # X-ASR-zh-en: no <sos/eos>, <unk> after the characters
        (["<blk>", "<sos/eos>"], 2, []),
        (["<blk>", "<sos/eos>"], 40, ["<|zh|>", "<|en|>", "<noise>"]),
        (["<blank>", "<s>", "</s>"], 3, []),
    ],
)
def test_special_tokens_are_found_wherever_they_are(
    tmp_path: Path, specials: list[str], unk_at: int, more: list[str]
) -> None:
    table = load_lang(write_pieces(tmp_path, specials, unk_at, more))
    assert table.kind == "bpe" and table.upper_case
    assert table.special.unk == unk_at == table.ids["<unk>"]
    silent = {table.ids[s] for s in [*specials, *more]}
    assert table.special.silent == silent
    assert table.special.bos == (1 if len(specials) > 1 else 0)
    text = "我 们 deep learning 的 generator 这"
    ids = table.encode(text)
    assert table.decode(ids) == text and table.special.not_text.isdisjoint(ids)
    rng = random.Random(unk_at)
    mixed = [x for i in ids for x in [*rng.choices(sorted(silent), k=rng.randint(0, 2)), i]]
    assert table.decode(mixed) == text
    assert [w.text for w in table.words(mixed)] == text.split()
    assert table.decode([*ids, unk_at, *ids]) == f"{text} <unk> {text}"
    assert unk_at in table.encode("龘")
    assert silent.isdisjoint(table.encode(" ".join([*specials, *more, "<blk>", "<sos/eos>"])))


def test_every_id_of_a_vocabulary_without_sentence_mark_is_text(tmp_path: Path) -> None:
    table = load_lang(write_pieces(tmp_path, ["<blk>"], 30))
    spelled = [table.decode([i]) for i in range(len(table)) if i != 30]
    assert spelled[0] == "" and spelled[1:3] != ["", ""]
    assert all(spelled[i] or table.symbols[i] == "▁" for i in range(1, 30))


def test_model_without_tokens_txt_gives_its_pieces(tmp_path: Path) -> None:
    folder = write_pieces(tmp_path / "lang", ["<blk>"], 30)
    with_tokens = load_lang(folder)
    digest = lang_hash(folder)
    (folder / "tokens.txt").unlink()
    assert load_lang(folder).symbols == with_tokens.symbols and lang_hash(folder) == digest
    (folder / "bpe.model").rename(folder / "bpe_punc.model")
    make_lang([], [], tmp_path / "copy", LangConfig(kind="bpe", from_dir=str(folder)))
    assert (tmp_path / "copy" / "bpe.model").is_file()
    (folder / "other.model").write_bytes(b"")
    with pytest.raises(DataError, match="has bpe_punc.model and other.model; remove the one"):
        load_lang(folder)
    assert load_lang(tmp_path / "copy").symbols == with_tokens.symbols and lang_hash(tmp_path / "copy") == digest


@pytest.mark.parametrize(
    "symbols",
    [
        ["<blk>", "<sos/eos>", "<unk>", *CHARS, *"ABCDE", "<space>"],
        ["<eps>", "▁", *CHARS, *"abcde", "<unk>", "#0", "#1"],
        ["<blank>", *CHARS, *"ABCDE", "<UNK>", "<sos/eos>", "<space>"],
    ],
)
def test_characters_without_a_model(tmp_path: Path, symbols: list[str]) -> None:
    table = load_lang(write_tokens(tmp_path / "lang_char", symbols))
    assert table.kind == "char" and not any(s.startswith("#") for s in table.symbols)
    rng = random.Random(0)
    for _ in range(50):
        words = [
            rng.choice(CHARS) if rng.random() < 0.5 else "".join(rng.choices("abcde", k=rng.randint(1, 4)))
            for _ in range(rng.randint(0, 8))
        ]
        text = " ".join(words)
        ids = table.encode(text)
        assert table.decode(ids) == text
        assert [w.text for w in table.words(ids)] == words
        assert [ids[w.begin : w.end] for w in table.words(ids)] == table.encode_words(text)
    assert table.decode(table.encode("我 龘 们")) == "我 <unk> 们"
    assert table.encode("xyz") == [table.special.unk] * 3
    make_lang([], [], tmp_path / "copy", LangConfig(kind="char", from_dir=str(tmp_path / "lang_char")))
    assert load_lang(tmp_path / "copy").symbols == table.symbols
    with pytest.raises(ConfigError, match="kind char needs from_dir"):
        LangConfig(kind="char")


def test_without_a_space_letters_after_letters_are_one_word(tmp_path: Path) -> None:
    table = load_lang(write_tokens(tmp_path, ["<blk>", "<unk>", *CHARS, *"ABC", "NLP"]))
    assert table.decode(table.encode("ab c 我 nlp a")) == "abc 我 nlp a"


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (["IQ==", "Ig==", "Iw==", "5oiR", "b3V0"], "tokens.txt: the tokens are in base64, those of a Whisper model"),
        (["<unk>", "<blk>", *CHARS], "token 0 is '<unk>', and <blk> is token 1: the blank .* must be token 0"),
        (["我", "们"], "token 0 is '我' and no token is a blank"),
        (["<blk>", *CHARS], "has no token <unk> or <UNK>"),
        (["<blk>", "<unk>", "我", "们", "我"], "token '我' occurs more than once"),
        (["<eps>", "<unk>", "a1", "ang4", "b", "zhuang1"], "are pinyin syllables or phones .*from which no text"),
        (["<blk>", "<unk>", "▁THE", "ING", "▁A", "我"], "bpe.model is missing, and so is bbpe.model, but .*▁THE"),
        (["<blk>", "<unk>", "hello-world", "good morning"], "neither characters nor BPE pieces"),
    ],
)
def test_other_vocabularies_are_refused_in_one_line(tmp_path: Path, symbols: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as e:
        load_lang(write_tokens(tmp_path, symbols))
    assert "\n" not in str(e.value) and str(tmp_path) in str(e.value)


def test_a_formula_is_no_mark() -> None:
    special = special_tokens(["<blk>", "<unk>", "<y>", "<x", "<|en|>", "[PAD]", "[3]", "</s>"])
    assert special.silent == {0, 4, 5, 7} and special.sentence == 7
    assert not is_han("<")
