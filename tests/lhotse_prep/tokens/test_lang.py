"""Text to token ids and back, and errors for damaged lang folders."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.bpe import UNK_ID
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import lang_hash, load_lang, make_lang
from lhotse_prep.tokens.special_tokens import BLANK_ID
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError

TEXTS = [
    "我 們 來 講 機 器 學 習 的 attention 跟 self-supervised learning",
    "這 個 t-sne 是 3×3 的 generator 98% η δx1 l(x) cheese=> ŷ",
    "the generator and the discriminator learn",
]


@pytest.fixture
def table(tmp_path: Path) -> TokenTable:
    return make_lang(TEXTS, [], tmp_path / "lang", LangConfig(num_english_pieces=80))


@pytest.mark.parametrize("text", [*TEXTS, "", "我", "a", "我 a 我 a c", "learning learning 機"])
def test_text_survives_encoding(table: TokenTable, text: str) -> None:
    assert table.decode(table.encode(text)) == text


@pytest.mark.parametrize("seed", range(20))
def test_random_text_survives_encoding(table: TokenTable, seed: int) -> None:
    rng = random.Random(seed)
    chars = [s for s in table.symbols if is_han(s)]
    letters = sorted({c for text in TEXTS for w in text.split() if not is_han(w) for c in w})
    words = [
        rng.choice(chars) if rng.random() < 0.5 else "".join(rng.choices(letters, k=rng.randint(1, 9)))
        for _ in range(rng.randint(1, 12))
    ]
    text = " ".join(words)
    ids = table.encode(text)
    assert UNK_ID not in ids and BLANK_ID not in ids
    assert table.decode(ids) == text
    assert [i for word in table.encode_words(text) for i in word] == ids
    spans = table.words(ids)
    assert [s.text for s in spans] == words
    assert [ids[s.begin : s.end] for s in spans] == table.encode_words(text)


def test_layout_of_the_files(table: TokenTable, tmp_path: Path) -> None:
    lines = (tmp_path / "lang" / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["<blk> 0", "<sos/eos> 1", "<unk> 2"]
    assert [int(line.split(" ")[1]) for line in lines] == list(range(len(table)))
    assert all(len(line.split(" ")) == 2 for line in lines)
    assert len({line.split(" ")[0] for line in lines}) == len(lines)
    info = json.loads((tmp_path / "lang" / "lang.json").read_text())
    assert info["num_tokens"] == len(table) == 3 + info["num_han"] + info["num_pieces"]
    loaded = load_lang(tmp_path / "lang")
    assert loaded.symbols == table.symbols and loaded.encode(TEXTS[0]) == table.encode(TEXTS[0])


def test_same_texts_give_the_same_files(table: TokenTable, tmp_path: Path) -> None:
    make_lang(TEXTS, [], tmp_path / "again", LangConfig(num_english_pieces=80))
    for name in ("tokens.txt", "bpe.model", "lang.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "lang" / name).read_bytes()


def test_an_unknown_character_becomes_unk_and_its_neighbours_stay(table: TokenTable) -> None:
    assert table.decode(table.encode("我 龘 們 learning")) == "我 <unk> 們 learning"


def test_characters_of_texts_without_audio_become_tokens_on_request(tmp_path: Path) -> None:
    more = ["新 字 字 我", "字 新 稀"]
    for least, expected in ((0, ""), (1, "字新稀"), (2, "字新"), (3, "字"), (4, "")):
        config = LangConfig(num_english_pieces=80, min_text_char_count=least)
        table = make_lang(TEXTS, more, tmp_path / str(least), config)
        assert {c for c in "字新稀" if c in table.ids} == set(expected)
        assert len(table) == len(make_lang(TEXTS, [], tmp_path / f"{least}-none", config)) + len(expected)
        assert table.decode(table.encode("我 " + " ".join(expected))).split() == ["我", *expected]


def test_characters_are_added_after_the_tokens_of_another_folder(table: TokenTable, tmp_path: Path) -> None:
    config = LangConfig(from_dir=str(tmp_path / "lang"), add_characters=True, min_char_count=2, min_text_char_count=3)
    train, texts = ["說 說 話 我 那 c", "learning 說"], ["聽 聽 聽 寫 寫 話 話 話 我"]
    more = make_lang(train, texts, tmp_path / "more", config)
    assert more.symbols == [*table.symbols, "聽", "說"]  # 話 is in the training texts once, so it is rare
    assert load_lang(tmp_path / "more").symbols == more.symbols
    assert more.decode(more.encode("我 說 learning 聽")) == "我 說 learning 聽"
    for text in TEXTS:
        assert more.encode(text) == table.encode(text)
    info = json.loads((tmp_path / "more" / "lang.json").read_text(encoding="utf-8"))
    assert (info["num_tokens"], info["num_added"]) == (len(more), 2)
    with pytest.raises(DataError, match="training transcripts are empty"):
        make_lang([], texts, tmp_path / "empty", config)
    for wrong in ({}, {"from_dir": "x", "kind": "bpe"}):
        with pytest.raises(ConfigError, match="add_characters adds to the tokens of another folder"):
            LangConfig(add_characters=True, **wrong)  # type: ignore[arg-type]


def test_rare_characters_are_left_out_with_min_char_count(tmp_path: Path) -> None:
    config = LangConfig(num_english_pieces=30, min_char_count=2)
    table = make_lang(["我 我 們 a a b"], [], tmp_path, config)
    assert "我" in table.ids and "們" not in table.ids and table.encode("們") == [UNK_ID]


def test_english_texts_add_pieces_but_no_characters(tmp_path: Path) -> None:
    table = make_lang(["我 們 a"], ["zebra zebra 馬"], tmp_path, LangConfig(num_english_pieces=40))
    assert UNK_ID not in table.encode("zebra") and table.encode("馬") == [UNK_ID]


@pytest.mark.parametrize("text", ["我 們 我", "deep learning"])
def test_one_language_is_enough(tmp_path: Path, text: str) -> None:
    table = make_lang([text], [], tmp_path, LangConfig())
    assert table.decode(table.encode(text)) == text


def test_a_blank_decodes_to_nothing_and_a_piece_after_a_character_begins_a_word(table: TokenTable) -> None:
    inner = next(i for i, s in enumerate(table.symbols) if i > 2 and s.isascii() and s.isalpha())
    assert table.decode([BLANK_ID, table.ids["我"], BLANK_ID, inner]) == f"我 {table.symbols[inner]}"


def test_empty_texts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="transcripts are empty"):
        make_lang(["", " "], ["only english"], tmp_path, LangConfig())


def test_a_damaged_model_is_named(table: TokenTable, tmp_path: Path) -> None:
    (tmp_path / "lang" / "bpe.model").write_bytes(b"garbage")
    (tmp_path / "lang" / "lang.json").unlink()  # as in icefall's folders, which have no hash
    with pytest.raises(DataError, match=r"bpe\.model is not a sentencepiece model, or damaged"):
        load_lang(tmp_path / "lang")


@pytest.mark.parametrize("kind", ["bpe", "bbpe"])
def test_a_model_of_all_tokens_is_enough(kind: str, tmp_path: Path) -> None:
    table = make_lang(TEXTS, [], tmp_path / "lang", LangConfig(kind=kind, num_pieces=300))
    before = lang_hash(tmp_path / "lang")
    (tmp_path / "lang" / "tokens.txt").unlink()  # lang.json, which has the hash of both, is still there
    assert load_lang(tmp_path / "lang").symbols == table.symbols
    assert lang_hash(tmp_path / "lang") == before


def test_tokens_in_another_encoding_are_an_error(table: TokenTable, tmp_path: Path) -> None:
    path = tmp_path / "lang" / "tokens.txt"
    path.write_bytes(path.read_text(encoding="utf-8").encode("big5", errors="ignore"))
    with pytest.raises(DataError, match=r"tokens\.txt is not UTF-8"):
        load_lang(tmp_path / "lang")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokens.txt", lambda text: text.replace("<unk> 2\n", ""), "line 3: expected 'token 2'"),
        ("tokens.txt", lambda text: text.replace("我", "你"), "changed after lang.json was written"),
        ("lang.json", lambda text: text.replace('"hash": "', '"hash": "0'), "changed after lang.json was written"),
        ("lang.json", lambda text: text[:-9], "lang.json is damaged"),
        ("bpe.model", None, "bpe.model is missing"),
    ],
)
def test_damage_is_described(table: TokenTable, tmp_path: Path, name: str, change, message: str) -> None:
    path = tmp_path / "lang" / name
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_lang(tmp_path / "lang")
