"""What the lectures of a user's folder are used for, by their files and by splits.yaml.

A lecture is a recording (NAME.wav or another suffix of SUFFIXES) with NAME.txt and NAME.en.txt. Without a translation
it is for the recogniser only; without texts it is only decoded. Both texts without a recording are for sentence pairs
and language models, as is a transcript alone if splits.yaml lists it. That file, which may be missing, assigns lectures
to parts.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from lhotse_prep.audio.convert import READ_AS_IS, SUFFIXES
from lhotse_prep.corpora.lecture_files import (
    TRANSCRIPT,
    TRANSLATION,
    FolderContent,
    LectureFiles,
    OtherTexts,
    Untranscribed,
    is_document,
    may_be_text_of,
    read_folder,
)
from lhotse_prep.corpora.source.splits import DECODE, SPLITS, TEXT_ONLY, check_lecture_name, default_splits, read_splits
from lhotse_prep.workflow.errors import DataError, list_names

logger = logging.getLogger(__name__)
Splits = dict[str, list[str]]


def plan_folder(folder: Path) -> tuple[dict[str, LectureFiles], Splits]:
    """Find the lectures of a folder and the part of each one, and log what is left out.

    Returns:
      {lecture: its files} and {part: lectures}.
    Raises:
      DataError: no lectures, a lecture of splits.yaml without its files, a translation without transcript, two
        recordings of one lecture, a name that cannot be used, a text whose name is nearly that of a lecture.
    """
    content = read_folder(folder)
    lectures = content.lectures
    for name, files in lectures.items():
        if files.translation and not files.transcript and not is_document(name):
            raise DataError(f"{files.translation.name} has no transcript; put {name}.txt beside it in {folder}")
    splits = _read_splits(folder, lectures) if (folder / SPLITS).is_file() else _default_splits(lectures)
    listed = [name for names in splits.values() for name in names]
    _log_texts_in_doubt(content, set(listed) if (folder / SPLITS).is_file() else ())
    if not listed:
        raise DataError(_no_lectures(folder, content))
    _check_names(listed)
    if left_out := sorted({name for name, files in lectures.items() if files.recording} - set(listed)):
        logger.warning("%d lectures are not in %s and are left out: %s", len(left_out), SPLITS, list_names(left_out))
    _log_left_out(content, set(listed))
    if splits[DECODE]:
        logger.info("lectures that are only decoded, without a transcript: %s", list_names(splits[DECODE]))
    if splits[TEXT_ONLY]:
        logger.info("lectures without a recording, for texts only: %s", list_names(splits[TEXT_ONLY]))
    return lectures, splits


def is_in_form(lectures: Mapping[str, LectureFiles], splits: Splits) -> bool:
    """True if the files of a folder are called exactly as those of a source folder."""
    for name in (name for names in splits.values() for name in names):
        files = lectures[name]
        names = {p.name for p in (files.recording, files.transcript, files.translation) if p}
        if not names <= {f"{name}{suffix}" for suffix in (*READ_AS_IS, TRANSCRIPT, TRANSLATION)}:
            return False
    return True


def _default_splits(lectures: Mapping[str, LectureFiles]) -> Splits:
    """{part: lectures} of a folder without splits.yaml."""
    recorded = {name: files for name, files in lectures.items() if files.recording}
    splits = default_splits(sorted(name for name, files in recorded.items() if files.transcript))
    texts = (name for name, files in lectures.items() if not files.recording and files.transcript and files.translation)
    splits[TEXT_ONLY] = sorted(name for name in texts if not is_document(name))
    splits[DECODE] = sorted(name for name, files in recorded.items() if not files.transcript)
    return splits


def _read_splits(folder: Path, lectures: Mapping[str, LectureFiles]) -> Splits:
    """{part: lectures} of splits.yaml; each lecture has the files that its part needs."""
    splits = read_splits(folder / SPLITS)
    for part, names in splits.items():
        for name in names:
            files = lectures.get(name, LectureFiles())
            where = f"lecture {name} of {SPLITS} ({part}) has no"
            if name not in lectures and (near := _nearest(name, lectures)):
                raise DataError(f"{where} files in {folder}; write {near}, if that is meant")
            if part != DECODE and not files.transcript:
                raise DataError(
                    f"{where} transcript {name}.txt in {folder}; "
                    f"add it, or list the lecture under {DECODE} to decode it only"
                )
            if part != TEXT_ONLY and not files.recording:
                raise DataError(f"{where} recording in {folder}; add it")
    if not any(splits.values()):
        raise DataError(f"{folder / SPLITS} lists no lecture; list some, or remove the file to split by lecture")
    return splits


def _nearest(name: str, lectures: Mapping[str, LectureFiles]) -> str | None:
    """The lecture whose file is called `name`, or whose name is nearly the same; None if there is none."""
    for suffix in (TRANSLATION, TRANSCRIPT, *SUFFIXES):
        stem = name[: -len(suffix)]
        if name.lower().endswith(suffix) and stem in lectures:
            return stem
    folded = {lecture.casefold(): lecture for lecture in lectures}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.9)
    return folded[near[0]] if near else None


def _log_texts_in_doubt(content: FolderContent, listed: Container[str]) -> None:
    """Log texts that may belong to a recording with nearly the same name; `listed` are the lectures of splits.yaml.

    Raises:
      DataError: NAME.SOMETHING.txt, where the lecture NAME lacks a text.
    """
    lectures, untranscribed, other_texts = content.lectures, Untranscribed(content.lectures), OtherTexts(content.others)
    for name, files in lectures.items():
        if files.recording or files.transcript is None:
            continue
        if name not in listed and (lecture := may_be_text_of(name, lectures)):
            raise DataError(
                f"{files.transcript} is called neither {lecture}{TRANSCRIPT} nor {lecture}{TRANSLATION}, and one of "
                f"these is missing; rename it if it is a text of {lecture}, or move it away"
            )
        if parts := untranscribed.may_be_parts_of(name):
            logger.warning(
                "%s has no recording of its name, and %s no transcript: each recording needs its own",
                files.transcript.name,
                list_names(parts),
            )
    for name, files in lectures.items():
        if files.recording and not files.transcript and (texts := other_texts.of(name)):
            logger.warning(
                "%s is not read: give the transcript of %s as plain text in %s.txt; without it, %s is only decoded",
                texts[0],
                *[name] * 3,
            )


def _check_names(names: Sequence[str]) -> None:
    """Raise DataError if there are names that lectures cannot have; the message lists them."""
    errors = {}
    for name in names:
        try:
            check_lecture_name(name)
        except DataError as e:
            errors[name] = e
    if errors:
        first, *others = errors
        more = f" (and those of {len(others)} more: {list_names([repr(name) for name in others])})" if others else ""
        raise DataError(f"{errors[first]}{more}")


def _log_left_out(content: FolderContent, listed: Container[str]) -> None:
    names = [path.name + "/" * path.is_dir() for path in content.others]
    texts = [
        path.name
        for name, files in content.lectures.items()
        if not files.recording and name not in listed
        for path in (files.transcript, files.translation)
        if path
    ]
    if names:
        logger.warning("%d files that belong to no lecture are left out: %s", len(names), list_names(names))
    if texts:
        logger.warning(
            "%d texts without a recording are left out: %s; such a lecture needs both texts, or a place in %s under %s",
            len(texts),
            list_names(texts),
            SPLITS,
            TEXT_ONLY,
        )


def _no_lectures(folder: Path, content: FolderContent) -> str:
    """The message about a folder without lectures."""
    needs = f"NAME.wav (or {', '.join(s[1:] for s in SUFFIXES[1:])}), NAME{TRANSCRIPT}, NAME{TRANSLATION}"
    names = [path.name for path in content.others]
    names += [files.transcript.name for files in content.lectures.values() if files.transcript]
    return f"{folder} holds no lectures: it needs {needs} (it holds {list_names(sorted(names)) or 'nothing'})"
