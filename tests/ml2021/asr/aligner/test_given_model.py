"""Alignment with given models: each kind times the words it was made for; models that do not fit are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import SupervisionSegment

from lhotse_prep.alignment import matching
from lhotse_prep.alignment.confidence import part_recognised
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.units_to_words import align_words
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.aligner import ctc_times, given_model, qwen_times
from ml2021.asr.aligner.acoustic import FRAME, HuggingFaceAcoustic, load_acoustic, log_prob_blocks
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel, CtcModel
from ml2021.asr.qwen.forced_aligner import WordTime
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord
from ml2021.training.checkpoint import save_checkpoint
from tests.ml2021.asr.zipformers import OF_ALIGNER

CPU = torch.device("cpu")
MakeLecture = Callable[[str, np.ndarray, list[str]], Lecture]
SMALL = OF_ALIGNER
WORDS = ["我", "們", "來", "講", "機", "器", "學", "習", "bert"]


@pytest.fixture()
def lecture(tmp_path: Path) -> MakeLecture:
    def write(name: str, recording: np.ndarray, words: list[str]) -> Lecture:
        path = tmp_path / f"{name}.wav"
        sf.write(path, recording, 16_000, subtype="FLOAT")
        return Lecture(SupervisionSegment(name, name, 0.0, 1.0, text=" ".join(words)), path, "train")

    return write


def samples(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


def test_aligner_of_stage_3_is_read_back(tmp_path: Path) -> None:
    units = PronunciationUnits.of_texts([" ".join(WORDS)], 20)
    torch.manual_seed(0)
    model = CtcModel(SMALL, len(units)).eval()
    save_checkpoint(tmp_path / "pretrained.pt", {"model": model.state_dict()})
    units.save(tmp_path)
    write_json(tmp_path / "config.json", {"encoder": to_mapping(SMALL)})
    acoustic = load_acoustic(tmp_path / "pretrained.pt", CPU)
    assert acoustic.frame == FRAME and acoustic.encode(WORDS) == units.encode_words(WORDS)
    log_probs = np.concatenate(list(acoustic.blocks(samples(45.0))))
    from lhotse_prep.audio.fbank import fbank

    assert np.array_equal(log_probs, np.concatenate(list(log_prob_blocks(model, fbank(samples(45.0)), CPU))))
    assert log_probs.shape == (45 * 25 - 2, len(units))  # a Zipformer needs the frames after a frame
    assert np.allclose(np.exp(log_probs).sum(1), 1, atol=1e-4)


def test_recogniser_of_stage_5_aligns_with_its_ctc_head(tmp_path: Path) -> None:
    tokens = make_lang([" ".join(WORDS)], [], tmp_path / "lang", LangConfig(num_english_pieces=10))
    config = AsrConfig(model=TransducerConfig(SMALL, decoder_dim=32, joiner_dim=32))
    write_json(tmp_path / "config.json", to_mapping(config))
    torch.manual_seed(0)
    model = AsrModel(config.model, len(tokens)).eval()
    save_checkpoint(tmp_path / "pretrained.pt", {"model": model.state_dict()})
    acoustic = load_acoustic(tmp_path, CPU)
    log_probs = np.concatenate(list(acoustic.blocks(samples(3.0))))
    assert log_probs.shape[1] == len(tokens) and log_probs.shape[0] in (75, 73)  # the same
    assert np.allclose(np.exp(log_probs).sum(1), 1, atol=1e-4)
    assert acoustic.encode(WORDS) == tokens.encode_words(" ".join(WORDS))


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("wav2vec2")
    vocabulary = {"我": 0, "們": 1, "|": 2, "<pad>": 3, "B": 4, "E": 5, "R": 6, "T": 7, "講": 8}
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=3,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return folder


def test_hugging_face_model(hugging_face: Path) -> None:
    acoustic = load_acoustic(hugging_face, CPU)
    assert isinstance(acoustic, HuggingFaceAcoustic) and acoustic.frame == 320
    assert acoustic.encode(["我", "們", "bert", "機"]) == [[3], [1], [4, 5, 6, 7], []]  # blank and 0 are swapped
    audio = samples(9.0)
    whole = np.concatenate(list(acoustic.blocks(audio)))
    assert whole.shape == (450, 9) and (whole <= 1e-5).all()
    logits = acoustic.model(torch.from_numpy((audio - audio.mean()) / audio.std())[None]).logits[0].log_softmax(1)
    expected = logits.detach().numpy()
    assert whole[:440, 3] == pytest.approx(expected[:440, 0], abs=1e-3)
    assert whole[:440, 0] == pytest.approx(np.logaddexp(expected[:440, 3], expected[:440, 2]), abs=1e-3)
    pieces = np.concatenate(list(acoustic.blocks(audio, chunk=3.0, context=1.0)))
    assert pieces.shape == whole.shape  # group norm over a piece's length makes the values differ a little


def test_vocabulary_of_another_language_is_refused(
    hugging_face: Path, monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture
) -> None:
    monkeypatch.setattr(ctc_times, "speech_regions", lambda audio, name: np.array([[0, len(audio)]]))
    lectures = [lecture("week10_1", samples(4.0), ["機", "器", "學", "習", "我"])]
    with pytest.raises(DataError, match="lecture week10_1: the model's vocabulary can write 1 of its 5 words"):
        given_model.times_of_model(hugging_face, lectures, AlignerConfig(), CPU)


def test_transcript_of_another_recording_is_refused(
    hugging_face: Path, monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture
) -> None:
    """A model that recognises none of the words; and a transcript of more words than the recording has frames."""
    monkeypatch.setattr(ctc_times, "speech_regions", lambda audio, name: np.array([[0, len(audio)]]))
    acoustic = load_acoustic(hugging_face, CPU)
    log_probs = np.full((200, 9), -12.0, np.float32)
    log_probs[:, 0] = -0.01
    monkeypatch.setattr(acoustic, "blocks", lambda audio: iter([log_probs]))
    monkeypatch.setattr(ctc_times, "load_acoustic", lambda *_: acoustic)
    for count in (20, 500):
        lectures = [lecture("week10_1", samples(4.0), ["我", "們", "講", "bert"] * count)]
        with pytest.raises(DataError, match="lecture week10_1: .* recognises only .* of its transcript"):
            given_model.times_of_model(hugging_face, lectures, AlignerConfig(), CPU)


class Characters:
    """A model with a symbol for each of 100 characters, which recognises those of a text, one each 0.2 s."""

    frame = 320

    def __init__(self, text: list[str]) -> None:
        units = [u for word in self.encode(text) for u in word]
        self.log_probs = np.full((10 * len(units), 101), -12.0, np.float32)
        self.log_probs[:, 0] = -0.01
        places = 10 * np.arange(len(units)) + 5
        self.log_probs[places, 0] = -12.0
        self.log_probs[places, units] = -0.01

    def encode(self, words: list[str]) -> list[list[int]]:
        return [[ord(word) - ord("一") + 1] for word in words]

    def blocks(self, audio: np.ndarray) -> list[np.ndarray]:
        return [self.log_probs]


@pytest.mark.parametrize("seed", range(3))
def test_text_of_another_lecture_is_refused_though_most_words_could_be_timed(
    seed: int, hugging_face: Path, monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture
) -> None:
    """Right, with most of the words wrong, of another lecture, and too short a text to tell."""
    monkeypatch.setattr(ctc_times, "speech_regions", lambda audio, name: np.array([[0, len(audio)]]))
    rng = np.random.default_rng(seed)
    right, other = ([chr(ord("一") + n) for n in rng.integers(0, 100, 200).tolist()] for _ in range(2))
    monkeypatch.setattr(ctc_times, "load_acoustic", lambda *_: Characters(right))
    faulty = [o if n % 10 < 6 else r for n, (r, o) in enumerate(zip(right, other))]
    for text, part in ((right, 1.0), (faulty, 0.4)):
        times, _ = given_model.times_of_model(
            hugging_face, [lecture("week1", samples(40.0), text)], AlignerConfig(), CPU
        )
        assert part_recognised(times["week1"]) == pytest.approx(part, abs=0.06)
    message = (
        "lecture week1: .* hardly better than the same words in reverse order .mean confidence 0.[0-9]+ .* under 1.45"
    )
    with pytest.raises(DataError, match=message):
        given_model.times_of_model(hugging_face, [lecture("week1", samples(40.0), other)], AlignerConfig(), CPU)
    timed = align_words(Characters(right).log_probs, Characters(right).encode(other), "week1", 320, AlignerConfig())
    assert np.isfinite(timed.start).mean() > 0.5  # so the part that is timed does not tell
    short = lecture("week1", samples(40.0), other[:49])
    times, _ = given_model.times_of_model(hugging_face, [short], AlignerConfig(), CPU)
    assert len(times["week1"].start) == 49


@pytest.mark.parametrize(("num_recognised", "is_refused"), [(4, True), (5, False)])
def test_a_recording_of_which_a_model_hardly_recognises_a_word_is_refused(
    num_recognised: int, is_refused: bool
) -> None:
    """However much worse the reverse order is: half of the words would have no time."""
    score = np.where(np.arange(100) < num_recognised, 0.9, 0.01)
    times, reverse = (WordTimes(np.arange(100.0), np.arange(100.0) + 0.5, x) for x in (score, np.full(100, 1e-4)))
    message = r"lecture week1: aligner recognises 4\.0% of its words, under 5%: it does not know"
    with pytest.raises(DataError, match=message) if is_refused else nullcontext():
        ctc_times.check_text("week1", "aligner", times, lambda: reverse, 1.45)


def test_hugging_face_folder_that_lacks_a_file(hugging_face: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((hugging_face / "config.json").read_text())
    with pytest.raises(DataError, match="vocab.json"):
        load_acoustic(tmp_path, CPU)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a CTC model"):
        load_acoustic(tmp_path, CPU)


def test_recognisers_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture) -> None:
    monkeypatch.setattr(matching, "speech_regions", lambda audio, name: np.array([[0, 5 * 16_000]]))
    path = tmp_path / "hyp.ctm"
    path.write_text("".join(f"week10_1 1 {0.1 + 0.4 * i:.2f} 0.3 {w}\n" for i, w in enumerate(WORDS)), encoding="utf-8")
    lectures = [lecture("week10_1", samples(5.0), WORDS)]
    times, regions = given_model.times_of_model(path, lectures, AlignerConfig(), CPU)
    assert times["week10_1"].start == pytest.approx(0.1 + 0.4 * np.arange(len(WORDS)))
    assert regions["week10_1"].tolist() == [[0, 80_000]]
    with pytest.raises(DataError, match="lecture week10_2 is not in .*hyp.ctm, which has week10_1"):
        given_model.times_of_model(path, [lecture("week10_2", samples(1.0), WORDS)], AlignerConfig(), CPU)
    with pytest.raises(DataError, match="lecture week10_1: its transcript is empty"):
        given_model.times_of_model(path, [lecture("week10_1", samples(1.0), [])], AlignerConfig(), CPU)


def test_path_that_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no model"):
        load_acoustic(tmp_path, CPU)
    with pytest.raises(DataError, match="no .ctm or .jsonl file"):
        given_model.times_of_model(tmp_path / "words.ctm", [], AlignerConfig(), CPU)
    with pytest.raises(DataError, match="holds no recogniser that is known here"):
        given_model.times_of_model(tmp_path, [], AlignerConfig(), CPU)
    with pytest.raises(DataError, match="there is no folder ./nowhere"):
        given_model.times_of_model("./nowhere", [], AlignerConfig(), CPU)


def test_silent_lecture_is_named(tmp_path: Path, lecture: MakeLecture) -> None:
    path = tmp_path / "hyp.ctm"
    path.write_text("quiet 1 0 1 a\n")
    with pytest.raises(DataError, match=r"quiet\.wav is silent from beginning to end"):
        given_model.times_of_model(path, [lecture("quiet", np.zeros(16_000, np.float32), ["a"])], AlignerConfig(), CPU)
    with pytest.raises(DataError, match="lecture quiet: no speech"):
        given_model.times_of_model(path, [lecture("quiet", samples(1.0), ["a"])], AlignerConfig(), CPU)


def test_any_recogniser_aligns_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture
) -> None:
    class Stub:
        name = "stub"

        def recognise(self, audio: Path) -> list[TimedWord]:
            return [TimedWord(w, 0.1 + 0.4 * i, 0.4 + 0.4 * i, 1.0) for i, w in enumerate(WORDS)]

    opened = []
    monkeypatch.setattr(matching, "speech_regions", lambda audio, name: np.array([[0, 5 * 16_000]]))
    monkeypatch.setattr(given_model, "open_recogniser", lambda *args: opened.append(args) or Stub())
    options = RecogniserOptions(language="zh")
    lectures = [lecture("week10_1", samples(5.0), WORDS)]
    times, _ = given_model.times_of_model("owner/model", lectures, AlignerConfig(), CPU, options)
    assert opened == [("owner/model", options)]
    assert times["week10_1"].start == pytest.approx(0.1 + 0.4 * np.arange(len(WORDS)))


def test_qwens_aligner_gets_windows_whose_words_are_known(
    monkeypatch: pytest.MonkeyPatch, lecture: MakeLecture
) -> None:
    class Stub:
        name, max_window = "stub", 180.0
        windows: list[tuple[int, list[str]]] = []

        def __init__(self, *_: object) -> None: ...

        def times(self, window: np.ndarray, words: list[str]) -> list[WordTime | None]:
            self.windows.append((len(window), words))
            return [None if w == "的" else WordTime(0.5 * i, 0.5 * i + 0.4, 0.9) for i, w in enumerate(words)]

    words = [*WORDS, "的", *WORDS]
    first = np.concatenate([1.0 + np.arange(10), 101.0 + np.arange(9)])
    regions = np.array([[0, 50], [100, 115]]) * 16_000
    monkeypatch.setattr(qwen_times, "QwenForcedAligner", Stub)
    monkeypatch.setattr(qwen_times, "times_by_synthesis", lambda *_: WordTimes(first, first + 0.5, np.ones(19)))
    monkeypatch.setattr(qwen_times, "speech_regions", lambda *_: regions)
    monkeypatch.setattr(given_model, "is_qwen_aligner", lambda _: True)
    lectures = [lecture("x", samples(120.0), words)]
    times, _ = given_model.times_of_model("qwen", lectures, AlignerConfig(), CPU)
    assert Stub.windows == [(50 * 16_000, [*WORDS, "的"]), (15 * 16_000, WORDS)]
    assert times["x"].start[:9] == pytest.approx(0.5 * np.arange(9))
    assert times["x"].start[10:] == pytest.approx(100 + 0.5 * np.arange(9))


def test_qwens_windows_end_between_words_where_there_are_no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[tuple[int, list[str]]] = []

    class Stub:
        max_window = 180.0

        def times(self, window: np.ndarray, words: list[str]) -> list[WordTime | None]:
            windows.append((len(window), words))
            return [None] * len(words)

    start = np.arange(150.0)
    first = WordTimes(start, start + 0.98, np.ones(150))
    first.end[50] = 50.5  # the widest gap of the second half of the first minute
    words = [str(i) for i in range(150)]
    whole = np.array([[0, 150 * 16_000]])
    qwen_times._times_in_windows(Stub(), words, first, np.zeros(150 * 16_000, np.float32), whole)
    assert windows[0] == (50.75 * 16_000, words[:51])
    assert [w for _, inside in windows for w in inside] == words and sum(n for n, _ in windows) == 150 * 16_000
    assert all(abs(n / 16_000 - len(inside)) < 1 for n, inside in windows)
