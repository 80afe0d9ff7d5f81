"""What a folder or a name is taken for, and what is said about one that is no recogniser."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode import open_recogniser as module
from ml2021.asr.decode import ours
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.decode.ours import is_ours
from ml2021.asr.words.interfaces import Recogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord


class Windows:
    """A recogniser of windows of another family."""

    name, max_window = "other", 28.0

    def __init__(self, path: str | Path, options: RecogniserOptions) -> None:
        self.path, self.options = path, options

    def digests(self) -> dict[str, str]:
        return {"model": "1"}

    def words_of_windows(self, windows: list[object]) -> list[list[TimedWord]]:
        return [[] for _ in windows]


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders and names that are opened; those with "qwen" in their last part are Qwen3-ASR, and so on."""
    opened: list[str] = []

    def family(word: str) -> module._Family:
        def open_(path: Path | str, options: RecogniserOptions) -> Windows:
            opened.append(f"{word} {path}")
            return Windows(path, options)

        return module._Family(lambda path: word in Path(path).name, open_)

    names = {"Qwen3-ASR": "qwen", "Whisper": "whisper", "sherpa-onnx": "sherpa"}
    monkeypatch.setattr(module, "_FAMILIES", {t: ((lambda w=w: family(w)), "pip install x") for t, w in names.items()})
    return opened


def test_folders_and_names_of_each_family(families: list[str], tmp_path: Path) -> None:
    for name in ("my-qwen", "my-whisper", "my-sherpa"):
        (tmp_path / name).mkdir()
        recogniser = open_recogniser(str(tmp_path / name), RecogniserOptions())
        assert isinstance(recogniser, Recogniser) and recogniser.digests() == {"model": "1"}
    for name in ("Qwen/qwen", "whisper-base", "some/thing"):  # names on the hub, the last of any kind
        open_recogniser(name, RecogniserOptions())
    folders = [f"{word} {tmp_path / f'my-{word}'}" for word in ("qwen", "whisper", "sherpa")]
    assert families == [*folders, "qwen Qwen/qwen", "whisper whisper-base", "whisper some/thing"]


def test_words_are_converted_to_the_script(
    families: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ml2021.asr.words.whole_recordings.recognise",
        lambda *_: [TimedWord("软", 0.0, 0.2, 0.5), TimedWord("件", 0.2, 0.4, 0.5)],
    )
    plain, taiwan = (open_recogniser("whisper", RecogniserOptions(script=s)) for s in ("", "s2twp"))
    assert [w.text for w in plain.recognise(Path("a.wav"))] == ["软", "件"]
    assert [w.text for w in taiwan.recognise(Path("a.wav"))] == ["軟", "體"]
    assert plain.digests() != taiwan.digests() and taiwan.name == "other"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "looked for config.json with lang/ and pretrained.pt .* there is nothing"),
        ({"notes.txt": "", "b.wav": ""}, "there is b.wav, notes.txt$"),
        ({f"{i}.wav": "" for i in range(12)}, "and 4 more$"),
        ({"epoch-12.pt": ""}, "checkpoint of icefall.*import_checkpoint --checkpoint"),
        ({"exp/pretrained.pt": "", "data/lang/tokens.txt": ""}, "checkpoint of icefall.*import_checkpoint"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": ""}, "transformers of another kind"),
        ({"asr/config.json": "{}", "asr/lang/tokens.txt": "", "asr/pretrained.pt": ""}, "the one in it is .*asr$"),
    ],
)
def test_folder_that_is_no_recogniser(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=f"{folder} holds no recogniser that is known here: .*{message}") as e:
        open_recogniser(str(folder), RecogniserOptions())
    assert "\n" not in str(e.value)


def test_transformers_folder_of_whisper_says_how_to_convert_it(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(DataError, match="ct2-transformers-converter"):
        open_recogniser(str(tmp_path), RecogniserOptions())


@pytest.mark.parametrize("path", ["nofolder", "./x", "a/b/c", "~/nothing-there", "models/"])
def test_missing_folder(path: str) -> None:
    with pytest.raises(DataError, match=f"there is no folder {path}, and it is not the name of a recogniser"):
        open_recogniser(path, RecogniserOptions())


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("")
    with pytest.raises(DataError, match=f"model.onnx is a file: name the folder .* perhaps {tmp_path}$"):
        open_recogniser(str(tmp_path / "model.onnx"), RecogniserOptions())


def test_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r"faster.whisper.*pip install -e \.\[whisper\]"):
        open_recogniser("large-v3", RecogniserOptions())

    def missing() -> module._Family:
        raise ImportError("No module named 'x'")

    monkeypatch.setattr(module, "_FAMILIES", {"Some": (missing, "pip install -U x")})
    with pytest.raises(ConfigError, match=r"Some models need a package .* \(No module named 'x'\): pip install -U x"):
        open_recogniser("large-v3", RecogniserOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size must be >= 1"),
        ({"num_threads": -1}, "num_threads must be >= 0"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"hotwords": Path("no.txt")}, "no file no.txt: hotwords are a text file with a term per line"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecogniserOptions(**options)  # type: ignore[arg-type]


def test_digest_of_options_is_of_what_words_depend_on(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("bert\n")
    (tmp_path / "b.txt").write_text("bert\n")
    plain = RecogniserOptions().digest()
    assert plain == RecogniserOptions(num_threads=3, device="cpu").digest()
    assert plain != RecogniserOptions(beam_size=1).digest() != RecogniserOptions(language="zh").digest()
    hotwords = [RecogniserOptions(hotwords=tmp_path / name).digest() for name in ("a.txt", "b.txt")]
    (tmp_path / "b.txt").write_text("gpt\n")
    assert hotwords[0] == hotwords[1] != RecogniserOptions(hotwords=tmp_path / "b.txt").digest() != plain


def test_ours(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_ours(trained) and not is_ours(tmp_path)
    recogniser = open_recogniser(str(trained), RecogniserOptions(script="t2s"))
    assert isinstance(recogniser, Recogniser)
    digests = recogniser.digests()
    assert {"config.json", "pretrained.pt", "lang/tokens.txt", "options"} <= digests.keys()
    greedy = DecodeConfig(blank_penalty=1.0)
    assert open_recogniser(str(trained), RecogniserOptions(decode=greedy)).digests()["options"] != digests["options"]
    with monkeypatch.context() as patch:
        patch.setattr(ours, "WINDOWS_VERSION", 99)
        assert recogniser.digests()["options"] != digests["options"]
    words = [TimedWord("機", 0.0, 0.2, 0.5)]
    monkeypatch.setattr(ours, "recognise", lambda *_: words)
    assert [w.text for w in recogniser.recognise(Path("a.wav"))] == ["机"]
    config = DecodeConfig(script="t2s")
    assert [w.text for w in open_recogniser(str(trained), RecogniserOptions(decode=config)).recognise(Path("a"))] == [
        "机"
    ]
    monkeypatch.setattr(ours, "recognise", lambda *_: [])
    with pytest.raises(NoSpeechError, match="a.wav: the recogniser gives no words"):
        recogniser.recognise(Path("a.wav"))
    (tmp_path / "terms.txt").write_text("一 二\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="hotwords need a decoding_method of .*greedy_search"):
        open_recogniser(str(trained), RecogniserOptions(hotwords=tmp_path / "terms.txt"))
