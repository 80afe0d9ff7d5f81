"""The texts of the mini corpus, and the files of a small one."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import groupby

import numpy as np
import pytest
import soundfile
import yaml
from pypinyin import Style, lazy_pinyin

from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.mini.make import make_lectures, make_mini, token_counts
from lhotse_prep.corpora.mini.rules import english_terms, make_grammar, rare_words, sentence_patterns
from lhotse_prep.corpora.mini.speech import SAMPLE_RATE
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import normalize_transcript, normalize_translation
from lhotse_prep.workflow.errors import ConfigError, DataError

SMALL = MiniConfig(
    num_train=2, num_text_lectures=1, min_minutes=0.25, max_minutes=0.4, min_char_count=0, min_term_count=0
)


@pytest.fixture(scope="module")
def lectures():
    return make_lectures(MiniConfig())


def sentences_of(lectures, *parts):
    return [s for lecture in lectures if lecture.part in parts for s in lecture.sentences]


def test_size(lectures):
    grammar = make_grammar()
    chars, words = token_counts(sentences_of(lectures, "train", "dev", "test", "text"))
    text = " ".join(s.transcript for lecture in lectures for s in lecture.sentences)
    terms = [t for t in english_terms(grammar) if f" {t} " in text]
    assert 280 <= len(chars) <= 320
    assert 85 <= len(terms) <= 100
    assert len(words) >= 85
    assert len(sentence_patterns(grammar)) >= 70
    assert [x.part for x in lectures] == ["train"] * 6 + ["dev", "test"] + ["text"] * 48
    assert [x.name for x in lectures[5:9]] == ["lecture06", "lecture07", "lecture08", "text01"]


def test_every_sentence_pattern_is_used(lectures):
    """A rule is recognised by the characters outside its slots, in their order."""
    texts = [s.spoken.replace(" ", "") for s in sentences_of(lectures, "train", "dev", "test", "text")]
    for rule in sentence_patterns(make_grammar()):
        pattern = re.compile(".+".join(map(re.escape, re.split(r"\{.*?\}", rule.mandarin))))
        assert any(pattern.search(text) for text in texts), rule.mandarin


def test_lengths(lectures):
    lengths = [len(s.tokens) for s in sentences_of(lectures, "train", "dev", "test", "text")]
    assert min(lengths) >= 4 and max(lengths) <= 30
    assert 12 <= np.mean(lengths) <= 16
    assert len(lengths) > 2000


@pytest.mark.parametrize("seed", [1, 2])
def test_dev_and_test_are_new_sentences_of_known_tokens(lectures, seed):
    if seed != MiniConfig.seed:
        lectures = make_lectures(MiniConfig(seed=seed))
    chars, words = token_counts(sentences_of(lectures, "train"))
    for part in ("dev", "test"):
        others = {p for p in ("train", "dev", "test", "text") if p != part}
        seen = {bare(s) for s in sentences_of(lectures, *others)}
        held_out = sentences_of(lectures, part)
        assert not [s for s in held_out if bare(s) in seen]
        assert len({bare(s) for s in held_out}) == len(held_out)
        for sentence in held_out:
            for token in sentence.tokens:
                assert chars[token] >= 3 if is_han(token) else words[token] >= 2


def bare(sentence):
    """A sentence without its fillers."""
    return re.sub(r"^(那|好|呃|這 個 ,|其 實|然 後|就 是 說|當 然|所 以 呢|[ ,])+", "", sentence.spoken)


def test_rare_words_are_rare(lectures):
    _, words = token_counts(sentences_of(lectures, "train"))
    rare = rare_words(make_grammar())
    counts = [words[w] for w in rare]
    assert max(counts) <= 3
    assert sum(n >= 1 for n in counts) >= 10
    assert min(n for w, n in words.items() if w not in rare) > 3


def test_one_translation_for_one_transcript(lectures):
    translations = defaultdict(set)
    for sentence in sentences_of(lectures, "train", "dev", "test", "text"):
        translations[sentence.transcript].add(sentence.english)
    assert all(len(t) == 1 for t in translations.values())


def test_form_of_the_text(lectures):
    sentences = sentences_of(lectures, "train", "dev", "test", "text")
    for sentence in sentences:
        assert normalize_transcript(sentence.transcript) == sentence.transcript
        assert normalize_translation(sentence.english) == sentence.english
        assert sentence.english[0].isupper()
        assert re.fullmatch(r"[A-Za-z' ,-]+[.?]?", sentence.english), sentence.english
        assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]| ,|\bI (is|are)\b", sentence.english), sentence.english
    stops = np.mean([s.english[-1] in ".?" for s in sentences])
    assert 0.8 < stops < 0.98


@pytest.mark.parametrize("style", [Style.TONE3, Style.NORMAL])
def test_homophones_differ_in_context(lectures, style):
    """No two characters with the same sound occur between the same neighbours."""
    tokens_by_context = defaultdict(set)
    for sentence in sentences_of(lectures, "train", "dev", "test", "text"):
        tokens = sentence.spoken.split()
        sounds = []
        for han, group in groupby(tokens, key=is_han):
            run = list(group)
            sounds += lazy_pinyin("".join(run), style=style) if han else run
        padded = ["", *tokens, ""]
        for i, (token, sound) in enumerate(zip(tokens, sounds)):
            tokens_by_context[padded[i], sound, padded[i + 2]].add(token)
    assert [item for item in tokens_by_context.items() if len(item[1]) > 1] == []


def test_texts_depend_on_the_seed_alone():
    assert make_lectures(SMALL) == make_lectures(SMALL)
    assert make_lectures(SMALL) != make_lectures(MiniConfig(**{**vars(SMALL), "seed": 2}))


def test_config_is_checked():
    with pytest.raises(ConfigError, match="num_train"):
        MiniConfig(num_train=0)
    with pytest.raises(ConfigError, match="max_minutes"):
        MiniConfig(min_minutes=5, max_minutes=5)
    with pytest.raises(DataError, match="min_char_count"):
        make_lectures(MiniConfig(**{**vars(SMALL), "min_char_count": 30}))


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    make_mini(folder / "source", folder / "truth", SMALL)
    return folder


def test_texts_and_truth_agree(small_corpus):
    splits = yaml.safe_load((small_corpus / "source" / "splits.yaml").read_text())
    assert splits.pop("train") == ["lecture01", "lecture02"]
    assert splits == {"dev": ["lecture03"], "test": ["lecture04"], "text": ["text01"]}
    for part, names in splits.items():
        for name in names:
            rows = (small_corpus / "truth" / f"{name}.tsv").read_text().splitlines()
            transcripts, translations = zip(*(row.split("\t") for row in rows))
            assert (small_corpus / "source" / f"{name}.txt").read_text() == " ".join(transcripts) + "\n"
            assert (small_corpus / "source" / f"{name}.en.txt").read_text() == " ".join(translations) + "\n"
            if part == "text":
                assert not (small_corpus / "source" / f"{name}.wav").exists()
            else:
                times = json.loads((small_corpus / "truth" / f"{name}.json").read_text())
                assert [t[2] for t in times] == list(transcripts)


def test_times_agree_with_the_recordings(small_corpus):
    for i in range(1, 5):
        check_recording(small_corpus, f"lecture{i:02d}", 0.25, 0.4)


def check_recording(folder, name, min_minutes, max_minutes):
    """Speech at the times of the sentences, noise between them, and a duration within the limits."""
    info = soundfile.info(folder / "source" / f"{name}.wav")
    assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
    samples, _ = soundfile.read(folder / "source" / f"{name}.wav")
    assert min_minutes * 60 <= len(samples) / SAMPLE_RATE <= max_minutes * 60
    assert 0.45 < np.abs(samples).max() < 0.85
    times = json.loads((folder / "truth" / f"{name}.json").read_text())

    def level(start, end):
        return np.sqrt(np.mean(samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] ** 2))

    previous_end = 0.0
    for start, end, text in times:
        assert start - previous_end > 0.34
        assert 0.08 < (end - start) / len(text.split()) < 0.7
        noise = level(previous_end + 0.02, start - 0.02)
        assert noise < 0.1 * level(start, end)
        assert level(start, start + 0.12) > 2 * noise
        assert level(end - 0.12, end) > 2 * noise
        previous_end = end
    assert len(samples) / SAMPLE_RATE - previous_end > 0.5


def test_same_seed_same_files(small_corpus, tmp_path):
    make_mini(tmp_path / "source", tmp_path / "truth", SMALL)
    files = sorted(p.relative_to(small_corpus) for p in small_corpus.rglob("*.*"))
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.*"))
    for name in files:
        assert (small_corpus / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_full_corpus(tmp_path):
    make_mini(tmp_path / "source", tmp_path / "truth", MiniConfig())
    for i in range(1, 9):
        check_recording(tmp_path, f"lecture{i:02d}", 5, 7)
