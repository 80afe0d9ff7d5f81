"""From manifests and aligned supervisions to the files of data/C/bitext."""

from __future__ import annotations

import json
import logging
import random

import pytest
from lhotse import SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem

from lhotse_prep.bitext import write
from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import Pair
from lhotse_prep.bitext.write import equal_groups, make_bitext, read_lectures, token_pauses
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl

SUBJECTS = {"我 們": "We", "老 師": "The teacher", "所 以 你": "So you", "今 天 他": "Today he", "機 器": "Machines"}
VERBS = {"看 到": "will see", "訓 練": "must train", "改 變": "can change"}
OBJECTS = {"bert": "BERT", "這 個 模 型": "this model", "self-attention": "self-attention", "很 多 資 料": "data"}


def sentences(seed, number=80):
    """Sentences and their translations."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(number):
        s, v, o = (rng.choice(list(words)) for words in (SUBJECTS, VERBS, OBJECTS))
        pairs.append((f"{s} {v} {o}", f"{SUBJECTS[s]} {VERBS[v]} {OBJECTS[o]}{rng.choice(('.', '.', '.', ''))}"))
    return pairs


def stretch(first, tokens, times, start=None, end=None):
    """An aligned supervision; `times` holds (start, end) of each token, None if it has no time."""
    items = [AlignmentItem(t, a[0], round(a[1] - a[0], 3), 0.9) for t, a in zip(tokens, times) if a is not None]
    start = items[0].start if start is None else start
    end = items[-1].end if end is None else end
    custom = {"first_token": first, "confidence": 0.9}
    return SupervisionSegment(
        f"week1-{first:05d}",
        "week1",
        start,
        round(end - start, 3),
        text=" ".join(tokens),
        custom=custom,
        alignment={"word": items},
    )


def make_corpus(data, parts=("train", "dev", "test"), extra=""):
    """Manifests with one lecture per part: train1, dev1, test1; `extra` is appended to the transcripts."""
    for part in parts:
        source, target = zip(*sentences(part))
        custom = {"translated_text": {"eng": " ".join(target)}}
        text = " ".join(source) + extra
        lecture = SupervisionSegment(part + "1", part + "1", 0.0, 100.0, text=text, custom=custom)
        path = data / "manifests" / f"ml2021_supervisions_{part}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        SupervisionSet.from_segments([lecture]).to_file(path)


def test_pause_is_the_gap_between_neighbours():
    stretches = [
        stretch(0, list("甲乙丙"), [(0.0, 0.2), (0.5, 0.7), (0.7, 0.9)]),
        stretch(3, list("丁戊"), [(2.0, 2.1), (2.1, 2.3)]),
    ]
    pauses = token_pauses(6, stretches)
    assert pauses == [None, pytest.approx(0.3), pytest.approx(0.0), pytest.approx(1.1), pytest.approx(0.0), None]


def test_untimed_tokens_have_no_pause_but_at_the_edges_of_a_stretch_its_times_count():
    stretches = [
        stretch(0, list("甲乙丙丁"), [(0.0, 0.2), None, (0.5, 0.7), None], end=1.0),
        stretch(4, list("甲乙"), [(1.5, 1.6), (1.6, 1.7)]),
    ]
    assert token_pauses(6, stretches) == [None, None, None, None, pytest.approx(0.5), pytest.approx(0.0)]


def test_without_stretches_there_are_no_pauses():
    assert token_pauses(5, []) is None


def test_alignment_of_another_text_is_an_error():
    wrong = stretch(0, list("甲乙"), [(0.0, 0.2), (0.5, 0.7)])
    wrong.text = "甲 丙"
    with pytest.raises(DataError, match="'乙' at 0.50 s"):
        token_pauses(2, [wrong])


def test_writes_the_pairs_of_each_part(tmp_path, caplog):
    make_corpus(tmp_path)
    source, target = (" ".join(side) for side in zip(*sentences("text")))
    write_jsonl(tmp_path / "manifests" / "texts.jsonl", [{"id": "text1", "text": source, "translation": target}])
    pairs = sentences("test")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "test1.json").write_text("[]")
    (tmp_path / "truth" / "test1.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    caplog.set_level(logging.INFO)
    make_bitext(tmp_path, tmp_path / "bitext", BitextConfig())
    rows = {part: read_jsonl(tmp_path / "bitext" / f"{part}.jsonl") for part in ("train", "dev", "test")}
    assert {row["lecture"] for row in rows["train"]} == {"train1", "text1"}
    assert [(r["source"], r["target"]) for r in rows["test"]] == pairs
    second = rows["test"][1]
    assert second == {
        "id": "test1-0001",
        "lecture": "test1",
        "source": pairs[1][0],
        "target": pairs[1][1],
        "score": second["score"],
        "margin": second["margin"],
        "first_token": len(pairs[0][0].split()),
        "num_tokens": len(pairs[1][0].split()),
    }
    assert json.loads((tmp_path / "bitext" / "scores.json").read_text()) == {"bitext_exact_percent": 100.0}
    assert "test: 1 lectures, 80 pairs, 0 rejected" in caplog.text


def test_untranslated_tokens_are_rejected_with_a_reason(tmp_path):
    extra = " 完 全 沒 有 人 翻 過 來 的 東 西" * 5
    make_corpus(tmp_path, extra=extra)
    make_bitext(tmp_path, tmp_path / "bitext", BitextConfig())
    kept, rejected = (read_jsonl(tmp_path / "bitext" / f"{name}.jsonl") for name in ("train", "rejected"))
    assert [(row["source"], row["target"]) for row in kept[:79]] == sentences("train")[:79]
    rejected_train = [row for row in rejected if row["lecture"] == "train1"]
    assert sum(row["num_tokens"] for row in rejected_train) > 40 and all(row["reason"] for row in rejected_train)


def test_a_lecture_without_translation_is_left_out_and_named(tmp_path, caplog):
    make_corpus(tmp_path, parts=("train",))
    path = tmp_path / "manifests" / "ml2021_supervisions_train.jsonl.gz"
    lecture = next(iter(SupervisionSet.from_file(path)))
    other = SupervisionSegment("train2", "train2", 0.0, 9.0, text="甲 乙")
    SupervisionSet.from_segments([lecture, other]).to_file(path)
    assert [x.id for x in read_lectures(tmp_path, "train")] == ["train1"]
    assert "train: 1 lectures have no translation: train2" in caplog.text
    SupervisionSet.from_segments([other]).to_file(path)
    with pytest.raises(DataError, match="no lecture with a translation"):
        make_bitext(tmp_path, tmp_path / "bitext", BitextConfig())


def test_utterances_with_exact_times_become_pairs_unchanged(tmp_path):
    make_corpus(tmp_path)
    segments = []
    for i, (source, target) in enumerate((("甲 乙", "Never said before."), ("丙", ""), ("丁 bert", "Nor this"))):
        custom = {"first_token": (0, 2, 3)[i], "confidence": 1.0, "translated_text": {"eng": target}}
        segments.append(SupervisionSegment(f"test1-{i}", "test1", i, 1.0, text=source, custom=custom))
    SupervisionSet.from_segments(segments).to_file(tmp_path / "manifests" / "ml2021_segments_test.jsonl.gz")
    make_bitext(tmp_path, tmp_path / "bitext", BitextConfig())
    rows = read_jsonl(tmp_path / "bitext" / "test.jsonl")
    assert [(r["source"], r["target"], r["first_token"], r["num_tokens"]) for r in rows] == [
        ("甲 乙", "Never said before.", 0, 2),
        ("丁 bert", "Nor this", 3, 2),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_about_equal_sums_in_order(seed):
    rng = random.Random(seed)
    sizes = [rng.randint(1, 50) for _ in range(rng.randint(1, 100))]
    limit = rng.choice([1, 20, 100, 1000, 10_000])
    groups = equal_groups(sizes, limit)
    assert sum(groups) == len(sizes) and min(groups) > 0 and equal_groups([], limit) == []
    sums = [sum(sizes[sum(groups[:i]) : sum(groups[: i + 1])]) for i in range(len(groups))]
    assert max(sums) <= limit + 50 and (sum(sizes) > limit or len(groups) == 1)
    assert max(sums) - min(sums) <= 100 or limit < 50


def test_a_large_corpus_is_paired_in_groups_of_neighbours(tmp_path, monkeypatch, caplog):
    make_corpus(tmp_path)
    source, target = (" ".join(side) for side in zip(*sentences("text")))
    write_jsonl(tmp_path / "manifests" / "texts.jsonl", [{"id": "text1", "text": source, "translation": target}])
    searched = []

    def searching(lectures, config):
        searched.append([x.id for x in lectures])
        return {x.id: [Pair(0, len(x.tokens), 0, len(x.words), 1.0, 9.0)] for x in lectures}

    monkeypatch.setattr(write, "make_pairs", searching)
    caplog.set_level(logging.INFO)
    for limit, groups in (
        (10**6, [["train1", "text1", "dev1", "test1"]]),
        (2000, [["train1", "text1"], ["dev1", "test1"]]),
    ):
        searched.clear()
        monkeypatch.setattr(write, "MAX_TOKENS", limit)
        make_bitext(tmp_path, tmp_path / "bitext", BitextConfig())
        assert searched == groups
        rows = {part: read_jsonl(tmp_path / "bitext" / f"{part}.jsonl") for part in ("train", "dev", "test")}
        lectures = {part: [row["lecture"] for row in of_part] for part, of_part in rows.items()}
        assert lectures == {"train": ["train1", "text1"], "dev": ["dev1"], "test": ["test1"]}
    assert "tokens of transcripts are paired in 2 parts, one after the other" in caplog.text
