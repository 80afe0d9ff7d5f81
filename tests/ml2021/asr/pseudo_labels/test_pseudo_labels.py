"""Pseudo-labels: which windows are kept, going on after a stop, what is refused, and training on the result."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import AudioSource, CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import part_file, write_manifest
from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import SerialExecutor
from lhotse_prep.workflow.files import read_jsonl
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.lectures import Lecture
from ml2021.asr.model.load import load_model
from ml2021.asr.pseudo_labels import recognise, write
from ml2021.asr.pseudo_labels.__main__ import main
from ml2021.asr.pseudo_labels.config import SelectConfig
from ml2021.asr.pseudo_labels.held_out import require_other_ids, require_other_samples, require_other_texts
from ml2021.asr.pseudo_labels.label import label_recordings
from ml2021.asr.pseudo_labels.make import _search_of
from ml2021.asr.pseudo_labels.options import OF_DECODING
from ml2021.asr.pseudo_labels.recognise import Label, Labeller, texts_in_windows
from ml2021.asr.pseudo_labels.select import cut_of, disagreement, reason_of
from ml2021.asr.pseudo_labels.write import write_selected
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.methods import search
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.train import train_recogniser
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.asr.words.windows import Window
from ml2021.training.checkpoint import load_checkpoint

SECOND = SAMPLE_RATE
Labels = Callable[[Path], list[Label]]


def noise(path: Path, seconds: float, seed: int = 0, rate: int = SAMPLE_RATE) -> Path:
    """Write some noise; its content depends on the seed."""
    samples = np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate))
    sf.write(path, samples.clip(-1, 1), rate, subtype="PCM_16")
    return path


def recording_of(path: Path, name: str) -> Recording:
    frames = sf.info(str(path)).frames
    return Recording(name, [AudioSource("file", [0], str(path))], SAMPLE_RATE, frames, frames / SAMPLE_RATE)


def label(
    text: str, begin: float = 0.0, end: float = 2.0, confidence: float = 0.95, second: str | None = None
) -> Label:
    """A window in seconds, whose words share it evenly."""
    words = text.split()
    ends = np.linspace(0, end - begin, len(words) + 1).tolist()
    timed = tuple(TimedWord(w, a, b, confidence) for w, a, b in zip(words, ends, ends[1:]))
    window = Window(int(begin * SECOND), int(end * SECOND))
    return Label(window, timed, confidence, text if second is None else second, True)


GOOD = label("一 二 三 deep learning")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (GOOD, None),
        (replace(GOOD, confidence=0.9, second_text="一 二 三 deep learning"), None),
        (label(""), "empty"),
        (replace(label("", second="一"), is_between_pauses=False), "empty"),
        (replace(GOOD, is_between_pauses=False, confidence=0.1), "no-pause"),
        (label("一 <unk> 三"), "unknown"),
        (label("一", end=2.5), "rate"),
        (label(" ".join("一" * 25)), "rate"),
        (replace(GOOD, confidence=0.89), "confidence"),
        (replace(GOOD, second_text="一 二 三 deep"), "disagreement"),
        (replace(GOOD, second_text=""), "disagreement"),
        (label("機 器 學 習", second="机 器 学 习"), None),  # the other recogniser writes Simplified
    ],
)
def test_reason_for_which_a_window_is_left_out(given: Label, reason: str | None, tmp_path: Path) -> None:
    recording = recording_of(noise(tmp_path / "a.wav", 3), "a")
    assert reason_of(cut_of(recording, 0, given), SelectConfig()) == reason


def test_disagreement_is_the_mixed_error_rate() -> None:
    assert disagreement("一 二 three four", "一 二 three four") == 0
    assert disagreement("一 二 three four", "一 three four five") == 0.5  # a deletion, an insertion
    assert disagreement("一 二 three four", "") == 1
    assert disagreement("", "一") == 1


@pytest.mark.parametrize("limits", [{"min_confidence": 1.1}, {"max_disagreement": -0.1}, {"min_rate": 12.0}])
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        SelectConfig(**limits)


@pytest.mark.parametrize("seed", range(20))
def test_each_word_of_another_recogniser_is_in_the_window_of_its_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.integers(1, 5, 8)) * SECOND
    windows = [Window(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]
    starts = np.sort(rng.uniform(0, 30, 40))
    words = [TimedWord(str(i), t, t + 0.3, 1.0) for i, t in enumerate(starts.tolist())]
    expected = [[w.text for w in words if a <= (w.start + w.end) / 2 * SECOND < b] for a, b in windows]
    assert [text.split() for text in texts_in_windows(words, windows)] == expected


def test_cut_is_like_those_of_stage_4(tmp_path: Path) -> None:
    cut = cut_of(recording_of(noise(tmp_path / "talk.wav", 6), "talk"), 3, label("一 deep", begin=1.5, end=3.5))
    (supervision,) = cut.supervisions
    assert (cut.id, cut.start, cut.duration, cut.num_samples) == ("talk-0003", 1.5, 2.0, 2 * SECOND)
    assert (supervision.text, supervision.start, supervision.duration) == ("一 deep", 0.0, 2.0)
    assert [(i.symbol, i.start, i.duration, i.score) for i in supervision.alignment["word"]] == [
        ("一", 0.0, 1.0, 0.95),
        ("deep", 1.0, 1.0, 0.95),
    ]
    assert supervision.custom["pseudo_label"] is True and supervision.custom["confidence"] == 0.95


def fake_labels(calls: list[str]) -> Labels:
    """Three windows for each recording; "bad" fails, "quiet" has no speech."""

    def labels_of(audio: Path) -> list[Label]:
        calls.append(audio.stem)
        assert sf.info(str(audio)).samplerate == SAMPLE_RATE
        if audio.stem == "bad":
            raise RuntimeError("of memory\nout")
        if audio.stem == "quiet":
            raise NoSpeechError(f"{audio}: no speech was detected in it")
        return [GOOD, replace(label("一 二 三", 2, 4), confidence=0.5), label("一 二 四", 4, 6, second="一 二")]

    return labels_of


def lectures(folder: Path, *names: str) -> list[Lecture]:
    for number, name in enumerate(names):
        if not (folder / f"{name}.wav").exists():
            noise(folder / f"{name}.wav", 6, seed=number, rate=48000 if name == "video" else SAMPLE_RATE)
    return [Lecture(name, folder / f"{name}.wav") for name in names]


def test_labels_go_on_where_they_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    calls: list[str] = []
    out = tmp_path / "out"
    names = ["w1", "bad", "video", "quiet"]
    with pytest.raises(DataError, match=r"1 of 4 recordings have no labels: .*bad\.wav: RuntimeError: of memory out"):
        label_recordings(fake_labels(calls), lectures(tmp_path, *names), out, {"model": "a"})
    assert calls == names and "quiet.wav: no speech was detected in it; it has no windows" in caplog.text
    names[1] = "w2"
    labelled = label_recordings(fake_labels(calls), lectures(tmp_path, *names), out, {"model": "a"})
    assert calls[4:] == ["w2"] and {name: len(list(cuts)) for name, cuts in labelled.items()} == {
        "w1": 3, "w2": 3, "video": 3, "quiet": 0,
    }  # fmt: skip
    first = next(iter(labelled["video"])).recording
    assert first.sources[0].source == str(out / "video.flac") and first.num_samples == 6 * SECOND
    (out / "video.flac").unlink()  # what was converted is converted again
    label_recordings(fake_labels(calls), lectures(tmp_path, *names), out, {"model": "a"})
    assert calls[5:] == ["video"] and (out / "video.flac").is_file()
    label_recordings(fake_labels(calls), lectures(tmp_path, "w1"), out, {"model": "b"})
    assert calls[6:] == ["w1"] and "the models or options have changed" in caplog.text
    with pytest.raises(DataError, match=r"no such recording: .*w9\.wav"):
        label_recordings(fake_labels(calls), [Lecture("w9", tmp_path / "w9.wav")], out, {"model": "b"})


def select(labelled: dict[str, CutSet], out: Path, **limits: float) -> tuple[list[str], list[tuple[str, str]]]:
    """The ids of windows that are kept, and (id, reason) of the others."""
    write_selected(labelled, out, SelectConfig(**limits), WindowConfig(), SerialExecutor())
    kept = [cut.id for cut in CutSet.from_file(part_file(out, "cuts", "pseudo"))]
    return kept, [(row["id"], row["reason"]) for row in read_jsonl(out / "left_out.jsonl")]


def test_each_window_is_kept_or_left_out_also_with_other_limits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    labelled = label_recordings(fake_labels([]), lectures(tmp_path, "w1", "quiet"), tmp_path / "recordings", {})
    out = tmp_path / "cuts"
    assert select(labelled, out) == (["w1-0000"], [("w1-0001", "confidence"), ("w1-0002", "disagreement")])
    assert (
        "w1: 0.001 h kept, 0.001 h left out: disagreement 0.001 h, confidence 0.001 h" in caplog.text
        and "is kept" not in caplog.text
    )
    monkeypatch.setattr(write, "_LITTLE", 0.5)
    select(labelled, out)
    assert "of the speech is kept: a recogniser whose searches agree on so little is not ready" in caplog.text
    assert select(labelled, out, min_confidence=0.5) == (["w1-0000", "w1-0001"], [("w1-0002", "disagreement")])
    with pytest.raises(DataError, match="no window is kept .*--min-confidence"):
        select(labelled, out, min_confidence=0.99)
    assert not part_file(out, "cuts", "pseudo").exists() and len(read_jsonl(out / "left_out.jsonl")) == 3
    (out / "ml2021_cuts_train.jsonl.gz").touch()  # it is stage 4's folder
    with pytest.raises(DataError, match="holds 1 files that would be lost"):
        select(labelled, out)


def write_corpus(folder: Path, texts: dict[str, tuple[str, Path, str]]) -> Path:
    """Stage 1's manifests of {id: (part, audio, text)}."""
    for part in {part for part, _, _ in texts.values()}:
        ids = [name for name, (of, _, _) in texts.items() if of == part]
        recordings = [recording_of(texts[name][1], name) for name in ids]
        rows = [SupervisionSegment(r.id, r.id, 0.0, r.duration, text=texts[r.id][2]) for r in recordings]
        write_manifest(part_file(folder, "recordings", part), RecordingSet.from_recordings(recordings))
        write_manifest(part_file(folder, "supervisions", part), SupervisionSet.from_segments(rows))
    return folder


