"""Whole lectures from the command line: the files that are written, and continuing after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, read_jsonl, write_json
from ml2021.asr.decode import lectures as lectures_module
from ml2021.asr.decode import long_form
from ml2021.asr.decode.__main__ import main
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.lectures import Lecture, decode_lectures, score_lectures
from ml2021.asr.words.timed_word import NoSpeechError, TimedToken, TimedWord
from ml2021.scoring.texts import read_texts


def write_tone(path: Path, hertz: float) -> None:
    sf.write(path, 0.1 * np.sin(2 * np.pi * hertz * np.arange(1600) / SAMPLE_RATE), SAMPLE_RATE)


@pytest.fixture
def table(tmp_path: Path) -> TokenTable:
    return make_lang(["我 們 deep"], [], tmp_path / "lang", LangConfig(num_english_pieces=10))


@pytest.fixture
def decoded(table: TokenTable, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recordings that were decoded, in order; "broken" fails, and "quiet" has no speech."""
    calls: list[str] = []

    def recognise(audio, model, tokens, config, fusion):  # type: ignore[no-untyped-def]
        calls.append(audio.stem)
        if audio.stem == "broken":
            raise DataError("broken.wav cannot be read")
        if audio.stem == "quiet":
            raise NoSpeechError("quiet.wav: no speech was detected in it")
        ids = table.encode("我 deep")
        return [
            TimedWord("我", 0.5, 1.0, 0.75, (TimedToken(ids[0], 13, 0.75),)),
            TimedWord("deep", 1.0, 2.25, 0.5, tuple(TimedToken(i, 30 + k, 0.5) for k, i in enumerate(ids[1:]))),
        ]

    monkeypatch.setattr(lectures_module, "recognise", recognise)
    return calls


@pytest.fixture
def lecture(tmp_path: Path) -> Callable[..., Lecture]:
    """Make a lecture with a recording whose content is another one for each id."""

    def make(name: str, text: str | None = None) -> Lecture:
        write_tone(tmp_path / f"{name}.wav", 100 + zlib.crc32(name.encode()) % 1000)
        return Lecture(name, tmp_path / f"{name}.wav", text)

    return make


def test_files_and_scores(
    table: TokenTable, decoded: list[str], tmp_path: Path, lecture: Callable[..., Lecture]
) -> None:
    lectures = [lecture("w2", "我 們 deep"), lecture("w1", "我 deep")]
    rows = decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert (tmp_path / "out" / "lectures.ctm").read_text(encoding="utf-8").splitlines()[:2] == [
        "w1 1 0.500 0.500 我 0.7500",
        "w1 1 1.000 1.250 deep 0.5000",
    ]
    assert read_texts(tmp_path / "out" / "lectures.ctm", "hyp") == {"w1": "我 deep", "w2": "我 deep"}
    first = read_jsonl(tmp_path / "out" / "w1.jsonl")[0]
    assert first == {"word": "我", "start": 0.5, "end": 1.0, "confidence": 0.75, "tokens": [["我", 0.52, 0.75]]}
    rate = score_lectures(lectures, rows, tmp_path / "out", "test", "x", "greedy_search")
    assert rate is not None and (rate.total.errors, rate.total.num_ref) == (1, 5)
    assert (tmp_path / "out" / "recogs-test-x.txt").is_file() and (tmp_path / "out" / "mer-test-x.txt").is_file()
    assert score_lectures([lecture("w1")], rows, tmp_path / "o", "test", "x", "g") is None


def test_ctm_has_all_lectures_of_the_folder_also_those_of_earlier_runs(
    table: TokenTable,
    decoded: list[str],
    tmp_path: Path,
    lecture: Callable[..., Lecture],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, out = torch.nn.Linear(2, 2), tmp_path / "out"

    def in_ctm_after(*names: str) -> list[str]:
        decode_lectures(model, table, [lecture(n) for n in names], out, DecodeConfig())  # type: ignore[arg-type]
        return list(read_texts(out / "lectures.ctm", "hyp"))

    assert in_ctm_after("w2") == ["w2"]
    assert in_ctm_after("w1") == ["w1", "w2"] and decoded == ["w2", "w1"]
    whole = (out / "lectures.ctm").read_bytes()
    assert in_ctm_after("w2") == ["w1", "w2"] and (out / "lectures.ctm").read_bytes() == whole
    with pytest.raises(DataError, match="1 of 1 lectures are not decoded"):
        in_ctm_after("broken")
    assert (out / "lectures.ctm").read_bytes() == whole
    (out / "w1.jsonl").write_text("{}\n")
    assert in_ctm_after("w2") == ["w2"] and "w1.jsonl is damaged, or was changed" in caplog.text
    (out / "w1.jsonl").unlink()  # how to take a lecture out
    assert in_ctm_after("my lecture　3") == ["my lecture　3", "w2"] and decoded[2:] == ["broken", "my lecture　3"]
    assert (out / "lectures.ctm").read_text(encoding="utf-8").startswith("my%20lecture%E3%80%803 1 0.500 0.500 我")


def test_recording_without_speech_has_no_words_and_stops_no_other(
    table: TokenTable,
    decoded: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lecture: Callable[..., Lecture],
) -> None:
    lectures = [lecture("quiet", "我"), lecture("w1", "我 deep")]
    rows = decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path, DecodeConfig())  # type: ignore[arg-type]
    assert rows["quiet"] == [] and len(rows["w1"]) == 2 and "quiet.wav: no speech was detected in it" in caplog.text
    rate = score_lectures(lectures, rows, tmp_path, "test", "x", "greedy_search")
    assert rate is not None and (rate.total.errors, rate.total.num_ref) == (1, 3)


