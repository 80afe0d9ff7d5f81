"""Byte characters and byte-BPE: every text survives encoding, and incomplete bytes lose as little as possible."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path

import pytest
import sentencepiece as spm

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.tokens.bpe import UNK_ID
from lhotse_prep.tokens.byte_bpe import BYTE_CHARS, from_byte_chars, to_byte_chars, valid_characters
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError

TEXTS = [
    "我 們 來 講 機 器 學 習 的 attention 跟 self-supervised learning",
    "這 個 t-sne 是 3×3 的 generator 98% η δx1 l(x) cheese=> ŷ",
    "the generator and the discriminator learn",
]


def icefall_model(folder: Path, texts: list[str], of_bytes: bool, vocab_size: int, **options: object) -> Path:
    """A lang folder as icefall's scripts write it: unigram, nmt_nfkc, user-defined symbols, #0 and #1 in tokens.txt."""
    model = io.BytesIO()
    lines = [to_byte_chars(t) if of_bytes else t for t in texts]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        user_defined_symbols=["<blk>", "<sos/eos>"],
        unk_id=2,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
        character_coverage=1.0,
        hard_vocab_limit=False,
        **options,
    )
    folder.mkdir(parents=True)
    (folder / ("bbpe.model" if of_bytes else "bpe.model")).write_bytes(model.getvalue())
    bpe = spm.SentencePieceProcessor(model_proto=model.getvalue())
    symbols = [bpe.id_to_piece(i) for i in range(bpe.get_piece_size())] + ["#0", "#1"]
    (folder / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def icefall_bbpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [t.upper() for t in TEXTS]
    return icefall_model(tmp_path_factory.mktemp("icefall") / "lang", texts, of_bytes=True, vocab_size=120)


def most_characters(data: bytes) -> str:
    """The longest text that can be decoded from a subset of the bytes, by brute force."""
    best = [""]
    for end in range(1, len(data) + 1):
        candidates = [best[-1]]
        for begin in range(max(0, end - 4), end):
            try:
                char = data[begin:end].decode()
            except UnicodeDecodeError:
                continue
            if len(char) == 1:
                candidates.append(best[begin] + char)
        best.append(max(candidates, key=len))
    return best[-1]


def test_table_is_that_of_icefall() -> None:
    """All bytes; ASCII is itself; points of the table on both sides of what NFKC would change."""
    assert len(set(BYTE_CHARS)) == 256
    assert all(BYTE_CHARS[b] == chr(b) for b in range(32, 127))
    known = {
        0: 256,
        31: 287,
        127: 288,
        144: 305,
        145: 308,
        155: 318,
        156: 321,
        163: 328,
        164: 330,
        216: 382,
        217: 384,
        255: 422,
    }
    assert {b: ord(BYTE_CHARS[b]) for b in known} == known
    assert to_byte_chars("我a") == "".join(BYTE_CHARS[b] for b in (0xE6, 0x88, 0x91)) + "a"
    assert from_byte_chars(to_byte_chars("我 δx1")) == "我 δx1".encode()


@pytest.mark.parametrize("seed", range(100))
def test_broken_bytes_lose_least(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray("我a們δ𝔸 ŷ".encode() * 2)
    for _ in range(rng.randint(0, 8)):
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            del data[at]
        else:
            data[at] = rng.randrange(256)
    characters = list(valid_characters(bytes(data)))
    assert "".join(c for c, _, _ in characters) == most_characters(bytes(data))
    assert all(bytes(data[b:e]).decode() == c for c, b, e in characters)
    assert all(a[2] <= b[1] for a, b in zip(characters, characters[1:]))


@pytest.mark.parametrize("case", ["auto", "upper"])
def test_a_byte_bpe_made_here_encodes_any_text(tmp_path: Path, case: str) -> None:
    table = make_lang(TEXTS, [], tmp_path, LangConfig(kind="bbpe", num_pieces=300, case=case))
    rng = random.Random(0)
    random_texts = [
        " ".join("".join(chr(rng.choice(ranges)) for _ in range(rng.randint(1, 5))) for _ in range(6))
        for ranges in [range(33, 0x250), range(0x370, 0x400), range(0x4E00, 0xA000), range(0x1D400, 0x1D800)] * 5
    ]
    for text in [*TEXTS, "", "龘", "<blk> <unk>", "∑ᵢ xᵢ² ≤ ε", "ß ς σ ı", *random_texts]:
        text = normalize_transcript(text)
        ids = table.encode(text)
        assert table.decode(ids) == text and not {0, 1, 2} & set(ids)
        spans = table.words(ids)
        assert [s.text for s in spans] == text.split()
        assert [ids[s.begin : s.end] for s in spans] == table.encode_words(text)
        loaded = load_lang(tmp_path)
        assert loaded.kind == "bbpe" and loaded.encode(text) == ids


def test_an_icefall_folder_encodes_as_icefall_does(icefall_bbpe: Path) -> None:
    table = load_lang(icefall_bbpe)
    assert table.kind == "bbpe" and table.upper_case and "#0" not in table.symbols
    model = spm.SentencePieceProcessor(str(icefall_bbpe / "bbpe.model"))
    for text in TEXTS:
        ids = table.encode(text)
        assert ids == model.encode(to_byte_chars(text.upper())) and UNK_ID not in ids
        assert from_byte_chars(model.decode(ids)).decode() == text.upper()
        assert table.decode(ids) == text


@pytest.mark.parametrize("seed", range(30))
def test_a_hypothesis_decodes_as_in_icefall_and_its_words_have_their_tokens(icefall_bbpe: Path, seed: int) -> None:
    table = load_lang(icefall_bbpe)
    model = spm.SentencePieceProcessor(str(icefall_bbpe / "bbpe.model"))
    rng = random.Random(seed)
    ids = [rng.randrange(3, len(table)) for _ in range(30)]
    icefall_text = most_characters(from_byte_chars(model.decode(ids)))
    assert table.decode(ids) == normalize_spaces(icefall_text.lower())
    spans = table.words(ids)
    assert all(a.begin <= b.begin and a.end <= b.begin + 1 for a, b in zip(spans, spans[1:]))
    for s in spans:
        assert s.text in table.decode(ids[s.begin : s.end]).split()


def normalize_spaces(text: str) -> str:
    """The text with single spaces, also around each Chinese character."""
    return " ".join("".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text).split())


def test_plain_model_with_byte_fallback_and_unspaced_characters(tmp_path: Path) -> None:
    texts = ["我們來講 HELLO WORLD 機器學習"] * 3
    folder = icefall_model(tmp_path / "lang", texts, of_bytes=False, vocab_size=300, byte_fallback=True)
    table = load_lang(folder)
    assert table.kind == "bpe" and table.upper_case
    assert table.decode(table.encode("我 龘 hello")) == "我 龘 hello"
    piece = next(i for i, s in enumerate(table.symbols) if len(s.strip("▁")) > 1 and is_han(s[-1]) and is_han(s[-2]))
    spans = table.words([piece])
    assert "".join(s.text for s in spans) == table.symbols[piece].strip("▁")
    assert all((s.begin, s.end) == (0, 1) for s in spans)


@pytest.mark.parametrize("kind", ["bpe", "bbpe"])
def test_one_language_is_enough(tmp_path: Path, kind: str) -> None:
    for n, text in enumerate(["我 們 我", "deep learning", "δx1 3×3"]):
        table = make_lang([text], [], tmp_path / str(n), LangConfig(kind=kind, num_pieces=40))
        assert table.decode(table.encode(text)) == text and table.decode([]) == ""


def test_a_folder_is_copied_unchanged(icefall_bbpe: Path, tmp_path: Path) -> None:
    config = LangConfig(kind="bbpe", from_dir=str(icefall_bbpe))
    table = make_lang([], [], tmp_path / "lang", config)
    loaded = load_lang(tmp_path / "lang")
    assert loaded.upper_case and loaded.symbols == table.symbols
    assert (tmp_path / "lang" / "bbpe.model").read_bytes() == (icefall_bbpe / "bbpe.model").read_bytes()
    with pytest.raises(DataError, match="of kind bbpe, but lang.kind is char"):
        make_lang([], [], tmp_path / "other", LangConfig(from_dir=str(icefall_bbpe)))


def test_characters_and_bpe_of_icefall(icefall_bbpe: Path, tmp_path: Path) -> None:
    make_lang(TEXTS, [], tmp_path, LangConfig(num_english_pieces=80))
    (tmp_path / "lang.json").unlink()
    table = load_lang(tmp_path)
    assert type(table) is TokenTable and table.decode(table.encode(TEXTS[0])) == TEXTS[0]


def test_mismatched_files_and_options_are_errors(icefall_bbpe: Path, tmp_path: Path) -> None:
    lang = shutil.copytree(icefall_bbpe, tmp_path / "lang")
    lines = (lang / "tokens.txt").read_text(encoding="utf-8").split("\n")
    symbols = [line.rpartition(" ")[0] for line in lines if line]
    symbols[5], symbols[6] = symbols[6], symbols[5]
    (lang / "tokens.txt").write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols)), encoding="utf-8")
    with pytest.raises(DataError, match="are not the .* pieces of bbpe.model"):
        load_lang(lang)
    shutil.copy(lang / "bbpe.model", lang / "bpe.model")
    with pytest.raises(DataError, match="has bpe.model and bbpe.model"):
        load_lang(lang)
    for options in ({"kind": "chars"}, {"case": "title"}, {"case": "upper"}, {"num_pieces": 3}):
        with pytest.raises(ConfigError):
            LangConfig(**options)  # type: ignore[arg-type]