def test_recordings_of_the_corpus_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    test_text, other_text = (" ".join(map(chr, rng.integers(0x4E00, 0x9F00, 200))) for _ in range(2))
    audio = noise(tmp_path / "w3.wav", 2, seed=3)
    corpus = {"w1": ("train", noise(tmp_path / "w1.wav", 1), other_text), "w3": ("test", audio, test_text)}
    manifests = write_corpus(tmp_path / "manifests", corpus)
    require_other_ids(["talk"], manifests)
    with pytest.raises(DataError, match="recording w3 is in the test part of .*worthless"):
        require_other_ids(["talk", "w3"], manifests)
    with pytest.raises(DataError, match="recording w1 is in the train part of .*transcript"):
        require_other_ids(["w1"], manifests)
    with pytest.raises(DataError, match="--manifests names stage 1's folder"):
        require_other_ids(["w1"], tmp_path)
    sf.write(tmp_path / "copy.flac", sf.read(audio, dtype="int16")[0], SAMPLE_RATE)
    same_length = recording_of(noise(tmp_path / "new.wav", 2, seed=9), "new")
    require_other_samples([same_length], manifests)
    with pytest.raises(DataError, match="recording copy has the samples of w3 in the test part"):
        require_other_samples([same_length, recording_of(tmp_path / "copy.flac", "copy")], manifests)
    words = test_text.split()
    recognised = " ".join(words[:20] + words[21:90] + ["錯"] + words[91:])  # another recording of it, with two errors
    require_other_texts({"a": other_text}, manifests, 0.2)
    with pytest.raises(DataError, match=r"recording b: \d\d% of its text is that of w3 in test"):
        require_other_texts({"a": other_text, "b": recognised}, manifests, 0.2)
    require_other_texts({"b": recognised}, manifests, 1.0)
    assert "recording b" in caplog.text


