"""The real mweralign cuts as well as ours, and what is wrong with it or its absence is said."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path

import pytest
from rapidfuzz.distance import Levenshtein

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.scoring.mwer import resegment_by_mweralign
from ml2021.scoring.resegment import cut_like, main, resegment

WORDS = ["we", "train", "it", "then", "the", "loss", "falls", "#", "->", "▁", "好", "</s>"]


def total_distance(segments: list[list[str]], references: list[list[str]]) -> int:
    return sum(Levenshtein.distance(a, b) for a, b in zip(segments, references, strict=True))


@pytest.mark.parametrize("seed", range(25))
def test_its_cuts_are_about_as_good_as_ours(seed: int) -> None:
    """Ours have the smallest distance there is; mweralign weighs the beginnings of segments too."""
    pytest.importorskip("mweralign")
    rng = random.Random(seed)
    references = [rng.choices(WORDS, k=rng.randint(0 if seed % 2 else 1, 12)) for _ in range(rng.randint(1, 12))]
    hypothesis = [w for r in references for w in r if rng.random() < 0.9]
    segments = resegment_by_mweralign(hypothesis, references)
    assert len(segments) == len(references) and [w for s in segments for w in s] == hypothesis
    best = total_distance(resegment(hypothesis, references), references)
    assert best <= total_distance(segments, references) <= best + max(4, 0.1 * len(hypothesis))


def test_a_perfect_hypothesis_is_cut_perfectly_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mweralign")
    references = [["we", "train", "it"], [], ["then"], ["the", "loss", "falls"]]
    handlers = list(logging.getLogger().handlers)
    assert resegment_by_mweralign([w for r in references for w in r], references) == references
    assert resegment_by_mweralign([], references) == [[]] * 4
    assert resegment_by_mweralign(["a"], [[], []]) == [["a"], []]
    assert capfd.readouterr() == ("", "") and logging.getLogger().handlers == handlers


@pytest.mark.parametrize("resegmenter", ["levenshtein", "mweralign"])
def test_texts_keep_their_case_and_marks(resegmenter: str) -> None:
    if resegmenter == "mweralign":
        pytest.importorskip("mweralign")
    references = ["We train it.", "Then the loss falls."]
    assert cut_like("we Train it, then the loss falls!", references, resegmenter) == [
        "we Train it,",
        "then the loss falls!",
    ]
    assert cut_like("", references, resegmenter) == ["", ""]


def test_without_mweralign_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mweralign", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[scorers\]'"):
        cut_like("a", ["a"], "mweralign")
    with pytest.raises(ConfigError, match="must be levenshtein or mweralign, got 'mwer'"):
        cut_like("a", ["a"], "mwer")


def test_command_writes_a_line_for_each_reference(tmp_path: Path) -> None:
    reference, hypothesis, out = tmp_path / "ref", tmp_path / "hyp", tmp_path / "out"
    reference.write_text("We train it.\nThen the loss falls.\n")
    hypothesis.write_text("we train it then\nthe loss falls\n")
    main([str(reference), str(hypothesis), "--out", str(out)])
    assert out.read_text() == "we train it\nthen the loss falls\n"
    hypothesis.write_text("\n")
    with pytest.raises(DataError, match="no such file, or it is empty"):
        main([str(reference), str(hypothesis), "--out", str(out)])
