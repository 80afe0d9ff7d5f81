"""Files of a folder are paired to lectures, or refused with one line; none is taken for something else."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest

from lhotse_prep.corpora.lecture_files import LectureFiles, OtherTexts, Untranscribed, read_folder
from lhotse_prep.corpora.plan import plan_folder
from lhotse_prep.workflow.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("x")
    return folder


def split(folder: Path) -> dict[str, list[str]]:
    """The parts that are not empty."""
    return {part: names for part, names in plan_folder(folder)[1].items() if names}


@pytest.mark.parametrize("seed", range(40))
def test_every_file_is_the_one_that_its_name_says_in_any_form(tmp_path: Path, seed: int) -> None:
    """Random names, Unicode forms and capitals, among what machines leave behind."""
    rng = random.Random(seed)
    names = rng.sample(["week1", "café", "第一講", "ガ行", "Å-1", "lec.2", "Zürich_3", "x"], rng.randint(1, 6))
    expected = {}
    for name in names:
        files = {"recording": rng.choice([".wav", ".flac", ".mp3", ".m4a", ".mp4"]), "transcript": ".txt"}
        files |= {"translation": ".en.txt"} if rng.random() < 0.7 else {}
        for kind, suffix in files.items():
            written = "".join(rng.choice([c.lower(), c.upper()]) for c in suffix)
            files[kind] = unicodedata.normalize(rng.choice(["NFC", "NFD"]), name) + written
        expected[unicodedata.normalize("NFC", name)] = files
    touch(tmp_path, *(file for files in expected.values() for file in files.values()))
    clutter = ["._week1.wav", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.txt", "._week1.txt", ".week1.en.txt"]
    touch(tmp_path, *rng.sample(clutter, 4))
    touch(tmp_path / "__MACOSX", "._week1.wav")
    content = read_folder(tmp_path)
    assert content.others == []
    assert {
        name: {kind: path.name for kind, path in vars(files).items() if path}
        for name, files in content.lectures.items()
    } == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.wav", "a.mp3"], "a.mp3 and a.wav are both recordings of a; keep one"),
        (["a.wav", "a.WAV"], "a.WAV and a.wav are both recordings of a; keep one"),
        (["a.wav", "a.txt", "a.TXT"], "a.TXT and a.txt are both transcripts of a"),
        (["a.wav", "a.txt", "a.EN.txt", "a.en.TXT"], "are both translations of a"),
        (["é.wav", "e\u0301.txt", "é.txt"], "are both transcripts of é"),
        (["Lec1.wav", "lec1.txt"], "the files of Lec1 and lec1 differ only in capitals"),
        (["a.wav", "a.txt", "a.ogg"], "are both recordings of a"),
        (["a.sph", "a.txt", "a.en.txt"], r"a\.sph is in a form that is not read; convert it to one of \.wav"),
        (["a.RA", "a.txt"], r"a\.RA is in a form that is not read"),
        (["a.wav.part", "a.txt", "a.en.txt"], r"a\.wav\.part is a recording that was not downloaded to its end"),
        (["a.mkv.crdownload"], "was not downloaded to its end"),
        (["a.wav", "a.txt", "a.English.txt"], r"a\.English\.txt is called neither"),
        (["a.wav", "a.eng.txt"], r"a\.eng\.txt is called neither a\.txt nor a\.en\.txt, and one of these is missing"),
        (["a.wav", "a.txt", "a.en-US.txt"], r"a\.en-US\.txt is called neither"),
        (["a.wav", "a.txt", "a_en.txt"], r"a_en\.txt is called neither a\.txt nor a\.en\.txt"),
        (["a.wav", "a.txt", "a-English.txt"], r"a-English\.txt is called neither"),
        (["a.wav", "a.wav.txt"], r"a\.wav\.txt is called neither"),
        (["a.wav", "a.txt.txt"], r"a\.txt\.txt is called neither"),
        (["a.wav", "a.zh.txt", "a.zh.en.txt"], r"a\.zh\.txt is called neither"),
        (["a.wav", "a.txt", "b.en.txt"], r"b\.en\.txt has no transcript; put b\.txt beside it"),
        (["a.wav", "a.txt", "Splits.yaml"], r"Splits\.yaml would not be read; rename it to splits\.yaml"),
        (["a.wav", "a.txt", "splits.yml"], r"splits\.yml would not be read"),
        (["a.wav", "a.txt", "split.yaml"], r"split\.yaml would not be read"),
        (["a b.wav", "c d.wav"], r"'a b' cannot name a lecture.* \(and those of 1 more: 'c d'\)"),
        (["a\u200b.wav", "a.txt"], r"'a\\u200b' cannot name a lecture"),
        (["長" * 70 + ".wav"], "it has 210 bytes, and file names are limited to 200 here"),
        (
            ["a.wav", "a.txt", "a.en.txt", "a.en.wav"],
            r"'a.en' cannot name a lecture: a\.en\.txt would be a translation",
        ),
        ([], r"holds no lectures: it needs NAME\.wav"),
        (["README.txt", "notes.md", "a.srt"], r"holds no lectures: .* \(it holds README\.txt, a\.srt, notes\.md\)"),
        (["a.txt", "b.txt"], r"holds no lectures: .* \(it holds a\.txt, b\.txt\)"),
    ],
)
def test_names_that_could_be_mistaken_are_refused_in_one_line(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message) as error:
        plan_folder(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "parts", "lines"),
    [
        (
            ["a.wav", "a.txt", "a.en.txt", "a.zh.txt"],
            {"train": ["a"]},
            ["1 texts without a recording are left out: a.zh.txt"],
        ),
        (["a.wav", "a.txt", "a.raw.txt"], {"train": ["a"]}, ["1 texts without a recording are left out: a.raw.txt"]),
        (["a.wav", "a.srt"], {"decode": ["a"]}, ["a.srt is not read: give the transcript of a as plain text in a.txt"]),
        (["a.wav", "a.DOCX"], {"decode": ["a"]}, ["a.DOCX is not read: give the transcript of a as plain text"]),
        (["a.wav", "a.txt", "a.srt"], {"train": ["a"]}, ["1 files that belong to no lecture are left out: a.srt"]),
        (
            ["a.wav", "a.txt", "notes.md"],
            {"train": ["a"]},
            ["1 files that belong to no lecture are left out: notes.md"],
        ),
        (["a.wav", "a_zh.txt"], {"decode": ["a"]}, ["a_zh.txt has no recording of its name, and a no transcript"]),
        (["a.txt", "a.en.txt"], {"text": ["a"]}, ["lectures without a recording, for texts only: a"]),
        (["a.wav"], {"decode": ["a"]}, ["lectures that are only decoded, without a transcript: a"]),
        (["ab.wav", "a.txt", "a.en.txt"], {"text": ["a"], "decode": ["ab"]}, []),
    ],
)
def test_what_is_left_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: list[str], parts: dict, lines: list[str]
) -> None:
    caplog.set_level("INFO")
    assert split(touch(tmp_path, *names)) == parts
    assert all(line in caplog.text for line in lines), caplog.text
    assert not lines[1:] or len(caplog.messages) == len(lines)


def test_folders_and_links_that_are_called_like_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.wav", "a.txt")
    touch(tmp_path / "day2", "b.wav", "b.txt")
    assert split(tmp_path) == {"train": ["a"]}
    assert "1 files that belong to no lecture are left out: day2/" in caplog.text
    (tmp_path / "a.en.txt").symlink_to("nowhere.txt")
    with pytest.raises(DataError, match=r"a\.en\.txt is not a file; if it is a link, its target is missing"):
        plan_folder(tmp_path)
    (tmp_path / "a.en.txt").unlink()
    (tmp_path / "splits.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(DataError, match=r"splits\.yaml is not a file; if it is a link, its target is missing"):
        plan_folder(tmp_path)
    (tmp_path / "splits.yaml").unlink()
    (tmp_path / "a.en.txt").mkdir()
    with pytest.raises(DataError, match=r"a\.en\.txt is not a file"):
        plan_folder(tmp_path)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("train: [a.wav]", r"lecture a\.wav of splits\.yaml \(train\) has no files in .*; write a, if that is meant"),
        ("train: [a.en.txt]", "write a, if that is meant"),
        ("train: [A]", "write a, if that is meant"),
        ("train: [lecure_one]", "write lecture_one, if that is meant"),
        ("validation: [a]", r"splits\.yaml: unknown part validation; the parts are train, dev, test, text, decode"),
        ("train: [a]\ntrain: [b]", "train appears twice"),
        ("train: ['']", "cannot name a lecture"),
        ("train: [text_only]", r"lecture text_only of splits\.yaml \(train\) has no recording"),
        ("- a", "must map train"),
    ],
)
def test_splits_that_do_not_fit_the_folder(tmp_path: Path, splits: str, message: str) -> None:
    touch(tmp_path, "a.wav", "a.txt", "b.wav", "b.txt", "lecture_one.wav", "lecture_one.txt", "text_only.txt")
    (tmp_path / "splits.yaml").write_text(splits)
    with pytest.raises(DataError, match=message):
        plan_folder(tmp_path)


@pytest.mark.parametrize("seed", range(30))
def test_names_that_begin_with_another_one_are_those_of_a_comparison_of_all(seed: int) -> None:
    rng = random.Random(seed)
    names = list({"".join(rng.choices("aB1_-. ", k=rng.randint(1, 5))).strip() or "x" for _ in range(60)})
    recordings = {name: LectureFiles(recording=Path(name)) for name in names[:40]}
    recordings[names[0]] = LectureFiles(Path(names[0]), Path(names[0]))  # this one has a transcript

    def begins(long: str, short: str) -> bool:
        return long.startswith(short) and not long[len(short) : len(short) + 1].isalnum()

    untranscribed = Untranscribed(recordings)
    for text in names[40:]:
        parts = [n for n in names[1:40] if begins(n, text) or begins(text, n)]
        assert untranscribed.may_be_parts_of(text) == parts
    others = [Path(f"{rng.choice(names)}{rng.choice(['.srt', '.de.JSON', '.exe', '.Srt'])}") for _ in range(30)]
    other_texts = OtherTexts(others)
    for name in names:
        texts = [
            path.name
            for path in others
            if path.suffix.lower() in (".srt", ".json") and path.name.casefold().startswith(f"{name.casefold()}.")
        ]
        assert other_texts.of(name) == texts