@pytest.fixture
def four_seconds_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the VAD, which finds no speech in noise: stretches of 3 s with pauses of 1 s."""

    def stretches(blocks: Sequence[np.ndarray]) -> np.ndarray:
        num_samples = sum(map(len, blocks))
        begins = np.arange(SECOND // 2, num_samples - 3 * SECOND, 4 * SECOND)
        return np.stack([begins, begins + 3 * SECOND], axis=1)

    monkeypatch.setattr(recognise, "speech_stretches", stretches)


def test_labels_are_those_of_two_searches_of_each_window(
    trained: Path, tmp_path: Path, four_seconds_each: None
) -> None:
    audio = noise(tmp_path / "talk.wav", 10)
    model, tokens = load_model(trained)
    first = DecodeConfig("modified_beam_search", blank_penalty=3.0, max_duration=100.0)
    labels = Labeller(model, tokens, first, None, 5.0).labels_of(audio)
    assert len(labels) == 2 and all(x.is_between_pauses for x in labels)
    samples = sf.read(audio, dtype="float32")[0]
    for x in labels:
        features = torch.from_numpy(fbank(samples[slice(*x.window)]))[None]
        lens = torch.tensor([features.shape[1]])
        (by_transducer,), (by_ctc,) = (
            search(model, features, lens, c) for c in (first, SearchConfig("ctc_prefix_beam_search"))
        )
        assert x.text == tokens.decode(by_transducer.tokens) and x.text
        assert x.second_text == tokens.decode(by_ctc.tokens)
        assert x.confidence == pytest.approx(np.mean(by_transducer.scores), abs=1e-4)
        assert all(0 <= w.start <= w.end <= 4.2 for w in x.words)
    compared = Labeller(model, tokens, first, None, 5.0, lambda _: [TimedWord("五", 5, 6, 1)]).labels_of(audio)
    assert [x.second_text for x in compared] == ["", "五"] and [x.text for x in compared] == [x.text for x in labels]
    whole = Labeller(model, tokens, first, None, 1.5).labels_of(audio)  # speech of 3 s goes on at the edges
    assert not any(x.is_between_pauses for x in whole)


@pytest.mark.parametrize(
    ("decode", "given", "expected"),
    [
        ("decoding_method: modified_beam_search, lm_scale: 0.2, ctc_scale: 0.5", {}, (0.2, 0.0, 0.0)),
        ("decoding_method: modified_beam_search, ctc_scale: 0.5", {"ctc_scale": 0.4}, (0.0, 0.0, 0.4)),
        ("decoding_method: modified_beam_search, ctc_scale: 0.5", {"recogniser": "large-v3"}, (0.0, 0.0, 0.5)),
        ("decoding_method: modified_beam_search, lm_scale: 0.2, lodr_scale: 0.1", {}, (0.2, 0.1, 0.0)),
        ("decoding_method: modified_beam_search, lm_scale: 0.2, lodr_scale: 0.1", {"lm_scale": 0.0}, (0.0, 0.0, 0.0)),
        ("decoding_method: beam_search, lm_scale: 0.2, lodr_scale: 0.1, ilm_scale: 0.1", {}, (0.0, 0.0, 0.0)),
        ("decoding_method: lexicon_search, lm_scale: 0.6, word_score: 2.0, token_scale: 0.4", {}, (0.0, 0.0, 0.0)),
    ],
)
def test_labels_depend_on_the_ctc_head_only_if_asked_or_if_another_recogniser_checks_them(
    decode: str, given: dict[str, object], expected: tuple[float, float, float], tmp_path: Path
) -> None:
    (tmp_path / "decode.yaml").write_text(f"decode: {{{decode}}}\n", encoding="utf-8")
    values = dict.fromkeys((flag.replace("-", "_") for flag in OF_DECODING), None) | {"recogniser": None} | given
    args = Namespace(exp_dir=tmp_path / "asr", conf=tmp_path, **values)
    config = _search_of(args, has_ctc_head=True)
    assert config.decoding_method == "modified_beam_search" and config.ilm_scale == 0
    assert (config.lm_scale, config.lodr_scale, config.ctc_scale) == expected
    if args.ctc_scale is None:
        assert _search_of(args, has_ctc_head=False) == replace(config, ctc_scale=0.0)
    else:
        with pytest.raises(ConfigError, match="--ctc-scale needs a CTC head"):
            _search_of(args, has_ctc_head=False)


def test_model_without_ctc_head_needs_another_recogniser(trained: Path) -> None:
    model, tokens = load_model(trained)
    model.config = replace(model.config, ctc_loss_scale=0.0)
    with pytest.raises(ConfigError, match="pseudo-labels need a CTC head .*--recogniser"):
        Labeller(model, tokens, DecodeConfig("modified_beam_search"), None, 5.0)
    Labeller(model, tokens, DecodeConfig("modified_beam_search"), None, 5.0, lambda _: [])


def without_letters(exp_dir: Path, new: Path) -> Path:
    """A copy of a recogniser, which has learned little yet, that writes Han characters only."""
    shutil.copytree(exp_dir, new)
    content = torch.load(new / "pretrained.pt", weights_only=True)
    symbols = load_lang(new / "lang").symbols
    is_latin = torch.tensor([i > 0 and not is_han(symbol) for i, symbol in enumerate(symbols)])
    content["model"]["joiner.output_linear.bias"][is_latin] -= 100
    torch.save(content, new / "pretrained.pt")
    for path in new.glob("pretrained.pt.*"):
        path.unlink()
    return new


def test_command_and_training_on_its_windows(  # type: ignore[no-untyped-def]
    trained: Path, tone_corpus, one_epoch: AsrConfig, tmp_path: Path, four_seconds_each: None
) -> None:
    exp_dir = without_letters(trained, tmp_path / "asr")
    (tmp_path / "prep.yaml").write_text("windows: {target_duration: 3.9}")
    (tmp_path / "decode.yaml").write_text("decode: {decoding_method: modified_beam_search}")
    noise(tmp_path / "talk.wav", 9)
    out = tmp_path / "out"
    arguments = ["--exp-dir", str(exp_dir), "--conf", str(tmp_path), "--out-dir", str(out), "--max-rate", "20"]
    main([*arguments, "--audio", str(tmp_path / "talk.wav"), "--min-confidence", "0", "--max-disagreement", "99"])
    path = part_file(out / "cuts", "cuts", "pseudo")
    kept = list(CutSet.from_file(path))
    assert kept and all(cut.has_features and cut.has_recording and cut.supervisions[0].text for cut in kept)
    samples = sf.read(tmp_path / "talk.wav", dtype="float32")[0]
    expected = fbank(samples[round(kept[0].start * SECOND) :][: kept[0].num_samples])
    assert np.abs(kept[0].load_features() - expected).max() < 0.1  # stored by lilcom
    train = replace(one_epoch.train, scan_worst_batches=False)
    config = replace(one_epoch, train=train, data=replace(one_epoch.data, mux_cuts=(str(path),), mux_weights=(0.2,)))
    data = AsrDataModule(tone_corpus.cuts, config.data, seed=0)
    drawn = {cut.id for batch in data.train_plan(1) for cut in batch}
    assert drawn & {cut.id for cut in kept}
    train_recogniser(tone_corpus.cuts, tone_corpus.lang, tmp_path / "exp", config)
    weights = load_checkpoint(tmp_path / "exp" / "pretrained.pt")["model"]
    assert all(torch.isfinite(w).all() for w in weights.values())
    write_manifest(tmp_path / "r.jsonl.gz", [recording_of(tmp_path / "talk.wav", "talk/1")])
    silent = tmp_path / "silent.wav"
    sf.write(silent, np.zeros(SECOND), SECOND)
    with pytest.raises(DataError, match="no speech was detected in silent"):
        main([*arguments, "--audio", str(silent)])
    with pytest.raises(DataError, match="'talk/1' cannot name a lecture"):
        main([*arguments, "--recordings", str(tmp_path / "r.jsonl.gz")])
