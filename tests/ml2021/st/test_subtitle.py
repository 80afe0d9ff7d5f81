"""Subtitles of a known text: written as its user writes it, with times, translations, and a report of its faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from pympi.Elan import Eaf
from pympi.Praat import TextGrid

from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl
from lhotse_prep.workflow.resumable import ResultFolder
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.st import cascade, subtitle
from ml2021.st.known_text import times
from ml2021.st.known_text.read import TextLine
from ml2021.st.known_text.times import TimedText
from ml2021.st.output import ANNOTATIONS
from ml2021.st.subtitle import FAULTS, Item, SubtitleOptions, items_of
from tests.ml2021.st.stub_models import Upper, every_file, names

TEXT = "Today，我們來講 BERT。\nIt's a model, 很好！\n"
SPOKEN = [
    "wo3 men5 jin1 tian1 lai2 jiang3 ji1 qi4 xue2 xi2", "zhe4 ge5 mo2 xing2 fei1 chang2 hao3",
    "ta1 ke3 yi3 yong4 zai4 hen3 duo1 di4 fang1", "wo3 men5 xian1 kan4 yi1 ge5 li4 zi5",
    "xun4 lian4 zi1 liao4 yao4 gou4 duo1", "ran2 hou4 women5 kan4 jie2 guo3",
]  # fmt: skip
WRITTEN = [
    "我們今天來講機器學習",
    "這個模型非常好",
    "它可以用在很多地方",
    "我們先看一個例子",
    "訓練資料要夠多",
    "然後我們看結果",
]


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the aligner: a word every half second, and none for the words `unsaid`. The list has what was aligned."""
    calls: list[str] = []

    def time_text(
        lecture: str, audio: Path, duration: float, words: Sequence[str], lines: Sequence[TextLine], *_: object
    ) -> TimedText:
        calls.append(lecture)
        if "wrong" in words:
            raise DataError(
                f"lecture {lecture}: 1.0% of the {len(words)} words of its text fit the recording, under 25%"
            )
        start = 0.5 * np.arange(len(words))
        start[[i for i, word in enumerate(words) if word == "unsaid"]] = np.nan
        given = WordTimes(start, start + 0.4, np.ones(len(words)))
        return TimedText(start, start + 0.4, np.ones(len(words)), given, np.array([[0.0, duration]]))

    monkeypatch.setattr(times, "time_text", time_text)
    return calls


@pytest.fixture
def media(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str, seconds: float = 30.0) -> Path:
        path = tmp_path / name
        sf.write(str(path), 0.1 * np.sin(0.1 * np.arange(int(seconds * 16000))), 16000)
        return path

    return write


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def rows(out: Path, name: str = "a") -> list[tuple[str, str]]:
    return [(r["source"], r["target"]) for r in read_jsonl(out / f"{name}.jsonl")]


