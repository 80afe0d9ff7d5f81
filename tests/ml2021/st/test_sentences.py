"""Words are split into sentences where the speaker pauses; every word is in exactly one."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.st.config import SentenceConfig
from ml2021.st.sentences import Sentence, Word, split_sentences, with_scores, with_spelling, written


def words_with_pauses(pauses: list[float], duration: float = 0.2) -> list[Word]:
    """len(pauses) + 1 words, named 0, 1, ..."""
    words, time = [], 0.0
    for i, pause in enumerate([*pauses, 0.0]):
        words.append((str(i), time, time + duration))
        time += duration + pause
    return words


def split(pauses: list[float], **values: float) -> list[str]:
    """The sentences as strings of word names."""
    config = SentenceConfig(**values)  # type: ignore[arg-type]
    return [" ".join(s.tokens) for s in split_sentences(words_with_pauses(pauses), config)]


@pytest.mark.parametrize("seed", range(60))
def test_every_word_is_in_one_sentence_within_the_limits(seed: int) -> None:
    rng = random.Random(seed)
    config = SentenceConfig(
        min_pause=rng.choice([0.2, 0.5]), max_tokens=rng.randint(3, 12), min_tokens=rng.randint(1, 3), join_pause=1.0
    )
    words = words_with_pauses([rng.choice([0.0, 0.1, 0.3, 0.6, 2.0]) for _ in range(rng.randint(0, 60))])
    sentences = split_sentences(words, config)
    assert [w for s in sentences for w in s.words] == words
    for s in sentences:
        assert 1 <= len(s.words) <= config.max_tokens
        assert s.start == s.words[0][1] and s.end == s.words[-1][2]
    runs: list[list[int]] = []  # sentence lengths of stretches without a pause: they are cut only for their length
    for i, s in enumerate(sentences):
        if i == 0 or s.start - sentences[i - 1].end >= config.min_pause - 1e-9:
            runs.append([])
        runs[-1].append(len(s.words))
    assert all(len(run) == 1 or sum(run) > config.max_tokens for run in runs)


@pytest.mark.parametrize(
    ("pauses", "sentences"),
    [
        ([], ["0"]),
        ([0.1, 0.1], ["0 1 2"]),
        ([0.1, 0.4, 0.1], ["0 1", "2 3"]),
        ([0.1, 0.4, 0.5, 0.1], ["0 1 2", "3 4"]),  # a lone word goes to the nearer side
        ([0.1, 0.5, 0.4, 0.1], ["0 1", "2 3 4"]),
        ([0.1, 1.5, 1.5, 0.1], ["0 1", "2", "3 4"]),  # unless it is far from both
        ([0.4, 0.4, 0.4], ["0 1 2 3"]),
    ],
)
def test_pauses_by_hand(pauses: list[float], sentences: list[str]) -> None:
    assert split(pauses, min_pause=0.3, min_tokens=2) == sentences


def test_no_words_no_sentences() -> None:
    assert split_sentences([], SentenceConfig()) == []


def test_long_run_is_cut_at_its_longest_pause() -> None:
    pauses = [0.0] * 11
    pauses[7] = 0.2
    assert split(pauses, max_tokens=8) == ["0 1 2 3 4 5 6 7", "8 9 10 11"]


def test_long_run_without_a_pause_is_cut_in_the_middle() -> None:
    assert split([0.0] * 7, max_tokens=4) == ["0 1 2 3", "4 5 6 7"]


def test_joining_does_not_pass_the_limit() -> None:
    assert split([0.0, 0.0, 0.5, 0.5, 0.0, 0.0], max_tokens=3, min_tokens=2) == ["0 1 2", "3", "4 5 6"]


def test_a_lecture_of_one_run_is_no_problem() -> None:
    sentences = split([0.0] * 20_000, max_tokens=2, min_tokens=1)
    assert len(sentences) >= 10_000


@pytest.mark.parametrize(
    "values", [{"min_pause": 0.0}, {"min_tokens": 5, "max_tokens": 4}, {"min_tokens": 0}, {"max_pause": 0.1}]
)
def test_impossible_limits_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SentenceConfig(**values)  # type: ignore[arg-type]


def marked(pauses: list[float], marks: dict[int, str], **values: float) -> list[str]:
    config = SentenceConfig(**values)  # type: ignore[arg-type]
    words = words_with_pauses(pauses)
    return [s.text for s in split_sentences(words, config, [marks.get(i, "") for i in range(len(words))])]


def test_marks_end_sentences_together_with_pauses() -> None:
    assert marked([0.0] * 5, {2: "."}) == ["0 1 2.", "3 4 5"]  # without a pause
    assert marked([0.0, 0.0, 0.6, 0.0, 0.0], {}) == ["0 1 2 3 4 5"]  # a pause without a mark is a hesitation
    assert marked([0.0, 0.0, 0.6, 0.0, 0.0], {2: ","}) == ["0 1 2,", "3 4 5"]  # with a comma, it is an end
    assert marked([0.0, 0.0, 0.1, 0.0, 0.0], {2: ","}) == ["0 1 2, 3 4 5"]  # a comma alone is none
    assert marked([0.0, 0.0, 2.0, 0.0, 0.0], {}) == ["0 1 2", "3 4 5"]  # max_pause
    assert marked([0.0] * 5, {0: "?", 5: "."}) == ["0? 1 2 3 4 5."]  # a lone word is joined all the same
    assert marked([0.0] * 7, {2: ",", 7: "."}, max_tokens=6) == ["0 1 2,", "3 4 5 6 7."]  # a long one: at the comma


@pytest.mark.parametrize("seed", range(40))
def test_marks_lose_no_word_and_keep_the_limits(seed: int) -> None:
    rng = random.Random(seed)
    config = SentenceConfig(max_tokens=rng.randint(3, 12), min_tokens=rng.randint(1, 3))
    words = words_with_pauses([rng.choice([0.0, 0.1, 0.5, 2.5]) for _ in range(rng.randint(0, 60))])
    marks = [rng.choice(["", "", "", "，", "。", "?"]) for _ in words]
    sentences = split_sentences(words, config, marks)
    assert [w for s in sentences for w in s.words] == words
    assert [x for s in sentences for x in s.shown] == [w[0] + mark for w, mark in zip(words, marks, strict=True)]
    assert all(1 <= len(s.words) <= config.max_tokens and s.shown_words[0][1:] == s.words[0][1:] for s in sentences)
    for before, after in zip(sentences, sentences[1:]):
        assert before.shown[-1][-1] in "，。?" or after.start - before.end >= 2 or len(before.words + after.words) > 2


def test_scores_and_spelling_stay_with_their_words() -> None:
    words = words_with_pauses([0.0, 0.5, 0.0])
    sentences = split_sentences(words, SentenceConfig(), ["", ".", "", "."])
    sentences = with_spelling(with_scores(sentences, [0.1, 0.2, 0.3, 0.4]), ["Zero", "ONE.", "Two", "three!"])
    assert [(s.tokens, s.text, s.scores) for s in sentences] == [
        (("0", "1"), "Zero ONE.", (0.1, 0.2)),
        (("2", "3"), "Two three!", (0.3, 0.4)),
    ]
    assert Sentence((("我", 0.0, 1.0),)).text == "我"


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["我", "們", "train", "model", "。"], "我們 train model。"),
        (["我，", "train", "「BERT」", "的"], "我，train「BERT」的"),
        (["（很", "低）！", "對", "0.64"], "（很低）！對 0.64"),
        (["", "we", "train."], "we train."),
        ([], ""),
    ],
)
def test_writing(tokens: list[str], text: str) -> None:
    assert written(tokens) == text


def test_long_runs_without_pauses_are_cut_where_phrases_end() -> None:
    text = "我們今天要講的是機器學習的模型所以我們先來看看訓練資料是什麼"
    words = [(c, 0.2 * i, 0.2 * i + 0.2) for i, c in enumerate(text)]
    sentences = split_sentences(words, SentenceConfig(max_tokens=20))
    assert [s.text for s in sentences] == ["我們今天要講的是機器學習的模型", "所以我們先來看看訓練資料是什麼"]
