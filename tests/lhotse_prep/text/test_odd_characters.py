"""The report of odd characters has their counts over all texts and an example of each."""

from __future__ import annotations

from lhotse_prep.text.odd_characters import encoding_errors, is_expected, odd_characters


def test_expected_classes() -> None:
    assert all(map(is_expected, "我〇aZ9 %()=>-+×ηεσŷδ≤'\""))
    assert not any(map(is_expected, "Жあ\u200b☃\ue000"))


def test_counts_and_examples() -> None:
    odd = odd_characters([("a", "我 們 講 的 是 神 經 網 路 Ж 好"), ("b", "ЖЖ ☃"), ("c", "bert")])
    assert [(o.char, o.count, o.id) for o in odd] == [("Ж", 3, "a"), ("☃", 1, "b")]
    assert (odd[0].code, odd[0].name) == ("U+0416", "CYRILLIC CAPITAL LETTER ZHE")
    assert odd[0].example == "是 神 經 網 路 Ж 好"[-13:] and odd[1].example == "ЖЖ ☃"


def test_signs_of_a_wrong_encoding_are_counted_before_they_are_left_out() -> None:
    broken = encoding_errors([("a", "it\x92s caf\ufffd\u0085\n"), ("b", "\x92 \x00 \uffff 我\ufe0f \u200b \ue000é")])
    assert [(o.code, o.count, o.id) for o in broken] == [
        ("U+0092", 2, "a"),
        ("U+0000", 1, "b"),
        ("U+FFFD", 1, "a"),
        ("U+FFFF", 1, "b"),
    ]
