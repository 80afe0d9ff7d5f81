"""Damage that lectures have, to their sound or to their text, with the true times kept right.

Each kind of KINDS is a function of a lecture, random numbers and other lectures. Kinds joined by `+` are applied in
that order: `room+babble-10` is babble in the room, and `three` takes a damage of time, of sound and of text by chance.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import sounds
from benchmarks.alignment_truth import Truth, without_some
from benchmarks.sounds import Samples
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.text.chinese_script import convert_script

NOT_SAID = -1
_PARAGRAPH = 150  # words
_UNSAID = 0.03  # runs of words that are not said, for each word of the text
_NEAR = 10  # words; one that is not said is unlike those so near to it, since it could be any of two that are alike
_FILLERS = 6.0  # a minute
_NUMERALS = {c: n for n, chars in enumerate(("零〇", "一", "二两兩", *"三四五六七八九")) for c in chars}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_MYRIADS = ("万", "萬")


@dataclass(frozen=True)
class Word:
    """A word of a transcript, and where it is said."""

    text: str
    utterance: int  # NOT_SAID, or its index in SpokenLecture.utterances
    is_first: bool = False  # whether the utterance begins with it, so that its start is known exactly


@dataclass(frozen=True)
class SpokenLecture:
    """A recording, when the lecturer speaks in it, and its transcript, which may be damaged."""

    id: str
    samples: Samples
    utterances: NDArray[np.float64]  # (U, 2) begin and end in seconds, ascending, disjoint
    words: tuple[Word, ...]

    @classmethod
    def of_truth(cls, name: str, samples: Samples, truth: Truth) -> SpokenLecture:
        """The lecture whose utterances and texts these are."""
        words = tuple(Word(w, i, k == 0) for i, (_, _, text) in enumerate(truth) for k, w in enumerate(text.split()))
        return cls(name, samples, np.array([[b, e] for b, e, _ in truth]), words)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Others:
    """What is taken from other lectures."""

    voices: Sequence[Samples]  # of other speakers
    texts: Sequence[Sequence[str]]  # words of other lectures


Damage = Callable[[SpokenLecture, np.random.Generator, Others], SpokenLecture]


def names_of(kind: str) -> list[str]:
    """The names of KINDS that a kind joins by `+`.

    Raises:
      ValueError: there is no such kind.
    """
    names = kind.split("+")
    for name in names:
        if name not in KINDS:
            raise ValueError(f"no damage {name!r}; there are {', '.join(KINDS)}")
    return names


def damaged(lecture: SpokenLecture, kind: str, seed: int, others: Others) -> SpokenLecture:
    """A lecture with one of KINDS, or several joined by `+`; the same seed gives the same damage.

    Raises:
      ValueError: there is no such kind.
    """
    for number, name in enumerate(names_of(kind)):
        rng = np.random.default_rng([seed, number, zlib.crc32(f"{name} {lecture.id}".encode())])
        lecture = KINDS[name](lecture, rng, others)
    return lecture


def insert(lecture: SpokenLecture, pieces: Sequence[tuple[float, Samples]]) -> SpokenLecture:
    """Insert sounds between utterances.

    Args:
      lecture: whose utterances after a place are moved.
      pieces: (seconds in the recording as it was, outside all utterances; samples to insert there).
    """
    pieces = sorted(pieces, key=lambda piece: piece[0])
    edges = [0, *(round(at * SAMPLE_RATE) for at, _ in pieces), len(lecture.samples)]
    parts = [lecture.samples[edges[0] : edges[1]]]
    for number, (_, piece) in enumerate(pieces, 1):
        parts += [piece, lecture.samples[edges[number] : edges[number + 1]]]
    times = np.array([at for at, _ in pieces])
    shifts = np.cumsum([0] + [len(piece) for _, piece in pieces]) / SAMPLE_RATE
    moved = lecture.utterances + shifts[np.searchsorted(times, lecture.utterances[:, 0], side="right")][:, None]
    return replace(lecture, samples=np.concatenate(parts).astype(np.float32), utterances=moved)


def _pauses(lecture: SpokenLecture) -> NDArray[np.float64]:
    """The middle of each pause between two utterances, in seconds."""
    return (lecture.utterances[:-1, 1] + lecture.utterances[1:, 0]) / 2


def _speech(lecture: SpokenLecture) -> NDArray[np.int64]:
    return (lecture.utterances * SAMPLE_RATE).astype(np.int64)


def _level(lecture: SpokenLecture) -> float:
    """Root mean square of the speech."""
    power = np.concatenate([lecture.samples[b:e] for b, e in _speech(lecture)]).astype(np.float64) ** 2
    return float(np.sqrt(power.mean()))


# Damage to the sound.


def noise(lecture: SpokenLecture, rng: np.random.Generator, others: Others, sound: str, snr: float) -> SpokenLecture:
    """Noise all the time; sound: babble, pink, claps or music."""
    size = len(lecture.samples)
    if sound == "babble":
        added = sounds.babble(others.voices, size, rng)
    else:
        added = {"pink": sounds.pink_noise, "claps": sounds.claps, "music": sounds.music}[sound](size, rng)
    return replace(lecture, samples=sounds.with_noise(lecture.samples, added, snr, _speech(lecture)))


def room(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """A room with a T60 of 0.3 to 0.9 s."""
    response = sounds.room_response(rng.uniform(0.3, 0.9), rng)
    return replace(lecture, samples=sounds.reverberated(lecture.samples, response))


def telephone(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """Only the band of a telephone."""
    return replace(lecture, samples=sounds.telephone(lecture.samples))


def mp3(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """MP3 at 32 kbit/s; see sounds.can_write_mp3."""
    return replace(lecture, samples=sounds.through_mp3(lecture.samples))


# Damage that moves times.


def tempo(lecture: SpokenLecture, rng: np.random.Generator, others: Others, rate: float) -> SpokenLecture:
    """Faster or slower speech at the same pitch."""
    return replace(lecture, samples=sounds.tempo(lecture.samples, rate), utterances=lecture.utterances / rate)


def asker(lecture: SpokenLecture, rng: np.random.Generator, others: Others, count: int = 5) -> SpokenLecture:
    """Another voice speaks for 3 to 8 s, at several pauses, as loud as the lecturer."""
    pauses = _pauses(lecture)
    pieces = []
    for at in rng.choice(pauses, min(count, len(pauses)), replace=False).tolist():
        voice = others.voices[int(rng.integers(len(others.voices)))]
        size = min(len(voice), round(rng.uniform(3, 8) * SAMPLE_RATE))
        begin = int(rng.integers(len(voice) - size + 1))
        question = voice[begin : begin + size]
        level = _level(lecture) / max(float(np.sqrt((question.astype(np.float64) ** 2).mean())), 1e-6)
        pieces.append((at, (level * question).astype(np.float32)))
    return insert(lecture, pieces)


def pause(lecture: SpokenLecture, rng: np.random.Generator, others: Others, minutes: float = 10.0) -> SpokenLecture:
    """A break, in which people talk 20 dB more softly than the lecturer."""
    size = round(60 * minutes * SAMPLE_RATE)
    talk = sounds.babble(others.voices, size, rng, num_voices=3)
    sound = sounds.quiet(size, lecture.samples, rng) + 0.1 * _level(lecture) * talk
    return insert(lecture, [(float(rng.choice(_pauses(lecture))), sound.astype(np.float32))])


def fillers(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """Vowels of 0.2 to 0.6 s, about _FILLERS a minute, that are not in the text."""
    level, pitch = _level(lecture), rng.uniform(100, 220)
    pauses = _pauses(lecture)
    count = min(len(pauses), max(1, round(_FILLERS * lecture.seconds / 60)))
    pieces = []
    for at in rng.choice(pauses, count, replace=False).tolist():
        vowel = 0.7 * level * sounds.filler(rng.uniform(0.2, 0.6), pitch * rng.uniform(0.9, 1.1), rng)
        after = sounds.quiet(round(rng.uniform(0.05, 0.3) * SAMPLE_RATE), lecture.samples, rng)
        pieces.append((at, np.concatenate([vowel.astype(np.float32), after])))
    return insert(lecture, pieces)


# Damage to the text.


def delete(lecture: SpokenLecture, rng: np.random.Generator, others: Others, seconds: float) -> SpokenLecture:
    """The text of a span of so many seconds, at most half of the lecture, is missing."""
    spans: Truth = [(b, e, str(i)) for i, (b, e) in enumerate(lecture.utterances.tolist())]
    kept = {int(i) for _, _, i in without_some(spans, min(seconds, spans[-1][1] / 2), rng)} | {NOT_SAID}
    return replace(lecture, words=tuple(w for w in lecture.words if w.utterance in kept))


def foreign(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """A paragraph of another lecture's text stands amid the text."""
    text = others.texts[int(rng.integers(len(others.texts)))]
    begin = int(rng.integers(max(1, len(text) - _PARAGRAPH)))
    at = _first_words(lecture)[int(rng.integers(len(_first_words(lecture))))]
    strange = tuple(Word(w, NOT_SAID) for w in text[begin : begin + _PARAGRAPH])
    return replace(lecture, words=lecture.words[:at] + strange + lecture.words[at:])


