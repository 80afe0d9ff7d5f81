"""sherpa-onnx itself decodes tiny models of its families: the words, their times, options, and what goes wrong.

sherpa-onnx ends its process at an error; these tests go on, so it is another process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.sherpa.catalog import FAMILIES
from ml2021.asr.sherpa.families import SherpaModel
from ml2021.asr.sherpa.hotwords import hotword_arguments
from ml2021.asr.sherpa.process import SherpaProcess
from ml2021.asr.sherpa.recogniser import SherpaRecogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.spread import SPREAD_SCORE
from ml2021.asr.words.timed_word import TimedWord

HEARING = ("zipformer_ctc", "nemo_ctc", "wenet_ctc", "fire_red_ctc", "sense_voice", "transducer")


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[SherpaRecogniser]:
    recogniser = SherpaRecogniser(folder, RecogniserOptions(num_threads=1, **options))
    try:
        yield recogniser
    finally:
        recogniser.close()


def make(tiny: SimpleNamespace, name: str, folder: Path) -> Path:
    more = [["<blk>", "你", "▁HI"]] if name == "transducer" else []
    maker = getattr(tiny, name)
    return Path(maker(folder, *more))


@pytest.fixture
def speech(tiny: SimpleNamespace) -> NDArray[np.float32]:
    """你 from 0.5 to 1 s, hi from 1.5 to 2.2 s, 你 until 2.6 s."""
    pattern = [(0.5, 1.0, tiny.LOW), (1.5, 2.2, tiny.HIGH), (2.2, 2.6, tiny.LOW)]
    samples: NDArray[np.float32] = tiny.tones(pattern, 3.0)
    return samples


def texts(words: list[TimedWord]) -> str:
    return " ".join(w.text for w in words)


@pytest.mark.parametrize("name", HEARING)
def test_words_have_their_true_times(
    name: str, tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    options = {"language": "zh"} if name == "sense_voice" else {}
    with opened(make(tiny, name, tmp_path / name), **options) as recogniser:
        (words,) = recogniser.words_of_windows([speech])
        assert texts(words) == "你 hi 你"
        times = [(w.start, w.end) for w in words]
        np.testing.assert_allclose(times, [(0.5, 1.0), (1.5, 2.2), (2.2, 2.6)], atol=0.1)
        assert all(0 < w.score <= 1 for w in words)
        assert recogniser.max_window == 30.0 and name.split("_")[0] in recogniser.name.lower()


@pytest.mark.parametrize("name", ["zipformer_ctc", "transducer"])
def test_words_do_not_depend_on_the_other_windows(name: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    """Random windows of many lengths, alone, together and in another order; also empty and very short ones."""
    rng = np.random.default_rng(1)
    num_windows = 8
    windows = [np.zeros(0, np.float32), np.zeros(100, np.float32)]
    for _ in range(num_windows):
        edges = np.sort(rng.uniform(0.2, 5, size=6))
        pattern = [(b, e, (tiny.LOW, tiny.HIGH)[rng.integers(2)]) for b, e in edges.reshape(3, 2)]
        windows.append(tiny.tones(pattern, edges[-1] + rng.uniform(0.1, 2)))
    with opened(make(tiny, name, tmp_path / name)) as recogniser:
        together = recogniser.words_of_windows(windows)
        assert together == recogniser.words_of_windows(windows)
        assert together[::-1] == recogniser.words_of_windows(windows[::-1])
        alone = [recogniser.words_of_windows([w])[0] for w in windows]
    assert [texts(w) for w in together] == [texts(w) for w in alone]
    assert together[:2] == [[], []] and all(together[2:])
    for words, window in zip(together, windows):
        assert all(0 <= w.start <= w.end <= len(window) / 16000 for w in words)
        assert all(a.end <= b.start for a, b in zip(words, words[1:]))


def test_paraformer_gives_the_times_of_its_peaks(
    tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    with opened(tiny.paraformer(tmp_path / "p")) as recogniser:
        (words,) = recogniser.words_of_windows([speech])
    assert texts(words) == "你 hello 好"
    np.testing.assert_allclose([w.start for w in words], [0.5, 1.5, 2.0], atol=0.06)


def test_whisper_gives_the_times_of_phrases(
    tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    """A phrase that begins after the end of the window was said in silence: it is dropped, and counted."""
    caplog.set_level(logging.INFO)
    with opened(tiny.whisper(tmp_path / "w")) as recogniser:
        (words,) = recogniser.words_of_windows([speech])
        assert texts(words) == "hello 你 好"
        assert words[0].start == pytest.approx(0.5, abs=0.1) and words[1].end == pytest.approx(1.0, abs=0.1)
        assert (words[2].start, words[2].end) == pytest.approx((2.0, 2.65), abs=0.1)
        assert {w.score for w in words} == {SPREAD_SCORE}
        assert texts(recogniser.words_of_windows([speech[: 16000 * 3 // 2]])[0]) == "hello 你"
    assert "1 phrases dropped that begin after the end of their window" in caplog.text
    with pytest.raises(ConfigError, match="does not know language 'ja', only en, zh"):
        SherpaRecogniser(tmp_path / "w", RecogniserOptions(language="ja"))


def test_whisper_keeps_the_language_of_a_recording(
    tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    """It detects Chinese in every window; told that the recording is in English, it decodes English."""
    caplog.set_level(logging.INFO)
    with opened(tiny.whisper(tmp_path / "w")) as recogniser:
        family = replace(recogniser._model.family, padded_to=0.0)  # quicker
        recogniser._model = replace(recogniser._model, family=family)
        recogniser._set_language("en")
        assert recogniser._decoded([speech], [])[0]["lang"] == "en"
        assert recogniser.for_recording([speech]) is recogniser
        assert "the recording is in zh" in caplog.text
        assert recogniser._decoded([speech], [])[0]["lang"] == "zh"


def test_models_without_times_are_spread_over_the_speech(
    tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with opened(tiny.fire_red(tmp_path / "f")) as recogniser:
        (words,) = recogniser.words_of_windows([speech])
        assert recogniser.max_window <= 15.0  # short, so that times are right to about a second
    assert texts(words) == "你 好 ok 好"
    assert words[0].start == pytest.approx(0.5, abs=0.1) and words[-1].end == pytest.approx(2.6, abs=0.1)
    assert {w.score for w in words} == {SPREAD_SCORE}
    assert not any(w.start < 1.4 and w.end > 1.5 and w.start > 1.1 for w in words)  # none begins in the pause
    assert "gives no times" in caplog.text


def test_hotwords_win(tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32]) -> None:
    """你 is a little likelier than 妳."""
    folder = tiny.transducer(tmp_path / "t", ["<blk>", "你", "▁HI", "妳"])
    (tmp_path / "hotwords.txt").write_text("\n  妳 :3.5\n\n", encoding="utf-8")
    with opened(folder, hotwords=tmp_path / "hotwords.txt") as recogniser:
        assert texts(recogniser.words_of_windows([speech])[0]) == "妳 hi 妳"


@pytest.mark.parametrize(("piece", "term"), [("HO", "ho"), ("Ho", "Ho")])
def test_hotwords_of_bpe_are_in_the_case_of_the_model(
    piece: str, term: str, tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32]
) -> None:
    folder = tiny.transducer(tmp_path / "t", ["<blk>", "你", "▁HI", "妳", f"▁{piece}"])
    vocabulary = ["<unk>", "▁HI", f"▁{piece}", "▁", "H", *piece]
    (folder / "bpe.vocab").write_text("".join(f"{p}\t-{i}\n" for i, p in enumerate(vocabulary)), encoding="utf-8")
    (tmp_path / "hotwords.txt").write_text(f"{term} :4\n", encoding="utf-8")
    with opened(folder, hotwords=tmp_path / "hotwords.txt") as recogniser:
        assert texts(recogniser.words_of_windows([speech])[0]) == "你 ho 你"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        (
            "zipformer_ctc",
            "你\n",
            ConfigError,
            "hotwords cannot be given to a Zipformer CTC model .* only to transducer",
        ),
        ("transducer", "好\n", DataError, "'好' has '好', which the model's tokens.txt lacks; remove it"),
        ("transducer", "hi\n", ConfigError, "has no bpe.vocab or bpe.model"),
        ("transducer", "你:2.5\n", DataError, "seems to have a score that would be read as a part of the term"),
        ("transducer", "你 :much\n", DataError, "the score 'much' is not a finite number"),
        ("transducer", "\n", DataError, "has no hotwords"),
    ],
)
def test_hotwords_that_cannot_be_used(
    name: str, content: str, error: type[Exception], message: str, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "hotwords.txt").write_text(content, encoding="utf-8")
    with pytest.raises(error, match=message) as e:
        SherpaRecogniser(make(tiny, name, tmp_path / name), RecogniserOptions(hotwords=tmp_path / "hotwords.txt"))
    assert "\n" not in str(e.value)


def test_hotwords_without_tokens_are_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """sherpa-onnx would leave out the unknown tokens, and take the rest for the term."""
    folder = tiny.transducer(tmp_path / "t", ["<blk>", "你", "▁HI"])
    (folder / "bpe.vocab").write_text("<unk>\t0\n▁\t-9\nA\t-9\nB\t-9\n", encoding="utf-8")
    (tmp_path / "hotwords.txt").write_text("ab\n", encoding="utf-8")
    with pytest.raises(DataError, match="hotwords.txt: the model's tokens.txt lacks .*remove the terms"):
        SherpaRecogniser(folder, RecogniserOptions(hotwords=tmp_path / "hotwords.txt"))


def test_models_that_take_hotwords_as_text_get_them_as_written(tmp_path: Path) -> None:
    family = next(f for f in FAMILIES if f.name == "Qwen3-ASR")
    (tmp_path / "hotwords.txt").write_text("BERT :2\n自注意力, 機制\n", encoding="utf-8")
    model = SherpaModel(tmp_path, family, {}, {}, None, None)
    assert hotword_arguments(model, None, tmp_path / "hotwords.txt", tmp_path) == {"hotwords": "BERT,自注意力  機制"}


def test_language_is_checked(tiny: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="does not know language 'fr', only auto, zh, en, ja, ko, yue"):
        SherpaRecogniser(tiny.sense_voice(tmp_path / "s"), RecogniserOptions(language="fr"))
    with opened(tmp_path / "s", language="zh-TW") as recogniser:  # as in other recognisers
        assert recogniser._language == "zh"
    with opened(tiny.zipformer_ctc(tmp_path / "z"), language="zh"):
        assert "Zipformer CTC models have no choice of languages; 'zh' is not used" in caplog.text


def test_digests_name_what_words_depend_on(tiny: SimpleNamespace, tmp_path: Path) -> None:
    folder = tiny.transducer(tmp_path / "t", ["<blk>", "你", "▁HI"])
    with opened(folder) as recogniser:
        digests = dict(recogniser.digests())
    assert set(digests) == {*(p.name for p in folder.iterdir()), "options"}
    (folder / "tokens.txt").write_text("<blk> 0\n好 1\n▁HI 2\n", encoding="utf-8")
    with opened(folder, beam_size=2) as recogniser:
        other = dict(recogniser.digests())
    assert {name for name in digests if digests[name] != other[name]} == {"tokens.txt", "options"}


def test_a_model_that_sherpa_cannot_load_is_one_line(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """The header is whole; onnxruntime cannot run the graph."""
    folder = tiny.zipformer_ctc(tmp_path / "z")
    model = onnx.load(folder / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=f"sherpa-onnx cannot use {folder}: .*NoSuchOperator") as error:
        SherpaRecogniser(folder, RecogniserOptions())
    assert "\n" not in str(error.value)


def test_an_error_that_ends_sherpas_process_is_one_line(tmp_path: Path) -> None:
    """A file that is missing makes sherpa-onnx call _Exit."""
    arguments = {"model": str(tmp_path / "none.onnx"), "tokens": str(tmp_path / "none.txt")}
    settings = {"factory": "from_zipformer_ctc", "arguments": arguments, "online": False, "stream_options": {}}
    with pytest.raises(DataError, match=f"sherpa-onnx cannot use {tmp_path}: .*exit status"):
        SherpaProcess(tmp_path, settings)


def test_a_window_on_which_the_model_fails_has_no_words(
    tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    """As Paraformers do on windows in which they count no words. sherpa-onnx says so in its output only."""
    folder = tiny.paraformer(tmp_path / "p")
    model = onnx.load(folder / "model.onnx")
    # the shape of an output is the number of frames less ten, which is negative for windows of less than 0.6 s
    nodes = [
        onnx.helper.make_node("Sub", ["speech_lengths", "ten"], ["surplus"]),
        onnx.helper.make_node("Cast", ["surplus"], ["surplus64"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("ConstantOfShape", ["surplus64"], ["only_if_positive"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([10], np.int32), "ten"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("only_if_positive", onnx.TensorProto.FLOAT, ["A"]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with opened(folder) as recogniser:
        words = recogniser.words_of_windows([speech, speech[:8000], speech])
        assert [texts(w) for w in words] == ["你 hello 好", "", "你 hello 好"]
    assert "sherpa-onnx failed on 1 of 3 windows, which have no words (" in caplog.text


def test_it_works_after_a_fork(tiny: SimpleNamespace, tmp_path: Path, speech: NDArray[np.float32]) -> None:
    with opened(tiny.zipformer_ctc(tmp_path / "z")) as recogniser:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = texts(recogniser.words_of_windows([speech])[0]) != "你 hi 你"
                recogniser.close()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert texts(recogniser.words_of_windows([speech])[0]) == "你 hi 你"


def test_the_process_ends_with_the_recogniser(tiny: SimpleNamespace, tmp_path: Path) -> None:
    recogniser = SherpaRecogniser(tiny.zipformer_ctc(tmp_path / "z"), RecogniserOptions())
    worker = recogniser._process._process
    del recogniser
    deadline = time.monotonic() + 5
    while worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.poll() == 0
