"""Which files of a folder belong to which lecture, as people's machines name them.

Names are compared in one Unicode form (NFC), since macOS writes another one, and suffixes without regard to capitals.
Two names that a careless reader would take for one are refused.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path

from lhotse_prep.audio.convert import SUFFIXES
from lhotse_prep.corpora.source.folder import SEGMENTS, UTTERANCES
from lhotse_prep.corpora.source.splits import SPLITS
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import is_clutter
from lhotse_prep.workflow.findings import REJECTED

TRANSCRIPT, TRANSLATION = ".txt", ".en.txt"
# Sound and video in other containers: to pass over them would make text-only lectures of their texts.
_OTHER_RECORDING = re.compile(
    r"\.(3gp|aac|ac3|aiff?|amr|ape|au|avi|caf|flv|m4b|m4v|mka|mkv|mov|mp2|mpe?g|mts|og[agv]|opus|ra|sph|ts|w64|web[am]|"
    r"wm[av]|wv)",
    re.IGNORECASE,
)
_OTHER_TEXT = re.compile(
    r"\.(ass|csv|ctm|docx?|eaf|html?|json|lrc|md|odt|pages|pdf|rtf|sbv|srt|ssa|stm|sub|textgrid|tsv|ttml|vtt|xml)",
    re.IGNORECASE,
)
_DOCUMENTS = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|authors|contributing|citation)([\W_].*)?", re.IGNORECASE
)
_ENGLISH = re.compile(r"(eng?|english|trans|translations?|target|英.*)([\W_].*)?", re.IGNORECASE)
_DOWNLOAD = re.compile(r"\.(part|partial|crdownload|opdownload|download|incomplete|ytdl|tmp)", re.IGNORECASE)
_SPLITS_MISSPELT = re.compile(r"splits?\.ya?ml(\.txt)?", re.IGNORECASE)


@dataclass(frozen=True)
class LectureFiles:
    """The files of one lecture."""

    recording: Path | None = None
    transcript: Path | None = None
    translation: Path | None = None


@dataclass
class FolderContent:
    """What a folder holds; ids are in NFC."""

    lectures: dict[str, LectureFiles] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)  # files and folders that belong to no lecture


def read_folder(folder: Path) -> FolderContent:
    """The lectures of a folder. Hidden files, and what file managers leave behind, are passed over.

    Raises:
      DataError: a link without its target; two files for one thing, or two names that differ in capitals alone; a
        recording of another kind; a misspelt splits.yaml.
    """
    content = FolderContent()
    for path in sorted(folder.iterdir()):
        name = nfc(path.name)
        if name.startswith(".") or is_clutter(name):
            continue
        if _SPLITS_MISSPELT.fullmatch(name) and name != SPLITS:
            raise DataError(f"{path} would not be read; rename it to {SPLITS}")
        lecture, kind = _lecture_and_kind(name)
        if kind != "other" or name == SPLITS:
            if not path.is_file():
                raise DataError(f"{path} is not a file; if it is a link, its target is missing")
        elif _DOWNLOAD.fullmatch(path.suffix) and _lecture_and_kind(lecture)[1] == "recording":
            raise DataError(f"{path} is a recording that was not downloaded to its end; do so, or remove it")
        if kind == "other":
            if name not in (SPLITS, UTTERANCES, SEGMENTS, REJECTED, "counts.json"):
                content.others.append(path)
            continue
        files = content.lectures.get(lecture, LectureFiles())
        if earlier := getattr(files, kind):
            raise DataError(f"{earlier.name} and {path.name} are both {kind}s of {lecture}; keep one")
        content.lectures[lecture] = replace(files, **{kind: path})
    _require_different(content.lectures)
    for recording in (files.recording for files in content.lectures.values() if files.recording):
        if recording.suffix.lower() not in SUFFIXES:
            raise DataError(f"{recording} is in a form that is not read; convert it to one of {', '.join(SUFFIXES)}")
    return content


def is_document(name: str) -> bool:
    """True for the names of texts about a corpus, such as README, which are lectures only if splits.yaml lists them."""
    return _DOCUMENTS.fullmatch(name) is not None


def nfc(name: str) -> str:
    """A name in the Unicode form of ids."""
    return unicodedata.normalize("NFC", name)


class OtherTexts:
    """Files of a folder that may hold the transcript of a lecture in another form, such as subtitles."""

    def __init__(self, others: Iterable[Path]) -> None:
        self._names: dict[str, list[str]] = {}  # {what may name the lecture, folded: file names}
        for path in others:
            if _OTHER_TEXT.fullmatch(path.suffix):
                folded = nfc(path.name).casefold()
                for end in (i for i, c in enumerate(folded) if c == "."):
                    self._names.setdefault(folded[:end], []).append(path.name)

    def of(self, lecture: str) -> list[str]:
        """The names of those that begin with the lecture's name and a dot."""
        return self._names.get(lecture.casefold(), [])


def may_be_text_of(text: str, lectures: Mapping[str, LectureFiles]) -> str | None:
    """The lecture whose name, followed by a dot, begins the name of a text, if it lacks that text; else None.

    lec.eng.txt may be the translation of lec, and lec.wav.txt its transcript; so may lec_en.txt and lec-en.txt, unless
    they have a translation of their own.
    """
    separators = "." if lectures[text].translation else "._-"
    for length in (i for i in range(len(text) - 1, 0, -1) if text[i] in separators):
        lecture, ending = text[:length], text[length + 1 :]
        files = lectures.get(lecture, LectureFiles())
        lacks_transcript = text[length] == "." and files.recording is not None and files.transcript is None
        lacks_translation = files.transcript is not None and files.translation is None
        if lacks_transcript or (lacks_translation and _ENGLISH.fullmatch(ending)):
            return lecture
    return None


class Untranscribed:
    """The recordings without a transcript in a folder."""

    def __init__(self, lectures: Mapping[str, LectureFiles]) -> None:
        names = [name for name, files in lectures.items() if files.recording and not files.transcript]
        self._place = {name: i for i, name in enumerate(names)}
        self._sorted = sorted(names)

    def may_be_parts_of(self, text: str) -> list[str]:
        """Those whose names begin with that of a text, or the other way round.

        The names must part where a word ends: lec_part1 and lec_part2 may be recordings of lec.txt, lecture not.
        """
        longer = takewhile(
            lambda name: name.startswith(text), islice(self._sorted, bisect_left(self._sorted, text), None)
        )
        names = [name for name in longer if not name[len(text) : len(text) + 1].isalnum()]
        ends = (i for i in range(1, len(text)) if not text[i].isalnum())
        names += [text[:end] for end in ends if text[:end] in self._place]
        return sorted(names, key=self._place.__getitem__)


def _lecture_and_kind(name: str) -> tuple[str, str]:
    """(lecture, field of LectureFiles) of a file name; the field is "other" for a file of no lecture."""
    lower = name.lower()
    for suffix, kind in ((TRANSLATION, "translation"), (TRANSCRIPT, "transcript")):
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return name[: -len(suffix)], kind
    path = Path(name)
    is_recording = path.suffix.lower() in SUFFIXES or _OTHER_RECORDING.fullmatch(path.suffix)
    return (path.stem, "recording") if is_recording else (path.stem, "other")


def _require_different(lectures: Iterable[str]) -> None:
    """Raise DataError if two names differ in capitals alone."""
    first: dict[str, str] = {}
    for lecture in lectures:
        earlier = first.setdefault(nfc(lecture.casefold()), lecture)
        if earlier != lecture:
            raise DataError(
                f"the files of {earlier} and {lecture} differ only in capitals; give the files of one lecture one name"
            )