def unsaid(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """One to three words that are not said, at many places."""
    texts = [w.text for w in lecture.words]
    words: list[Word] = []
    for i, word in enumerate(lecture.words):
        if rng.random() < _UNSAID:
            near = set(texts[max(0, i - _NEAR) : i + _NEAR])
            chosen = [texts[k] for k in rng.integers(len(texts), size=rng.integers(1, 4))]
            words += [Word(text, NOT_SAID) for text in chosen if text not in near]
        words.append(word)
    return replace(lecture, words=tuple(words))


def digits(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """Numbers of two characters or more, spoken as words, are written as digits."""
    words: list[Word] = []
    i = 0
    while i < len(lecture.words):
        end = i
        while end < len(lecture.words) and _is_numeral(lecture.words[end], lecture.words[i]):
            end += 1
        number = number_of("".join(w.text for w in lecture.words[i:end])) if end - i > 1 else None
        words += lecture.words[i : max(end, i + 1)] if number is None else [replace(lecture.words[i], text=number)]
        i = max(end, i + 1)
    return replace(lecture, words=tuple(words))


def other_script(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """Simplified for Traditional characters, or the other way round where all are simplified."""
    text = " ".join(w.text for w in lecture.words)
    converted = convert_script(text, "t2s")
    if converted == text:
        converted = convert_script(text, "s2t")
    texts = converted.split()
    assert len(texts) == len(lecture.words)
    return replace(lecture, words=tuple(replace(w, text=t) for w, t in zip(lecture.words, texts)))


def exchange(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """Two paragraphs have changed places."""
    size = min(_PARAGRAPH, len(lecture.words) // 5)
    edges = [0]
    for at in _first_words(lecture):
        if at - edges[-1] >= size:
            edges.append(at)
    first, second = sorted(rng.choice(len(edges) - 1, 2, replace=False).tolist())
    (a, b), (c, d) = (edges[first : first + 2], edges[second : second + 2])
    w = lecture.words
    return replace(lecture, words=w[:a] + w[c:d] + w[b:c] + w[a:b] + w[d:])


def wrong_text(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """The text of another lecture."""
    text = others.texts[int(rng.integers(len(others.texts)))]
    return replace(lecture, words=tuple(Word(w, NOT_SAID) for w in text))


def number_of(numerals: str) -> str | None:
    """A number that Chinese characters spell, in digits: 一二三 is 123, 二十九 is 29; None: they spell none."""
    if all(c in _NUMERALS for c in numerals):
        return "".join(str(_NUMERALS[c]) for c in numerals)
    total = section = 0
    digit: int | None = None
    for c in numerals:
        if c in _NUMERALS:
            if digit:  # two digits without a unit between them
                return None
            digit = _NUMERALS[c]
        elif c in _UNITS:
            section += (1 if digit is None else digit) * _UNITS[c]
            digit = None
        else:
            total += (section + (digit or 0)) * 10_000
            section, digit = 0, None
    return str(total + section + (digit or 0))


def _is_numeral(word: Word, first: Word) -> bool:
    characters = _NUMERALS.keys() | _UNITS.keys() | set(_MYRIADS)
    return word.text in characters and word.utterance == first.utterance


def _first_words(lecture: SpokenLecture) -> list[int]:
    """Where utterances begin in the text; the whole text where none does."""
    return [i for i, w in enumerate(lecture.words) if w.is_first] or [0]


def three(lecture: SpokenLecture, rng: np.random.Generator, others: Others) -> SpokenLecture:
    """One damage of time, one of sound and one of text."""
    for names in (TIMES, SOUNDS, TEXTS):
        usable = [name for name in names if name != "mp3" or sounds.can_write_mp3()]
        lecture = KINDS[usable[int(rng.integers(len(usable)))]](lecture, rng, others)
    return lecture


_NOISES: dict[str, Damage] = {
    f"{sound}-{snr}": partial(noise, sound=sound, snr=snr)
    for sound in ("babble", "pink", "claps", "music")
    for snr in (20, 10, 5)
}
SOUNDS = (*_NOISES, "room", "telephone", "mp3")
TIMES = ("tempo-0.8", "tempo-1.25", "asker", "break", "fillers")
TEXTS = ("deleted-60", "deleted-300", "foreign", "unsaid", "digits", "script", "exchange")
KINDS: dict[str, Damage] = {
    "none": lambda lecture, rng, others: lecture,
    **_NOISES,
    "room": room,
    "telephone": telephone,
    "mp3": mp3,
    "tempo-0.8": partial(tempo, rate=0.8),
    "tempo-1.25": partial(tempo, rate=1.25),
    "asker": asker,
    "break": pause,
    "fillers": fillers,
    "deleted-60": partial(delete, seconds=60.0),
    "deleted-300": partial(delete, seconds=300.0),
    "foreign": foreign,
    "unsaid": unsaid,
    "digits": digits,
    "script": other_script,
    "exchange": exchange,
    "wrong-text": wrong_text,
    "three": three,
}