def test_words_are_read_when_asked_for_and_settings_are_written_once(
    table: TokenTable,
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lecture: Callable[..., Lecture],
) -> None:
    """35,000 recordings of a thousand hours: no file is rewritten for each, and no list holds all words."""
    written: list[str] = []
    read: list[str] = []

    def recording_write(path: Path, content: object) -> None:
        written.append(path.name)
        write_json(path, content)

    def recording_read(path: Path) -> Iterator[dict[str, Any]]:
        read.append(path.stem)
        return iterate_jsonl(path)

    monkeypatch.setattr(lectures_module, "write_json", recording_write)
    monkeypatch.setattr(lectures_module, "iterate_jsonl", recording_read)
    monkeypatch.setattr(lectures_module, "read_jsonl", lambda path: list(recording_read(path)))
    lectures = [lecture(f"w{i}", "我 deep") for i in range(5)]
    model = torch.nn.Linear(2, 2)
    rows = decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert written == ["settings.json"]
    assert read == [f"w{i}" for i in range(5)]  # for lectures.ctm
    assert len(rows) == 5 and list(rows) == read and "w9" not in rows and len(read) == 5
    assert [row["word"] for row in rows["w3"]] == ["我", "deep"] and read[5:] == ["w3"]
    with pytest.raises(KeyError):
        rows["w9"]
    score_lectures(lectures, rows, tmp_path / "out", "test", "x", "greedy_search")
    assert read[6:] == [f"w{i}" for i in range(5)]
    decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert written == ["settings.json"] and len(decoded) == 5


def test_continues_where_it_was_stopped(
    table: TokenTable, decoded: list[str], tmp_path: Path, lecture: Callable[..., Lecture]
) -> None:
    model, out = torch.nn.Linear(2, 2), tmp_path / "out"
    names = ["w1", "broken", "w2"]
    with pytest.raises(DataError, match="1 of 3 lectures are not decoded: broken.wav cannot be read"):
        decode_lectures(model, table, [lecture(n) for n in names], out, DecodeConfig())  # type: ignore[arg-type]
    names[1] = "mended"
    decode_lectures(model, table, [lecture(n) for n in names], out, DecodeConfig())  # type: ignore[arg-type]
    assert decoded == ["w1", "broken", "w2", "mended"]  # w1 and w2 are not decoded again


@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), MemoryError(), OSError(5, "I/O error"), SystemExit(3)])
def test_whatever_a_lecture_raises_the_others_are_decoded(
    table: TokenTable,
    decoded: list[str],
    tmp_path: Path,
    lecture: Callable[..., Lecture],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    recognise = lectures_module.recognise

    def fail_at_w1(audio: Path, *rest: object) -> list[TimedWord]:
        if audio.stem == "w1":
            raise error
        return recognise(audio, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(lectures_module, "recognise", fail_at_w1)
    lectures, model = [lecture(n) for n in ("w1", "w2", "w3")], torch.nn.Linear(2, 2)
    with pytest.raises(DataError, match=rf"1 of 3 lectures are not decoded: .*w1\.wav: {type(error).__name__}") as e:
        decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert "\n" not in str(e.value) and decoded == ["w2", "w3"]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    assert set(read_texts(tmp_path / "out" / "lectures.ctm", "hyp")) == {"w2", "w3"}
    monkeypatch.setattr(lectures_module, "recognise", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]


def test_names_that_differ_in_case_are_refused(
    table: TokenTable, decoded: list[str], tmp_path: Path, lecture: Callable[..., Lecture]
) -> None:
    with pytest.raises(DataError, match=r"w1 and W1 would both have the file W1\.jsonl"):
        decode_lectures(
            torch.nn.Linear(2, 2),  # type: ignore[arg-type]
            table,
            [lecture("w1"), lecture("W1")],
            tmp_path / "out",
            DecodeConfig(),
        )
    assert decoded == []


def test_language_model_is_read_once_for_all_lectures_and_only_where_one_is_left(
    table: TokenTable,
    decoded: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lecture: Callable[..., Lecture],
) -> None:
    read: list[DecodeConfig] = []
    monkeypatch.setattr(lectures_module, "load_fusion", lambda config, *_: read.append(config))
    model, lectures = torch.nn.Linear(2, 2), [lecture(n) for n in ("w1", "w2", "w3")]
    for _ in range(2):
        decode_lectures(model, table, lectures, tmp_path, DecodeConfig())  # type: ignore[arg-type]
    assert len(read) == 1 and len(decoded) == 3


def test_other_models_and_settings_do_not_mix(
    table: TokenTable, decoded: list[str], tmp_path: Path, lecture: Callable[..., Lecture]
) -> None:
    model, lectures = torch.nn.Linear(2, 2), [lecture("w1")]
    decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="other settings"):
        decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig(blank_penalty=1.0))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="another model"):
        decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="named w1; .*rename one"):
        decode_lectures(model, table, lectures * 2, tmp_path / "other", DecodeConfig())  # type: ignore[arg-type]
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["decode"]["blank_penalty"] == 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml2021.asr.decode.lectures.WINDOWS_VERSION", 99)
        with pytest.raises(DataError, match="other settings"):  # of a version that cuts other windows
            decode_lectures(model, table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]


