"""From what a chat model writes to a line of text, and what speaks against it."""

from __future__ import annotations

import random

import pytest

from ml2021.mt.llm.answer import ends_in_thought, plain_answer, without_thoughts
from ml2021.mt.llm.prompt import source_text, translation_prompt
from ml2021.mt.terms.doubts import doubt_of, repeats
from ml2021.mt.terms.glossary import Term

CHINESE = "我們來講機器學習"


@pytest.mark.parametrize(
    ("text", "is_open", "expected"),
    [
        ("The model.", False, ("The model.", False)),
        ("<think>\n\n</think>\n\nThe model.", False, ("\n\nThe model.", False)),
        ("<think>so it is</think>The model.", False, ("The model.", False)),
        ("so it is</think>The model.", True, ("The model.", False)),
        ("so it is", True, ("", True)),
        ("<think>so it is", False, ("", True)),
        ("<think>a</think>b<think>c", False, ("b", True)),
        ("[THINK]a[/THINK]b", False, ("b", False)),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", False, ("b", False)),
        ("<|channel|>analysis<|message|>a", False, ("", True)),
        ("a < b and c > d", False, ("a < b and c > d", False)),
    ],
)
def test_thoughts_are_taken_out(text, is_open, expected):
    assert without_thoughts(text, is_open) == expected


def test_a_prompt_may_open_a_thought():
    assert ends_in_thought("user\nhello\nassistant\n<think>\n")
    assert not ends_in_thought("assistant\n<think>\n\n</think>\n\n")
    assert not ends_in_thought("assistant\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The model. <|im_end|>", "The model."),
        ('"The model."', "The model."),
        ("“The model.”", "The model."),
        ("**The model.**", "The model."),
        ('"The" and "model"', '"The" and "model"'),
        ("Translation: The model.", "The model."),
        ("**Translation:** The model.", "The model."),
        ("Sure! Here is the English translation:\n\nThe model.", "The model."),
        ("English: The model.", "The model."),
        ("The answer: a model", "The answer: a model"),
        ("The model.\n\nNote: it is one.", "The model.\nNote: it is one."),
        ("The\x0f model\x00", "The model"),
        ("", ""),
    ],
)
def test_answers_lose_what_is_around_them(text, expected):
    assert plain_answer(text, ["<|im_end|>"], CHINESE) == expected


def test_what_the_source_has_stays():
    assert plain_answer('"model"', [], '他說 "模型"') == '"model"'
    assert plain_answer("Translation: it is hard", [], "translation: 很難") == "Translation: it is hard"


@pytest.mark.parametrize(
    ("source", "text", "doubt"),
    [
        (CHINESE, "We talk about machine learning.", ""),
        (CHINESE, "", "empty"),
        (CHINESE, " \n", "empty"),
        (CHINESE, "We talk.\nIt is good.", "2 lines"),
        (CHINESE, CHINESE, "still Chinese"),
        (CHINESE, "我们来讲机器学习", "still Chinese"),
        ("這個 transformer", "这个 transformer", "still Chinese"),
        ("bert", "BERT", ""),
        ("bert", "好", "still Chinese"),
        ("他在黑板上寫你好兩個字", "He writes 你好 on the board.", ""),
        (CHINESE, "we " * 30, "repeats itself"),
        (CHINESE, "the cat and the dog " * 6, "repeats itself"),
        ("對對對對對對", "right, right, right, right, right, right", ""),
        (CHINESE, " ".join(f"word{i}" for i in range(100)), "too long"),
        (CHINESE, "We \ufffd talk", "broken characters"),
    ],
)
def test_what_speaks_against_a_translation(source, text, doubt):
    assert doubt_of(source, text) == doubt


def test_only_english_must_not_be_chinese():
    assert doubt_of("我們來講機器學習", "機械学習について話します", "Japanese") == ""


@pytest.mark.parametrize("seed", range(30))
def test_repeats_are_those_of_a_brute_force(seed):
    rng = random.Random(seed)
    words = rng.choices("ab", k=rng.randint(1, 14))
    most = 1
    for start in range(len(words)):
        for size in range(1, 9):
            count = 1
            while words[start + count * size : start + (count + 1) * size] == words[start : start + size] != []:
                count += 1
            most = max(most, count)
    assert repeats(" ".join(words)) == most


def test_a_prompt_has_the_sentence_its_context_and_its_terms():
    prompt = translation_prompt("我們講 bert", ["第一句", "第二句"], [Term("學習", "learning", 1)])
    assert prompt.index("學習 = learning") < prompt.index("第一句\n第二句") < prompt.index("我們講 bert")
    assert "from Chinese into English" in prompt
    plain = translation_prompt("我們", [], [], "zho_Hant", "German", is_repeated=True)
    assert "from Chinese into German" in plain and "terms" not in plain and "before" not in plain
    assert plain != translation_prompt("我們", [], [], "zho_Hant", "German")
    assert source_text(["我", "們", "講", "bert", "model", "好"]) == "我們講 bert model 好"
