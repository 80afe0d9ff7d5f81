"""The notation of the grammar and its English inflection, on examples that a reader can check."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.corpora.mini.english import comparative, plural, superlative, verb_form, with_article
from lhotse_prep.corpora.mini.grammar import Grammar, Phrase, Rule, parse_rules, write_phrase
from lhotse_prep.corpora.mini.make import to_sentence
from lhotse_prep.corpora.mini.rules import make_grammar

MODEL = Phrase("model", "model", "count", "個")
DATA = Phrase("資料", "data", "mass", "個")


def rule(line):
    return parse_rules(line)[0]


def test_forms_of_a_noun():
    parts = {"thing": MODEL}
    this = write_phrase(rule("NP 1 | 這{thing:m}{thing} | this {thing} | thing"), parts)
    many = write_phrase(rule("NP 1 | 很多{thing} | a lot of {thing:pl} | thing.pl"), parts)
    assert (to_sentence(this).spoken, this.english, this.number) == ("這 個 model", "this model", "sg")
    assert (to_sentence(many).spoken, many.english, many.number) == ("很 多 model", "a lot of models", "pl")
    assert write_phrase(rule("NP 1 | {thing} | {thing:the} | thing"), parts).english == "the model"


def test_mass_noun_has_no_plural_and_no_article():
    many = write_phrase(rule("NP 1 | 很多{thing} | a lot of {thing:pl} | thing.pl"), {"thing": DATA})
    assert (many.english, many.number) == ("a lot of data", "sg")
    assert write_phrase(rule("NP 1 | {thing} | {thing:the} | thing"), {"thing": DATA}).english == "data"


@pytest.mark.parametrize(
    ("who", "english"),
    [("sg", "she trains and is new"), ("pl", "she train and are new"), ("I", "she train and am new")],
)
def test_verbs_agree(who, english):
    parts = {"WHO": Phrase("他", "she", who), "VP": Phrase("訓練", "train")}
    assert write_phrase(rule("S 1 | {WHO}{VP} | {WHO} {VP:WHO} and {=be:WHO} new"), parts).english == english


def test_two_phrases_of_one_symbol_and_pauses():
    parts = {"NP": Phrase("model", "a model"), "NP2": Phrase("資料", "data")}
    phrase = write_phrase(rule("S 1 | 好,{NP}跟{NP2} | OK, {NP} and {NP2}."), parts)
    sentence = to_sentence(phrase)
    assert sentence.spoken == "好 , model 跟 資 料"
    assert sentence.transcript == "好 model 跟 資 料"
    assert sentence.english == "OK, a model and data."


def test_deep_recursion_ends():
    grammar = Grammar.of([Rule("X", 1000.0, "大{X}", "big {X}"), Rule("X", 0.001, "人", "man")])
    for seed in range(20):
        assert len(grammar.draw("X", random.Random(seed)).mandarin.split()) <= 30


def test_used_rules_are_drawn_less():
    grammar = Grammar.of([Rule("X", 1.0, "一", "one"), Rule("X", 1.0, "二", "two")])
    rng = random.Random(0)
    assert 70 < sum(grammar.draw("X", rng).english == "two" for _ in range(200)) < 130
    for _ in range(50):
        grammar.count(grammar.rules["X"][0].phrase)
    assert sum(grammar.draw("X", rng).english == "two" for _ in range(200)) > 150


def test_every_slot_of_the_grammar_has_rules_and_every_rule_can_be_written():
    grammar = make_grammar()
    rng = random.Random(0)
    for rules in grammar.rules.values():
        for r in rules:
            parts = {slot: grammar.draw(slot.rstrip("0123456789"), rng) for slot in r.slots}
            phrase = write_phrase(r, parts)
            assert "{" not in phrase.mandarin + phrase.english
            if r.head:
                assert phrase.number in ("count", "mass", "sg", "pl", "I"), r


@pytest.mark.parametrize(
    ("singular", "many"),
    [
        ("loss", "losses"),
        ("batch", "batches"),
        ("matrix", "matrices"),
        ("local minimum", "local minima"),
        ("accuracy", "accuracies"),
        ("valley", "valleys"),
        ("training set", "training sets"),
    ],
)
def test_plural(singular, many):
    assert plural(singular) == many


def test_article():
    assert [with_article(w) for w in ("model", "agent", "unsupervised model", "useful tool", "unit", "hour")] == [
        "a model",
        "an agent",
        "an unsupervised model",
        "a useful tool",
        "a unit",
        "a hour",
    ]


def test_verb_forms():
    assert verb_form("have to train", "sg") == "has to train"
    assert verb_form("cannot train", "sg") == "cannot train"
    assert verb_form("be training", "I") == "am training"
    assert verb_form("do homework", "sg") == "does homework"
    assert verb_form("put it there", "ing") == "putting it there"
    assert verb_form("use it", "ing") == "using it"
    assert verb_form("fetch it", "sg") == "fetches it"
    assert verb_form("try to", "sg") == "tries to"


def test_comparison():
    assert [comparative(a) for a in ("large", "good", "robust", "simple", "new")] == [
        "larger",
        "better",
        "more robust",
        "simpler",
        "newer",
    ]
    assert [superlative(a) for a in ("strange", "complicated", "large")] == ["strangest", "most complicated", "largest"]