def damaged(content: bytes, how: str) -> bytes:
    """The content of a damaged file."""
    contents = {
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "not text": b"\xff\xfe" + content[2:],
        "a number": b"3",
        "a list": b"[1]",
        "a line short": b"".join(content.splitlines(keepends=True)[:-1]),
    }
    return contents[how]


@pytest.mark.parametrize("how", ["empty", "cut short", "not text", "a number", "a list", "a line short"])
@pytest.mark.parametrize("name", ["settings.json", "w2.jsonl"])
def test_damaged_files_are_named_and_what_to_do_helps(
    table: TokenTable, decoded: list[str], tmp_path: Path, name: str, how: str, lecture: Callable[..., Lecture]
) -> None:
    lectures = [lecture(n) for n in ("w1", "w2")]
    model, path = torch.nn.Linear(2, 2), tmp_path / name
    rows = dict(decode_lectures(model, table, lectures, tmp_path, DecodeConfig()))  # type: ignore[arg-type]
    path.write_bytes(damaged(path.read_bytes(), how))
    lectures.append(lecture("w3"))
    with pytest.raises(DataError, match=rf"{name} is damaged.*remove it"):
        decode_lectures(model, table, lectures, tmp_path, DecodeConfig())  # type: ignore[arg-type]
    assert decoded == ["w1", "w2"]  # the error comes before anything else is decoded
    path.unlink()
    new_rows = decode_lectures(model, table, lectures, tmp_path, DecodeConfig())  # type: ignore[arg-type]
    assert {i: new_rows[i] for i in rows} == rows
    assert decoded[2:] == (["w2", "w3"] if name == "w2.jsonl" else ["w1", "w2", "w3"])


KILLED = """
import sys, time
from pathlib import Path
import torch
from lhotse_prep.tokens.lang import load_lang
from lhotse_prep.workflow import resumable
from ml2021.asr.decode import lectures as lectures_module
from ml2021.asr.words.timed_word import TimedWord
from ml2021.asr.decode.config import DecodeConfig
folder, when = Path(sys.argv[1]), sys.argv[2]
lectures_module.recognise = lambda audio, *_: [TimedWord(audio.stem, 0.5, 1.0, 0.75)]
module, writer = {"lecture": (lectures_module, "write_jsonl"), "mark": (resumable, "write_json")}[when]
real, calls = getattr(module, writer), []
def slow(path, content):  # waits before it writes the file of the second lecture
    calls.append(path)
    if len(calls) == 2:
        print("writing", flush=True)
        time.sleep(60)
    real(path, content)
setattr(module, writer, slow)
torch.manual_seed(0)
lectures = [lectures_module.Lecture(n, folder / (n + ".wav")) for n in ("w1", "w2", "w3")]
tokens = load_lang(folder / "lang")
lectures_module.decode_lectures(torch.nn.Linear(2, 2), tokens, lectures, folder / "out", DecodeConfig())
"""


@pytest.mark.parametrize("when", ["lecture", "mark"])
def test_a_killed_run_continues(
    table: TokenTable, decoded: list[str], tmp_path: Path, when: str, lecture: Callable[..., Lecture]
) -> None:
    lectures = [lecture(n) for n in ("w1", "w2", "w3")]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), when], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out" / "w2.jsonl").is_file() == (when == "mark")
    torch.manual_seed(0)
    rows = decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert decoded == ["w2", "w3"] and [row["word"] for row in rows["w1"]] == ["w1"]
    assert {row["word"] for row in rows["w2"]} == {"我", "deep"}


