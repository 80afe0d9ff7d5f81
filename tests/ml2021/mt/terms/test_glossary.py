"""The glossary: its file, which of its terms a sentence has, and which of them a translation keeps."""

from __future__ import annotations

import random
import re
from itertools import product

import pytest

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import DataError
from ml2021.mt.terms.glossary import Glossary, Term, is_kept, read_glossary, term_report
from ml2021.mt.terms.translation import TermUse, Translation

TERMS = ["機器學習", "學習", "學", "Self-Attention", "attention", "BERT", "deep learning", "C++", "learning"]


def glossary_of(*terms: str) -> Glossary:
    return Glossary([Term(t, t, i) for i, t in enumerate(terms, 1)])


def terms_in(text: str, *terms: str) -> list[str]:
    return [t.term for t in glossary_of(*terms).terms_in(normalize_transcript(text).split())]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("我們講機器學習", ["機器學習"]),
        ("我們講機器跟學習", ["學習"]),
        ("机器学习很难", ["機器學習"]),  # the other script
        ("self attention 跟 self-attention 跟 attention", ["Self-Attention", "attention"]),
        ("selfattention 跟 roberta", []),  # whole words
        ("用 bert 跟 BERT", ["BERT"]),
        ("deep learning 跟 learning 跟 deep", ["deep learning", "learning"]),
        ("deep-learning", ["deep learning"]),
        ("寫 c++ 的人", ["C++"]),
        ("", []),
    ],
)
def test_terms_of_a_sentence(text, terms):
    assert terms_in(text, *TERMS) == terms


@pytest.mark.parametrize("seed", range(30))
def test_the_longest_terms_count_and_do_not_overlap(seed):
    """Compared with trying all places of all terms, the longest first."""
    rng = random.Random(seed)
    alphabet = ["甲", "乙", "丙", "bert", "cnn"]
    terms = sorted({tuple(rng.choices(alphabet, k=rng.randint(1, 4))) for _ in range(6)})
    sentence = rng.choices(alphabet, k=12)
    is_free, places = [True] * len(sentence), {}
    for length, start in product((4, 3, 2, 1), range(len(sentence))):
        if start + length > len(sentence):
            continue
        span = range(start, start + length)
        if tuple(sentence[start : start + length]) in terms and all(is_free[i] for i in span):
            places[start] = tuple(sentence[start : start + length])
            for i in span:
                is_free[i] = False
    expected = list(dict.fromkeys(" ".join(places[start]) for start in sorted(places)))
    glossary = glossary_of(*map(" ".join, terms))
    assert [t.term for t in glossary.terms_in(sentence)] == expected
    joined = re.sub("(?<=[甲乙丙]) (?=[甲乙丙])", "", " ".join(sentence)).upper()
    assert [t.term for t in glossary.terms_in(joined.split())] == expected  # however it is written


@pytest.mark.parametrize(
    ("translation", "text", "kept"),
    [
        ("gradient descent", "We use Gradient descent.", True),
        ("gradient descent", "We use gradients and descent.", False),
        ("neural network", "two neural networks", True),
        ("neural networks", "one neural network", True),
        ("loss", "The losses, and the loss's sum", True),
        ("class", "Classes", True),
        ("analysis", "many analyses", True),
        ("entropy", "entropies", True),
        ("network", "the network's weights", True),
        ("self-attention", "Self attention works", True),
        ("self attention", "self-attention works", True),
        ("he", "the", False),
        ("cat", "a category", False),
        ("I", "he is", False),
        ("C++", "written in C++.", True),
        ("C++", "written in C.", False),
        ("注意力", "it is 注意力", True),
        ("BERT", "", False),
    ],
)
def test_whether_a_translation_keeps_a_term(translation, text, kept):
    assert is_kept(translation, text) is kept


@pytest.mark.parametrize("seed", range(20))
def test_a_term_is_kept_wherever_it_stands_in_a_text(seed):
    rng = random.Random(seed)
    words = [rng.choice(["model", "loss", "Self-Attention", "a", "BERT", "x2"]) for _ in range(10)]
    start, length = rng.randrange(8), rng.randint(1, 3)
    term = " ".join(words[start : start + length])
    assert is_kept(term.swapcase(), " ".join(words) + ".")
    assert not is_kept(f"{term} zebra", " ".join(words))


def test_a_file_with_comments_blank_lines_and_the_marks_of_other_editors(tmp_path):
    path = tmp_path / "terms.tsv"
    lines = ["\ufeff# of lecture 1\r", "\r", "機器學習\tmachine  learning \r", "#hashtag\thash tag", "#"]
    path.write_bytes("\n".join([*lines, "機器學習\tmachine learning"]).encode())
    assert [(t.term, t.translation, t.line) for t in read_glossary(path).terms] == [
        ("機器學習", "machine learning", 3),
        ("#hashtag", "hash tag", 4),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n機器學習 machine learning\n", "terms.tsv:2: '機器學習 machine learning' has 0 tabs; a"),
        ("a\tb\tc\n", "terms.tsv:1: .* has 2 tabs"),
        ("\n\tb\n", "terms.tsv:2: .* lacks the term or its translation"),
        ("a\t \n", "terms.tsv:1: .* lacks the term or its translation"),
        ("a\t...\n", "terms.tsv:1: '...' has no letter or digit"),
        ("學習\tlearn\n学习\tstudy\n", "terms.tsv:2: '学习' is translated as 'study' here and as 'learn' in line 1"),
        ("BERT\tBERT\n\nbert\tErnie\n", "terms.tsv:3: 'bert' is translated as 'Ernie' here and as 'BERT' in line 1"),
        ("# nothing\n", "terms.tsv has no terms"),
        ("", "terms.tsv has no terms"),
    ],
)
def test_errors_name_the_line(tmp_path, content, message):
    path = tmp_path / "terms.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_glossary(path)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "big5.tsv").write_bytes("學習\tlearn\n".encode("big5"))
    with pytest.raises(DataError, match="big5.tsv is not UTF-8"):
        read_glossary(tmp_path / "big5.tsv")
    for path in (tmp_path, tmp_path / "none.tsv"):
        with pytest.raises(DataError, match=f"glossary {path} cannot be read"):
            read_glossary(path)


def test_the_report_counts_sentences():
    kept, missed = TermUse("學習", "learning", True), TermUse("學習", "learning", False)
    other = TermUse("BERT", "BERT", True)
    translations = [Translation("", 0.0, terms=terms) for terms in [(kept, other), (missed,), (), (other,)]]
    assert term_report(translations) == {
        "occurred": 4,
        "kept": 3,
        "missed": 1,
        "terms": [
            {"term": "學習", "translation": "learning", "occurred": 2, "kept": 1, "missed": 1},
            {"term": "BERT", "translation": "BERT", "occurred": 2, "kept": 2, "missed": 0},
        ],
    }
    assert term_report([])["occurred"] == 0