def test_the_text_is_shown_as_it_is_written(aligned: list[str], media: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = written(tmp_path, "a.txt", TEXT)
    subtitle.main([str(media("a.wav")), "--text", str(text), "--out", str(out)])
    assert names(out) == every_file("a") | {f"a{suffix}" for suffix in (FAULTS, *ANNOTATIONS)}
    assert rows(out) == [("Today，我們來講 BERT。", ""), ("It's a model, 很好！", "")]
    words = [word for row in read_jsonl(out / "a.jsonl") for word in row["words"]]
    assert [w[0] for w in words] == normalize_transcript(TEXT).split()
    assert "BERT。" in (out / "a.srt").read_text(encoding="utf-8")


def test_done_is_skipped_until_recording_text_or_options_change(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path
) -> None:
    text, out = written(tmp_path, "a.txt", TEXT), tmp_path / "out"
    arguments = [str(media("a.wav")), "--text", str(text), "--out", str(out)]
    subtitle.main(arguments)
    subtitle.main(arguments)
    assert len(aligned) == 1
    text.write_text(TEXT + "再見", encoding="utf-8")
    subtitle.main(arguments)
    subtitle.main([*arguments, "--refine", "none"])
    subtitle.main([*arguments, "--refine", "none", "--redo"])
    media("a.wav", 20.0)
    subtitle.main([*arguments, "--refine", "none"])
    assert len(aligned) == 5


def test_an_aligner_is_trained_on_only_with_the_same_options_and_files(tmp_path: Path) -> None:
    results = [ResultFolder(tmp_path, ".subtitle", (".srt",), options, may_be_edited=True) for options in ("a", "b")]
    kept = subtitle._training_folder(results[0], "x[1]", "1")
    others = [subtitle._training_folder(results[0], name, "1") for name in ("x", "x[1].y", "x[1].0123456789ab")]
    for folder in (kept, *others):
        folder.mkdir(parents=True)
    assert subtitle._training_folder(results[0], "x[1]", "1") == kept and kept.is_dir()
    changed = subtitle._training_folder(results[1], "x[1]", "1"), subtitle._training_folder(results[0], "x[1]", "2")
    assert len({kept, *changed}) == 3 and not kept.exists()
    assert all(folder.is_dir() for folder in others)  # of other recordings


def test_translation_of_the_same_lines_is_paired_line_by_line(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path
) -> None:
    text, translation = written(tmp_path, "a.txt", TEXT), written(tmp_path, "en.txt", "About it.\nGood?")
    options = SubtitleOptions(tmp_path / "out")
    subtitle.subtitle([Item(media("a.wav"), text, translation)], options)
    assert [target for _, target in rows(options.out)] == ["About it.", "Good?"]
    assert "About it." in (options.out / "a.en.srt").read_text(encoding="utf-8")


def test_translation_without_lines_is_paired_by_the_search(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path
) -> None:
    sentences = [
        ("我們來講BERT。", "We talk about BERT."),
        ("這個模型比之前的所有模型都好。", "This model is better than all models before it."),
        ("再看GAN。", "Then GAN."),
        ("訓練資料要夠多才可以。", "There must be enough training data."),
        ("很好。", "Good."),
        ("接下來我們看一看測試的結果怎麼樣。", "Next we look at the results of the test."),
    ]
    order = np.random.default_rng(0).permutation(np.arange(60) % 6)
    pairs = [sentences[i] for i in order]
    text = written(tmp_path, "a.txt", "".join(s for s, _ in pairs))
    translation = written(tmp_path, "en.txt", " ".join(t for _, t in pairs))
    options = SubtitleOptions(tmp_path / "out")
    subtitle.subtitle([Item(media("a.wav", 320.0), text, translation)], options)
    right = sum((source, target) in sentences for source, target in rows(options.out))
    assert right >= 35, rows(options.out)
    assert " ".join(t for _, t in rows(options.out)) == " ".join(t for _, t in pairs)


def test_without_a_translation_the_translator_gives_one(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "open_translator", lambda *_: Upper())
    options = SubtitleOptions(tmp_path / "out", mt="a-model")
    subtitle.subtitle([Item(media("a.wav"), written(tmp_path, "a.txt", "see it."))], options)
    assert rows(options.out) == [("see it.", "SEE IT")]


def test_what_is_not_said_is_left_out_and_reported(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = written(tmp_path, "a.txt", "one two unsaid unsaid three.")
    options = SubtitleOptions(tmp_path / "out")
    subtitle.subtitle([Item(media("a.wav"), text)], options)
    assert "unsaid" not in (options.out / "a.srt").read_text(encoding="utf-8")
    faults = json.loads((options.out / f"a{FAULTS}").read_text(encoding="utf-8"))
    assert faults["untimed_runs"] == [
        {"first_token": 2, "num_tokens": 2, "after": 0.9, "before": 2.0, "text": "unsaid unsaid"}
    ]
    assert faults["speech_without_text"] == [[3.4, 30.0]]
    assert "a: 2 words of the text are not said" in caplog.text and "speech without text at 3-30 s" in caplog.text


def test_a_lecture_whose_text_is_another_ones_stops_no_other(
    aligned: list[str], media: Callable[..., Path], tmp_path: Path
) -> None:
    texts, out = tmp_path / "texts", tmp_path / "out"
    texts.mkdir()
    for name, text in (("a.txt", "wrong"), ("b.srt", "1\n00:00:01,000 --> 00:00:02,000\nright\n"), ("c.txt", "!?")):
        written(texts, name, text)
    arguments = [str(media(f"{name}.wav")) for name in "abc"] + ["--text", str(texts), "--out", str(out)]
    with pytest.raises(
        DataError, match=r"2 of 3 lectures have no subtitles: .*1\.0% of the 1 words.*c\.txt has no words"
    ):
        subtitle.main(arguments)
    assert names(out) == every_file("b") | {f"b{suffix}" for suffix in (FAULTS, *ANNOTATIONS)}


def test_files_that_are_missing_or_not_clear_are_named(media: Callable[..., Path], tmp_path: Path) -> None:
    a, b = media("a.wav"), media("b.wav")
    text = written(tmp_path, "a.txt", "one")
    with pytest.raises(DataError, match="no such recording: .*none.wav"):
        items_of([tmp_path / "none.wav"], text, None)
    with pytest.raises(DataError, match="--text .*none.txt: no such file"):
        items_of([a], tmp_path / "none.txt", None)
    with pytest.raises(ConfigError, match="--text .*a.txt is one file for 2 recordings: name a folder"):
        items_of([a, b], text, None)
    with pytest.raises(DataError, match="has no text of b.wav: none of b.txt, b.srt, b.vtt"):
        items_of([a, b], tmp_path, None)
    written(tmp_path, "a.srt", "1")
    with pytest.raises(DataError, match=r"has several texts of a.wav: a.txt, a.srt; keep one"):
        items_of([a], tmp_path, None)
    (tmp_path / "a.srt").unlink()
    written(tmp_path, "a.en.txt", "one")
    assert items_of([a], text, tmp_path / "a.en.txt") == [Item(a, text, tmp_path / "a.en.txt")]
    with pytest.raises(ConfigError, match="give --translation or --mt, not both"):
        subtitle.main([str(a), "--text", str(text), "--translation", str(text), "--mt", "x", "--out", str(tmp_path)])


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, list[float]]:
    """The sentences of SPOKEN four times, and when each begins."""
    from torch import from_numpy
    from torchaudio.functional import resample

    speaker = Speaker()
    speaker.choose("cmn-latn-pinyin", Voice())
    parts, starts = [np.zeros(8000)], []
    for sentence in SPOKEN * 4:
        samples = speaker.speak(sentence.split()).samples
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        samples = resample(from_numpy(samples[loud[0] : loud[-1]]), speaker.sample_rate, 16000).numpy()
        starts.append(sum(map(len, parts)) / 16000)
        parts += [0.5 * samples / np.abs(samples).max(), np.zeros(9600)]
    noise = np.random.default_rng(0).normal(0, 1e-3, sum(map(len, parts)))
    return np.concatenate(parts) + noise, starts


def test_a_subtitle_file_with_coarse_times_gets_exact_ones(
    speech: tuple[np.ndarray, list[float]], tmp_path: Path
) -> None:
    """The aligner is the real one: cues are up to 0.7 s off."""
    samples, starts = speech
    sf.write(str(tmp_path / "a.wav"), samples, 16000)
    rng = np.random.default_rng(1)
    cues = []
    for i, (start, text) in enumerate(zip(starts, WRITTEN * 4), 1):
        begin = max(0.0, start + rng.uniform(-0.7, 0.7))
        clock = [f"00:{int(x // 60):02}:{int(x % 60):02},{int(1000 * x % 1000):03}" for x in (begin, begin + 1.8)]
        cues.append(f"{i}\n{clock[0]} --> {clock[1]}\n{text}。\n")
    options = SubtitleOptions(tmp_path / "out", aligning=AlignerConfig())
    subtitle.subtitle([Item(tmp_path / "a.wav", written(tmp_path, "a.srt", "\n".join(cues)))], options)
    shown_at = [row["start"] for row in read_jsonl(options.out / "a.jsonl")]
    assert len(shown_at) == len(starts)
    errors = np.abs(np.array(shown_at) - starts)
    assert np.median(errors) < 0.08 and np.quantile(errors, 0.95) < 0.3
    tiers = {tier.name: list(tier.get_intervals()) for tier in TextGrid(str(options.out / "a.TextGrid")).get_tiers()}
    assert list(tiers) == ["utterances", "words", "confidence"]
    assert [begin for begin, _, text in tiers["utterances"] if text] == pytest.approx(shown_at, abs=1e-3)
    assert tiers["words"][-1][1] == pytest.approx(len(samples) / 16000, abs=1e-3)
    assert Eaf(str(options.out / "a.eaf")).get_linked_files()[0]["MEDIA_URL"] == (tmp_path / "a.wav").as_uri()