def test_every_recording_goes_through_the_gate(
    table: TokenTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other rates, channels and headers are converted, bad ones named, and what is silent has no words."""
    tone = 0.1 * np.sin(2 * np.pi * 300 * np.arange(48_000) / 48_000)
    sf.write(tmp_path / "stereo.wav", np.stack([tone, -tone], axis=1), 48_000)
    sf.write(tmp_path / "silent.wav", np.zeros(48_000), 48_000)
    sf.write(tmp_path / "half.wav", tone[::3], SAMPLE_RATE)
    content = bytearray((tmp_path / "half.wav").read_bytes())
    content[40:44] = (SAMPLE_RATE).to_bytes(4, "little")
    (tmp_path / "half.wav").write_bytes(content)
    sf.write(tmp_path / "nan.wav", np.full(SAMPLE_RATE, np.nan), SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("我們")
    seen = {}

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        seen[audio.stem] = sf.read(audio)
        return [TimedWord("我", 0.5, 1.0, 0.75)]

    monkeypatch.setattr(lectures_module, "recognise", recognise)
    lectures = [Lecture(path.stem, path) for path in sorted(tmp_path.glob("*.wav"))]
    with pytest.raises(DataError, match="2 of 5 lectures are not decoded") as e:
        decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert {name: (len(x), rate) for name, (x, rate) in seen.items()} == dict.fromkeys(
        ("half", "stereo"), (SAMPLE_RATE, SAMPLE_RATE)
    )
    assert float(np.abs(seen["stereo"][0]).max()) == pytest.approx(0.1, abs=0.01)
    assert all(str(tmp_path / name) in str(e.value) for name in ("nan.wav", "text.wav"))
    assert "Error:" not in str(e.value) and f"{tmp_path / 'silent.wav'} is silent" in caplog.text
    assert read_jsonl(tmp_path / "out" / "silent.jsonl") == []


def test_recording_of_the_same_name_from_another_folder_replaces_the_words(
    table: TokenTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """day1/lecture.wav, then day2/lecture.wav, with the same --out-dir: the words are those of the second."""
    caplog.set_level("INFO")
    calls = []

    def recognise(audio: Path, *_: object) -> list[TimedWord]:
        calls.append(audio.parent.name)
        return [TimedWord(audio.parent.name, 0.5, 1.0, 0.75)]

    monkeypatch.setattr(lectures_module, "recognise", recognise)
    model = torch.nn.Linear(2, 2)
    for day in ("day1", "day2", "day2", "day1"):
        (tmp_path / day).mkdir(exist_ok=True)
        write_tone(tmp_path / day / "lecture.wav", 100 * int(day[-1]))
        recordings = [Lecture("lecture", tmp_path / day / "lecture.wav")]
        rows = decode_lectures(model, table, recordings, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
        assert [row["word"] for row in rows["lecture"]] == [day]
        assert read_texts(tmp_path / "out" / "lectures.ctm", "hyp") == {"lecture": day}
    assert calls == ["day1", "day2", "day1"] and caplog.text.count("another recording of this name") == 2


def test_missing_recording_is_an_error_before_anything_is_decoded(
    table: TokenTable, decoded: list[str], tmp_path: Path, lecture: Callable[..., Lecture]
) -> None:
    lectures = [lecture("w1"), Lecture("w2", tmp_path / "w2.wav")]
    with pytest.raises(DataError, match="no such recording: .*w2.wav"):
        decode_lectures(torch.nn.Linear(2, 2), table, lectures, tmp_path / "out", DecodeConfig())  # type: ignore[arg-type]
    assert decoded == []


@pytest.mark.parametrize("long", [[], ["--long"]])
def test_command_line_decodes_recordings(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: list[str]
) -> None:
    rng = np.random.default_rng(0)
    sf.write(tmp_path / "talk.wav", rng.normal(0, 0.1, 30 * SAMPLE_RATE), SAMPLE_RATE)
    (tmp_path / "decode.yaml").write_text("decode:\n  long_form: {chunk: 8.0, context: 1.0}\n")
    whole = lambda blocks: np.array([[0, sum(map(len, blocks))]])  # noqa: E731
    monkeypatch.setattr(long_form, "speech_stretches", whole)
    arguments = ["--exp-dir", str(trained), "--audio", str(tmp_path / "talk.wav"), "--conf", str(tmp_path)]
    main([*long, *arguments, "--out-dir", str(tmp_path / "out")])
    for row in read_jsonl(tmp_path / "out" / "talk.jsonl"):
        assert 0 <= row["start"] <= row["end"] <= 30 and 0 < row["confidence"] <= 1
    assert (tmp_path / "out" / "lectures.ctm").is_file()
