"""Transcripts and translations: of the wrong language, the same twice, and shared by parts that must not share any."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.corpora.source.splits import write_splits
from lhotse_prep.manifests.make import prepare_ml2021
from lhotse_prep.manifests.texts import Text, check_languages, check_pair, check_same_texts, check_shared_texts
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000
CHARACTERS = "機器學習深度神經網路模型資料訓練測試今天我們來講這個問題的解法是什麼大家可以看到"
WORDS = ("model", "loss", "gradient", "bert", "layer", "attention")
ENGLISH = ("we", "train", "the", "model", "on", "data", "and", "measure", "how", "well", "it", "works", "today", "then")


def lecture(seed: int, num_tokens: int = 300) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(CHARACTERS if rng.random() < 0.8 else WORDS) for _ in range(num_tokens)]


def english(seed: int, num_words: int = 200) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(ENGLISH) for _ in range(num_words))


def changed(tokens: list[str], share: float, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(CHARACTERS) if rng.random() < share else t for t in tokens]


@pytest.mark.parametrize(
    ("text", "translation", "check"),
    [
        ("我 們 講 bert", "We talk about BERT.", None),
        ("self-supervised learning", "self-supervised learning", None),
        ("我 們 講 這 個", "", None),
        ("我 們", "In Chinese, 我們 means we, and the same word is used for 咱們 in the south.", None),
        ("", "We.", "empty-text"),
        ("。", "We.", "empty-text"),
        ("We talk about it.", "我們講這個", "swapped"),
        ("我 們", "我們。", "same-text"),
        ("我 們 講 這 個", "我們今天要講的是這個問題的另外一種解法，大家可以看到", "chinese-translation"),
    ],
)
def test_pairs(text: str, translation: str, check: str | None) -> None:
    findings = check_pair("t1", "text", text, translation)
    assert [(f.check, f.kind, f.is_error) for f in findings] == ([(check, "lecture", True)] if check else [])


def test_a_translation_that_is_partly_chinese_is_a_warning() -> None:
    (finding,) = check_pair("a", "train", "我 們 講", "We talk about 這個問題的 today and then stop here.")
    assert finding.check == "chinese-translation" and not finding.is_error


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("other", ["dev", "test"])
@pytest.mark.parametrize("part", ["train", "text"])
def test_copies_of_a_text_for_evaluation_are_errors(part: str, other: str, share: float) -> None:
    texts = [Text(f"l{i}", part, " ".join(lecture(i))) for i in range(10)]
    held_out = lecture(99)
    texts.append(Text("held", other, " ".join(held_out)))
    assert check_shared_texts(texts, 0.2) == []
    near_copy = lecture(50, 100) + changed(held_out, share)
    findings = check_shared_texts([*texts, Text("copy", part, " ".join(near_copy))], 0.2)
    assert [(f.id, f.part, f.is_error) for f in findings] == [("copy", part, True)]
    assert f"of its text is that of held in {other}; take it out of " in str(findings[0])
    allowed = check_shared_texts([*texts, Text("copy", part, " ".join(near_copy))], 1.0)
    assert [(f.id, f.is_error) for f in allowed] == [("copy", False)]


def test_pieces_simplified_characters_and_translations_are_seen() -> None:
    held_out = lecture(1)
    test = Text("held", "test", " ".join(held_out), english(1))
    piece = Text("piece", "text", " ".join(held_out[100:160]))
    simplified = "".join(held_out).translate(
        str.maketrans("機學經網資訓練測試來講這個問題麼", "机学经网资训练测试来讲这个问题么")
    )
    other_script = Text("simplified", "text", " ".join(t for t in _tokens(simplified)))
    translated = Text("translated", "text", " ".join(lecture(7)), "First of all. " + english(1))
    findings = check_shared_texts([test, piece, other_script, translated], 0.2)
    assert [f.id for f in findings] == ["piece", "simplified", "translated"] and all(f.is_error for f in findings)
    assert "of its translation is that of held" in findings[2].message


def _tokens(text: str) -> list[str]:
    from lhotse_prep.text.normalize import normalize_transcript

    return normalize_transcript(text).split()


def test_short_texts_may_be_the_same() -> None:
    texts = [Text(f"u{part}", part, "好 謝 謝 大 家", "Thank you all.") for part in ("train", "dev", "test", "text")]
    assert check_shared_texts(texts, 0.2) == check_same_texts(texts) == []


def test_the_same_transcript_twice_and_one_in_english_are_warnings() -> None:
    texts = [Text(f"l{i}", "train", " ".join(lecture(i % 4))) for i in range(5)]
    (same,) = check_same_texts(texts)
    assert (same.id, same.is_error) == ("l4", False) and "its transcript is that of l0" in same.message
    (foreign,) = check_languages([*texts, Text("e", "text", english(0))])
    assert (foreign.id, foreign.is_error) == ("e", False)
    assert check_languages([Text(f"e{i}", "train", english(i)) for i in range(5)]) == []


def test_text_only_lectures_are_checked_as_the_recorded_ones(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    splits: dict[str, list[str]] = {"train": ["a"], "test": ["b"], "text": [f"t{i}" for i in range(30)]}
    for i, name in enumerate(["a", "b", *splits["text"]]):
        if name in ("a", "b"):
            sf.write(source / f"{name}.wav", np.random.default_rng(i).uniform(-0.2, 0.2, 30 * RATE), RATE)
        (source / f"{name}.txt").write_text(" ".join(lecture(i)))
        (source / f"{name}.en.txt").write_text(english(i))
    write_splits(source, splits)
    prepare_ml2021(source, tmp_path / "out")
    before = read_jsonl(tmp_path / "out" / "texts.jsonl")
    (source / "t3.txt").write_text((source / "b.txt").read_text() + " 謝 謝")
    with pytest.raises(DataError, match=r"lecture t3: 100% of its text is that of b in test; take it out of the texts"):
        prepare_ml2021(source, tmp_path / "out")
    (source / "t4.txt").write_text(english(4))
    (source / "t4.en.txt").write_text(" ".join(lecture(4)))
    with pytest.raises(DataError, match=r"2 errors \(shared-text 1, swapped 1\)"):
        prepare_ml2021(source, tmp_path / "out")
    assert read_jsonl(tmp_path / "out" / "texts.jsonl") == before


def shares_by_dictionaries(texts: list[Text], parts: tuple[str, ...], others: tuple[str, ...]) -> dict[str, tuple]:
    """{id: (largest share of runs of eight, id of the text that has it)} of the transcripts of some parts."""

    runs = {}
    for t in texts:
        tokens = t.transcript.split()
        runs[t.id] = {tuple(tokens[i : i + 8]) for i in range(max(1, len(tokens) - 7))}
    best = {t.id: (0.0, "", "") for t in texts if t.part in parts}
    for name in best:
        for o in texts:
            if o.part in others and (num_shared := len(runs[name] & runs[o.id])):
                share = num_shared / min(len(runs[name]), len(runs[o.id]))
                best[name] = max(best[name], (share, o.part, o.id))
    return best


class ReadAgain:
    """Texts that can only be iterated over, as those of a large corpus; counts how often they are."""

    def __init__(self, texts: list[Text]) -> None:
        self._texts, self.num_readings = texts, 0

    def __iter__(self) -> Iterator[Text]:
        self.num_readings += 1
        return iter(self._texts)


@pytest.mark.parametrize("seed", range(5))
def test_shared_texts_are_those_of_dictionaries_of_runs(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [[rng.choice("我們講的是") for _ in range(20)] for _ in range(12)]
    texts = []
    for i in range(40):
        tokens = [t for piece in rng.choices(pieces, k=rng.randint(1, 6)) for t in piece]
        texts.append(Text(f"l{i}", rng.choice(["train", "text", "dev", "test"]), " ".join(tokens)))
    long_texts = [t for t in texts if len(t.transcript.split()) >= 40]
    expected = shares_by_dictionaries(long_texts, ("train", "text"), ("dev", "test"))
    expected |= shares_by_dictionaries(long_texts, ("dev",), ("test",))
    findings = check_shared_texts(ReadAgain(texts), 0.2)  # type: ignore[arg-type]
    assert {f.id for f in findings} == {name for name, (share, *_) in expected.items() if share >= 0.1} != set()
    for f in findings:
        share, part, other = expected[f.id]
        assert f.message == f"{share:.0%} of its text is that of {other} in {part}" and f.is_error == (share > 0.2)
    assert [f.id for f in findings if f.part == "dev"] == [f.id for f in findings][
        -sum(f.part == "dev" for f in findings) :
    ]


def test_texts_are_read_one_by_one_and_those_of_train_are_not_kept() -> None:
    import tracemalloc

    def texts() -> Iterator[Text]:
        rng = np.random.default_rng(0)
        for i in range(100):
            part = "test" if i % 20 == 0 else "train"
            yield Text(f"l{i}", part, " ".join(map(chr, rng.integers(0x4E00, 0x5E00, 1000))))

    class Texts:
        def __iter__(self) -> Iterator[Text]:
            return texts()

    for check in (check_same_texts, check_languages, lambda t: check_shared_texts(t, 0.2)):
        check([])
        tracemalloc.start()
        assert check(Texts()) == []  # type: ignore[operator, arg-type]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_300_000, check  # in lists of tokens, the texts take 6.5 MB
