"""Rare terms of a made-up corpus, their score from dev, and their recall; the test part is never read."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from lhotse import AudioSource, CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.tuning import decode_grid, term_recall, terms
from ml2021.asr.tuning.rare_terms import counts_of_transcripts, rare_terms, without_plurals
from ml2021.asr.words.hotwords import read_terms
from ml2021.scoring.counts import score
from ml2021.scoring.icefall_files import write_recogs

TRAIN = ["我 們 用 model", "這 個 model 的 loss", "model 跟 bert", "is the model"]
DEV = ["transformer 很 大", "the model"]
SLIDES = "Gradient descent，再看 gradient descent 的 loss！\nThe momentum, k-means 跟 models\nx 30 100%\n"
GENERAL = "So the machine learns. The machine learns the function. The machine is a function with a function. Learns"
TRANSLATION = "And the machine learns quickly. Fifty-six dropout works, and Adam trained it. Word2vec is of Adam."


def write_windows(folder: Path, part: str, texts: list[str]) -> None:
    recording = Recording("a", [AudioSource("file", [0], str(folder / "a.wav"))], 16000, 16000, 1.0)
    cuts = [
        MonoCut(
            f"{part}-{i}", 0.0, 1.0, 0, [SupervisionSegment(f"{part}-{i}", "a", 0.0, 1.0, text=text)], None, recording
        )
        for i, text in enumerate(texts)
    ]
    CutSet.from_cuts(cuts).to_file(folder / f"ml2021_cuts_{part}.jsonl.gz")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Folders cuts and manifests; the files of the test part cannot be read."""
    for name in ("cuts", "manifests"):
        (tmp_path / name).mkdir()
    write_windows(tmp_path / "cuts", "train", TRAIN)
    write_windows(tmp_path / "cuts", "dev", DEV)
    custom = {"translated_text": {"eng": GENERAL}}
    lecture = SupervisionSegment("a", "a", 0.0, 9.0, text="我", custom=custom)
    write_manifest(tmp_path / "manifests" / "ml2021_supervisions_train.jsonl.gz", [lecture])
    for path in (tmp_path / "cuts" / "ml2021_cuts_test", tmp_path / "manifests" / "ml2021_supervisions_test"):
        Path(f"{path}.jsonl.gz").write_bytes(b"secret")
    (tmp_path / "slides.txt").write_text(SLIDES, encoding="utf-8")
    (tmp_path / "lecture.txt").write_text(TRANSLATION, encoding="utf-8")
    rows = {"id": "t", "text": "k-means 跟 overfitting", "translation": "k-means and overfitting"}
    (tmp_path / "manifests" / "texts.jsonl").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    return tmp_path


def run(corpus: Path, *options: object) -> list[str]:
    """The lines that the command writes."""
    terms.main([*map(str, ("--cuts", corpus / "cuts", "--out", corpus / "terms.txt", *options))])
    return (corpus / "terms.txt").read_text(encoding="utf-8").splitlines()


def test_terms_that_training_has_seldom(corpus: Path) -> None:
    """`model` is there often, also as a plural; `descent` is only in `gradient descent`; `x` and 30 are no words."""
    assert run(corpus) == ["bert", "loss", "transformer"]
    texts = ("--texts", corpus / "manifests" / "texts.jsonl", corpus / "slides.txt")
    expected = ["bert", "gradient descent", "k-means", "loss", "momentum", "overfitting", "transformer"]
    assert run(corpus, *texts) == expected
    assert [term.text for term in read_terms(corpus / "terms.txt")] == expected
    assert "bert" not in run(corpus, "--fewer-than", 1) and "model" in run(corpus, "--fewer-than", 5)


def test_terms_of_a_translation_are_rare_in_those_of_training(corpus: Path) -> None:
    """Training's translations have `machine` and `learns` often; quickly and trained are no terms of a lecturer."""
    options = ("--translations", corpus / "lecture.txt", "--manifests", corpus / "manifests")
    assert run(corpus, *options) == ["adam", "bert", "dropout", "loss", "transformer", "word2vec", "works"]
    (corpus / "lecture.jsonl").write_text(json.dumps({"id": "a", "translation": TRANSLATION}) + "\n", encoding="utf-8")
    assert "word2vec" in run(corpus, options[0], corpus / "lecture.jsonl", *options[2:])


