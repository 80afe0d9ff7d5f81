"""Ids of utterances: the lecture that each is from, and the order of a lecture's utterances, by their numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from lhotse_prep.workflow.errors import DataError

_NUMBER = re.compile(r"-\d+-?[a-z]*$")  # the end of an utterance id that a lecture id does not have
_SEPARATOR = re.compile("[-_.:/#]")
_REST = re.compile(rf"{_SEPARATOR.pattern}(?=.*\d).+")  # what follows the id of a lecture that is known
_DIGITS = re.compile(r"(\d{1,4000})")  # Python reads no longer numbers


def lecture_of(utterance_id: str) -> str:
    """`week10_1-0003` -> `week10_1`; an id without such a number is already that of a lecture."""
    return _NUMBER.sub("", utterance_id)


def natural_order(text: str) -> list[str | int]:
    """Sorts texts by the numbers in them: lec-2 before lec-10."""
    return [int(part) if part.isdecimal() else part for part in _DIGITS.split(text)]


def utterances_by_lecture(utterance_ids: Iterable[str], lectures: Collection[str]) -> dict[str, list[str]] | None:
    """Find the utterances of each lecture: those with its id, then - _ . : / or #, and something with a number.

    With the lectures lec-1 and lec-1-2, lec-1-2-3 is of the longer one. lec-1-2 is an utterance of lec-1 if there are
    such longer ids, and otherwise the whole of lec-1-2.

    Returns:
      {lecture: ids of its utterances, in the order of their numbers}; None if an utterance is of no lecture, or a
      lecture has no utterance.
    Raises:
      DataError: two utterances of a lecture have the same number.
    """
    known = frozenset(lectures)
    groups: dict[str, list[str]] = {lecture: [] for lecture in lectures}
    for utterance_id in utterance_ids:
        if (lecture := _known_lecture(utterance_id, known)) is None:
            return None
        groups[lecture].append(utterance_id)
    for lecture in sorted(groups, key=len, reverse=True):
        shorter = _known_lecture(lecture, known - {lecture})
        if shorter is not None and lecture in groups[lecture] and len(groups[lecture]) > 1:
            groups[lecture].remove(lecture)
            groups[shorter].append(lecture)
    if not all(groups.values()):
        return None
    return {lecture: _in_order(ids, len(lecture)) for lecture, ids in groups.items()}


def _in_order(ids: Iterable[str], num_chars: int) -> list[str]:
    """Sort utterances of a lecture, whose id has num_chars characters, by number, whatever separates the numbers."""
    places = [(natural_order(_SEPARATOR.sub("-", i[num_chars:])), i) for i in ids]
    places.sort(key=lambda item: item[0])
    for (place, a), (other, b) in zip(places, places[1:]):
        if place == other:
            raise DataError(f"utterances {a} and {b} have the same number, so their order is unknown: rename one")
    return [i for _, i in places]


def _known_lecture(utterance_id: str, lectures: frozenset[str]) -> str | None:
    """The longest lecture id that the utterance id begins with."""
    for length in range(len(utterance_id), 0, -1):
        is_whole = length == len(utterance_id) or _REST.fullmatch(utterance_id, length) is not None
        if is_whole and utterance_id[:length] in lectures:
            return utterance_id[:length]
    return None
