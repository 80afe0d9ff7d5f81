"""Sentence pairs of generated lectures, whose true pairs are known."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import LectureText, make_pairs
from lhotse_prep.workflow.errors import ConfigError, DataError

NOUNS = {
    "模 型": "model",
    "資 料": "data",
    "參 數": "parameters",
    "老 師": "teacher",
    "方 法": "method",
    "結 果": "result",
}
VERBS = {"訓 練": "train", "看 到": "see", "使 用": "use", "改 變": "change", "說 明": "explain"}
TERMS = {"bert": "BERT", "gradient": "gradient", "self-attention": "self-attention", "transformer": "Transformer"}
OPENINGS = {"所 以": "So", "那 個": "Now", "因 為": "Because", "我 們 今 天": "Today we", "如 果": "If"}


def sentence(rng: random.Random, terms: bool) -> tuple[str, str]:
    """A sentence of one to three clauses and its translation."""
    nouns = NOUNS | TERMS if terms else NOUNS
    source, target = [], []
    for _ in range(rng.choice((1, 1, 2, 3))):
        subject, verb, thing = rng.choice(list(nouns)), rng.choice(list(VERBS)), rng.choice(list(nouns))
        source.append(f"{subject} {verb} {thing}")
        target.append(f"the {nouns[subject]} will {VERBS[verb]} some {nouns[thing]}")
    opening = rng.choice(list(OPENINGS))
    stop = "." if rng.random() < 0.7 else ""
    return f"{opening} {' 而 且 '.join(source)}", f"{OPENINGS[opening]} {' and '.join(target)}{stop}"


def lecture(seed: int, num_sentences: int, terms: bool = True, pauses: bool = False):
    """A lecture, and its true pairs as (first token, number of tokens, first word, number of words)."""
    rng = random.Random(seed)
    tokens, words, silences, truth = [], [], [], []
    for _ in range(num_sentences):
        source, target = (side.split() for side in sentence(rng, terms))
        truth.append((len(tokens), len(source), len(words), len(target)))
        silences += [rng.uniform(0.3, 1.0)] + [rng.choice((0.0, 0.01, 0.2)) for _ in source[1:]]
        tokens += source
        words += target
    return LectureText(f"lecture{seed}", tokens, words, silences if pauses else None), truth


def places(pairs):
    return [(p.first_token, p.num_tokens, p.first_word, p.num_words) for p in pairs]


def assert_covers(text: LectureText, pairs) -> None:
    """Each token and each word in exactly one pair, in order, and no pair empty on both sides."""
    at_token = at_word = 0
    for p in pairs:
        assert (p.first_token, p.first_word) == (at_token, at_word)
        assert p.num_tokens + p.num_words > 0
        at_token, at_word = at_token + p.num_tokens, at_word + p.num_words
    assert (at_token, at_word) == (len(text.tokens), len(text.words))


def exact(pairs, truth) -> float:
    return len(set(places(pairs)) & set(truth)) / len(truth)


@pytest.mark.parametrize("terms", [True, False], ids=["terms", "no shared terms"])
@pytest.mark.parametrize("pauses", [True, False], ids=["pauses", "no pauses"])
def test_finds_the_true_pairs(terms, pauses):
    lectures = [lecture(seed, 80, terms, pauses) for seed in range(4)]
    pairs = make_pairs([text for text, _ in lectures], BitextConfig())
    for text, truth in lectures:
        assert_covers(text, pairs[text.id])
        assert exact(pairs[text.id], truth) > 0.97
        assert sum(p.score > 0 for p in pairs[text.id]) > 0.97 * len(truth)


def test_recorded_and_text_only_lectures_together():
    lectures = [lecture(seed, 80, pauses=seed < 2) for seed in range(4)]
    pairs = make_pairs([text for text, _ in lectures], BitextConfig())
    assert all(exact(pairs[text.id], truth) > 0.97 for text, truth in lectures)


def test_pauses_at_random_places_do_no_harm():
    lectures = [lecture(seed, 80) for seed in range(4)]
    rng = random.Random(0)
    misleading = [LectureText(t.id, t.tokens, t.words, [rng.choice((0.0, 0.5)) for _ in t.tokens]) for t, _ in lectures]
    pairs = make_pairs(misleading, BitextConfig())
    assert all(exact(pairs[text.id], truth) > 0.9 for text, truth in lectures)


@pytest.mark.parametrize("side", ["translation", "transcript"])
def test_a_missing_block_affects_only_its_sentences(side):
    lectures = [lecture(seed, 120) for seed in range(4)]
    text, truth = lectures[0]
    first, last = truth[50], truth[69]  # 20 of 120 sentences
    if side == "translation":
        num_removed = last[2] + last[3] - first[2]
        damaged = LectureText(text.id, text.tokens, text.words[: first[2]] + text.words[first[2] + num_removed :])
        kept = truth[:50] + [(a, b, c - num_removed, d) for a, b, c, d in truth[70:]]
    else:
        num_removed = last[0] + last[1] - first[0]
        damaged = LectureText(text.id, text.tokens[: first[0]] + text.tokens[first[0] + num_removed :], text.words)
        kept = truth[:50] + [(a - num_removed, b, c, d) for a, b, c, d in truth[70:]]
    pairs = make_pairs([damaged] + [t for t, _ in lectures[1:]], BitextConfig())
    assert_covers(damaged, pairs[text.id])
    assert exact(pairs[text.id], kept) > 0.9
    sure = [p for p in pairs[text.id] if p.margin >= BitextConfig().min_margin]
    assert len(sure) > 0.8 * len(kept) and len(set(places(sure)) - set(kept)) <= 0.02 * len(sure)
    for other, its_truth in lectures[1:]:
        assert exact(pairs[other.id], its_truth) > 0.97


@pytest.mark.parametrize("seed", range(30))
def test_pairs_cover_any_texts(seed):
    """Unrelated texts of any length and kind."""
    rng = random.Random(seed)
    alphabets = [list("甲乙丙丁戊己庚辛"), ["bert", "l(x)", "98%", "=>"], list("甲乙丙") + ["bert", "3×3"]]
    vocabulary = rng.choice([["a", "b", "c"], ["The", "GPT", "I", "x."], ["so", "But", "---", "well,", "then.”"]])
    lectures = []
    for number in range(rng.randint(1, 3)):
        tokens = rng.choices(alphabets[seed % 3], k=rng.choice((1, 2, 30, 300)))
        words = rng.choices(vocabulary, k=rng.choice((1, 2, 30, 300)))
        pauses = [rng.choice((None, 0.0, 0.4)) for _ in tokens] if rng.random() < 0.5 else None
        lectures.append(LectureText(str(number), tokens, words, pauses))
    pairs = make_pairs(lectures, BitextConfig(num_rounds=3))
    for text in lectures:
        assert_covers(text, pairs[text.id])


def test_same_input_same_pairs():
    texts = [lecture(seed, 30)[0] for seed in range(2)]
    assert make_pairs(texts, BitextConfig()) == make_pairs(texts, BitextConfig())


def test_empty_text_is_an_error_that_names_the_lecture():
    with pytest.raises(DataError, match="lecture week3_1: its translation is empty"):
        LectureText("week3_1", ["好"], [])


@pytest.mark.parametrize(
    "values",
    [
        {"num_rounds": 0},
        {"min_margin": -1.0},
        {"max_length_ratio": 1.0},
        {"dictionary_weight": -1.0},
        {"discount": -1.0},
    ],
)
def test_config_refuses(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        BitextConfig(**values)