def test_a_part_of_a_longer_term_is_a_term_if_it_is_also_alone() -> None:
    texts = ["深 learning rate 的 learning rate", "learning rate", "用 data set", "用 data set", "data 的 sets"]
    counts = counts_of_transcripts(texts)
    rare = rare_terms(counts, {}, 3)
    assert rare == {("learning", "rate"), ("data", "set"), ("data",), ("sets",)}
    assert ("learning", "rate") not in rare_terms(counts, {("learning",): 3, ("rate",): 3}, 3)
    assert without_plurals(rare | {("set",)}, {}, 3) == {("learning", "rate"), ("data", "set"), ("data",), ("set",)}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--fewer-than", "0"], ConfigError, "--fewer-than must be >= 1, got 0"),
        (["--texts", "lost.txt"], DataError, "no file lost.txt"),
        (["--texts", "cuts/ml2021_cuts_test.jsonl.gz"], ConfigError, "is of the test part"),
        (["--texts", "exp/recogs-test-greedy_search.txt"], ConfigError, "is of the test part"),
        (["--translations", "bitext/test.jsonl", "--manifests", "x"], ConfigError, "is of the test part"),
        (["--translations", "lecture.txt"], ConfigError, "--translations need --manifests"),
        (["--manifests", "manifests"], ConfigError, "--manifests is for --translations"),
        (["--beam-size", "8"], ConfigError, "needs --exp-dir"),
        (["--scores", "1,2"], ConfigError, "needs --exp-dir"),
        (["--exp-dir", "exp", "--hotwords-score", "2"], ConfigError, "leave out --hotwords"),
    ],
)
def test_wrong_options_are_errors(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(corpus)
    with pytest.raises(error, match=message):
        run(corpus, *options)
    assert not (corpus / "terms.txt").exists()


def test_the_score_is_chosen_on_dev_without_dev_s_transcripts(  # type: ignore[no-untyped-def]
    trained, tone_corpus, tmp_path, monkeypatch, capsys, caplog
) -> None:
    """The tones of dev have no English: `model` is of the texts, and the recogniser is biased by it alone."""
    (tmp_path / "texts.txt").write_text("model data 一 model\n", encoding="utf-8")
    files = list[str]()
    load = decode_grid.load_fusion

    def load_and_note(config, *rest):  # type: ignore[no-untyped-def]
        if config.hotwords_file:
            files.append(Path(config.hotwords_file).read_text(encoding="utf-8"))
        return load(config, *rest)

    monkeypatch.setattr(decode_grid, "load_fusion", load_and_note)
    cuts = shutil.copytree(tone_corpus.cuts, tmp_path / "cuts")
    out, options = tmp_path / "terms.txt", ["--decoding-method", "modified-beam-search", "--scores", "20,0.5"]
    arguments = ["--exp-dir", trained, "--cuts", cuts, "--out", out, "--texts", tmp_path / "texts.txt"]
    with caplog.at_level(logging.INFO):
        terms.main([*map(str, arguments), *options])
    assert files == ["data\nmodel\n"] * 2
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert {row[0] for row in rows} == {"0.5", "20", "-"}
    best = next(row[0] for row in rows if row[0] != "-")
    assert out.read_text(encoding="utf-8") == f"data :{best}\nmodel :{best}\n"
    assert ("dev has as many errors with any score" in caplog.text) == (len({row[1] for row in rows}) == 1)
    assert ("dev has more errors with these hotwords" in caplog.text) == (rows[0][0] == "-")
    caplog.clear()
    monkeypatch.setattr(terms, "terms_of_corpus", lambda *_: terms.Terms({("data",), ("model",)}, {("model",)}))
    terms.main([*map(str, arguments), *options[:3], "20"])
    assert files[2:] == ["model\n"] and out.read_text(encoding="utf-8") == "data :20\nmodel :20\n"
    assert "dev has more errors with these hotwords" in caplog.text
    with pytest.raises(DataError, match="all terms are of dev's transcripts"):
        monkeypatch.setattr(terms, "terms_of_corpus", lambda *_: terms.Terms({("model",)}, set()))
        terms.main([*map(str, arguments), *options])


def test_recall_of_a_file_of_terms_and_of_rare_words(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [("a-1", "用 bert 跟 k-means", "用 bert 跟 k means"), ("a-2", "model transformer", "model transformers")]
    write_recogs(corpus / "recogs-test-x.txt", score(pairs))
    (corpus / "terms.txt").write_text("K-means :2.0\nBERT\n", encoding="utf-8")
    recogs = ["--recogs", str(corpus / "recogs-test-x.txt")]
    term_recall.main([*recogs, "--terms", str(corpus / "terms.txt")])
    said = capsys.readouterr().out
    assert "recall 50.00% (1 / 2)" in said and "precision 100.00% (1 / 1)" in said and "missed: k-means 1 of 1" in said
    term_recall.main([*recogs, "--cuts", str(corpus / "cuts")])
    said = capsys.readouterr().out
    assert "recall 33.33% (1 / 3)" in said and "precision 33.33% (1 / 3)" in said  # bert; means, transformers
    with pytest.raises(ConfigError, match="--fewer-than is for --cuts"):
        term_recall.main([*recogs, "--terms", str(corpus / "terms.txt"), "--fewer-than", "2"])
    with pytest.raises(DataError, match="not a line of a recogs file"):
        term_recall.main(["--recogs", str(corpus / "slides.txt"), "--terms", str(corpus / "terms.txt")])
