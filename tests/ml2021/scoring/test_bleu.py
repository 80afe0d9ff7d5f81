"""BLEU and chrF: known values, and the signature that the sacrebleu command prints."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.bleu import compare_systems, document_bleu, main, score_translations


def test_perfect_and_hopeless():
    references = ["So this is the model.", "We train it again and again."]
    assert score_translations(references, references).bleu == pytest.approx(100.0)
    assert score_translations(references, references).chrf == pytest.approx(100.0)
    assert score_translations(["xyz", "w"], references).bleu < 1


def test_by_hand():
    """7 of 8 words are correct, 5 of 7 bigrams, 4 of 6 trigrams and 3 of 5 4-grams; there is no brevity penalty."""
    scores = score_translations(["a b c d e f x h"], ["a b c d e f g h"])
    assert scores.bleu == pytest.approx(100 * math.prod((7 / 8, 5 / 7, 4 / 6, 3 / 5)) ** 0.25)


def test_case_counts():
    assert score_translations(["we train a BERT model"], ["We train a bert model"]).bleu < 60


def test_agrees_with_the_command_and_its_signature(tmp_path):
    hypotheses = ["So the model is trained, and good.", "We see it", "It doesn't matter."]
    references = ["So this model is trained, and good.", "We see this.", "It does not matter."]
    (tmp_path / "hyp").write_text("\n".join(hypotheses) + "\n")
    (tmp_path / "ref").write_text("\n".join(references) + "\n")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", "bleu", "-f", "text", "-w", "4"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    scores = score_translations(hypotheses, references)
    assert scores.bleu_signature in printed
    assert f"{scores.bleu:.4f}" in printed


def test_counts_must_agree():
    with pytest.raises(DataError, match="1 hypotheses for 2 references"):
        score_translations(["a"], ["a", "b"])
    with pytest.raises(DataError, match="at least one"):
        score_translations([], [])


def test_empty_files_are_refused(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="0 hypotheses for 0 references: need equally many, and at least one"):
        main([str(tmp_path / "empty"), str(tmp_path / "empty")])


def test_document_bleu_ignores_sentence_boundaries():
    references = ["So this is the model.", "We train it again and again."]
    moved = ["So this is the", "model. We train it again and again."]
    assert score_translations(moved, references).bleu < 90
    assert document_bleu({"x": " ".join(moved)}, {"x": " ".join(references), "y": "no"}) == pytest.approx(100.0)
    with pytest.raises(DataError, match="no lecture"):
        document_bleu({"x": "a"}, {"y": "a"})


def test_paired_bootstrap_distinguishes_better_from_equal_systems():
    references = [f"sentence number {i} is about the model and its {i % 7} parameters" for i in range(60)]
    worse = [r.replace("about the model", "on models") if i % 2 else r for i, r in enumerate(references)]
    otherwise = [r.replace("about the model", "on models") if i % 2 == 0 else r for i, r in enumerate(references)]
    better, equal = (
        compare_systems(worse, references, references, 300),
        compare_systems(worse, otherwise, references, 300),
    )
    assert [c.metric for c in better] == ["BLEU", "chrF2"]
    assert better[0].baseline == pytest.approx(score_translations(worse, references).bleu)
    assert better[0].system == pytest.approx(100.0) and better[0].p_value < 0.01 < 0.1 < equal[0].p_value
    assert "bs:300" in better[0].signature
