"""Makes the mini corpus: a bilingual grammar writes the lectures, and espeak-ng speaks them. Nothing is downloaded.

The lectures have the form of real ones (a long recording, one transcript, one translation, no times). A separate folder
holds the truth: the times and the translation of each sentence. Only scoring may read it.
"""

from __future__ import annotations

import logging
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Voice
from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.mini.grammar import Phrase
from lhotse_prep.corpora.mini.rules import make_grammar, rare_words
from lhotse_prep.corpora.mini.speech import planned_seconds, speak_lectures
from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_json, write_text

logger = logging.getLogger(__name__)

# The voices of dev and test lie within the range of the training voices.
_TRAIN_VOICES = (
    Voice("m3", 225, 40, 50),
    Voice("f1", 240, 55, 55),
    Voice("m1", 250, 30, 45),
    Voice("m6", 230, 55, 60),
    Voice("f1", 220, 35, 45),
    Voice("m4", 245, 50, 50),
)
_DEV_VOICE = Voice("f1", 230, 46, 50)
_TEST_VOICE = Voice("m3", 235, 45, 52)
_TEXT_RATE = 235  # words a minute, to plan the length of a lecture that is not spoken
_TOKEN = re.compile(r"[a-z0-9'-]+|[^a-z0-9\s]")
_MIN_TOKENS, _MAX_TOKENS = 4, 30
_MAX_DRAWS = 5000  # attempts at one sentence
_CANDIDATES = 6  # sentences drawn for each training sentence; the best one is used
_RARE_COUNT = 3  # a rare word occurs at most this often in the spoken training lectures


@dataclass(frozen=True)
class Sentence:
    """A sentence in both languages; `spoken` is the transcript with "," where the speaker pauses."""

    spoken: str
    english: str

    @property
    def tokens(self) -> list[str]:
        """The transcript's characters and English words."""
        return [t for t in self.spoken.split() if t != ","]

    @property
    def transcript(self) -> str:
        """The tokens separated by spaces."""
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Lecture:
    """The texts of a lecture; `voice` is None if it is not spoken."""

    name: str
    part: str  # train, dev, test, text
    voice: Voice | None
    sentences: tuple[Sentence, ...]


def make_mini(out_dir: Path, truth_dir: Path, config: MiniConfig) -> None:
    """Write the corpus.

    Args:
      out_dir: gets NAME.wav, NAME.txt, NAME.en.txt and splits.yaml.
      truth_dir: gets NAME.json, [[start in seconds, end, "tokens"], ...], and NAME.tsv, "tokens<TAB>English", both with
        one entry per sentence.
      config: size, limits and seed.
    Raises:
      DataError: espeak-ng fails, or the grammar cannot meet the configuration.
    """
    lectures = make_lectures(config)
    out_dir.mkdir(parents=True, exist_ok=True)
    for lecture in lectures:
        write_text(out_dir / f"{lecture.name}.txt", " ".join(s.transcript for s in lecture.sentences) + "\n")
        write_text(out_dir / f"{lecture.name}.en.txt", " ".join(s.english for s in lecture.sentences) + "\n")
        rows = "".join(f"{s.transcript}\t{s.english}\n" for s in lecture.sentences)
        write_text(truth_dir / f"{lecture.name}.tsv", rows)
    seconds = _speak(out_dir, truth_dir, lectures, config)
    parts = {part: [x.name for x in lectures if x.part == part] for part in ("train", "dev", "test", "text")}
    write_text(out_dir / "splits.yaml", "".join(f"{part}: [{', '.join(names)}]\n" for part, names in parts.items()))
    chars, terms = token_counts(s for x in lectures for s in x.sentences)
    logger.info(
        "mini corpus: %d lectures, %.1f min spoken, %d sentences, %d different characters, %d different English words",
        len(lectures),
        seconds / 60,
        sum(len(x.sentences) for x in lectures),
        len(chars),
        len(terms),
    )


def _speak(out_dir: Path, truth_dir: Path, lectures: Sequence[Lecture], config: MiniConfig) -> float:
    """Write recordings and sentence times; returns the seconds of speech."""
    import soundfile

    spoken = [x for x in lectures if x.voice is not None]
    limits = (config.min_minutes * 60, config.max_minutes * 60)
    jobs = [([s.spoken for s in x.sentences], x.voice, config.seed * 1000 + i, limits) for i, x in enumerate(spoken)]
    seconds = 0.0
    for lecture, sound in zip(spoken, speak_lectures(jobs, config.num_workers)):  # type: ignore[arg-type]
        with whole_file(out_dir / f"{lecture.name}.wav", "wb") as f:
            soundfile.write(f, sound.samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        times = [[round(a, 4), round(b, 4), s.transcript] for (a, b), s in zip(sound.times, lecture.sentences)]
        write_json(truth_dir / f"{lecture.name}.json", times)
        seconds += len(sound.samples) / SAMPLE_RATE
    return seconds


def make_lectures(config: MiniConfig) -> list[Lecture]:
    """Write the texts of all lectures; the same configuration gives the same texts.

    No sentence of dev or test occurs in another part, not even with another filler before it; all its characters and
    English words occur in the spoken training lectures.
    """
    writer = _Writer(config)
    lectures = []
    for i in range(config.num_train):
        lectures.append(writer.lecture(f"lecture{i + 1:02d}", "train", _TRAIN_VOICES[i % len(_TRAIN_VOICES)]))
    for part, voice in (("dev", _DEV_VOICE), ("test", _TEST_VOICE)):
        lectures.append(writer.lecture(f"lecture{len(lectures) + 1:02d}", part, voice))
    for i in range(config.num_text_lectures):
        lectures.append(writer.lecture(f"text{i + 1:02d}", "text", None))
    return lectures


def token_counts(sentences: Iterable[Sentence]) -> tuple[Counter[str], Counter[str]]:
    """How often each character and each English word occurs in transcripts."""
    chars, words = Counter[str](), Counter[str]()
    for sentence in sentences:
        for token in sentence.tokens:
            (chars if is_han(token) else words)[token] += 1
    return chars, words


class _Writer:
    """Draws sentences from the grammar and keeps the parts disjoint."""

    def __init__(self, config: MiniConfig) -> None:
        self._grammar, self._rng, self._config = make_grammar(), random.Random(config.seed), config
        self._rare = rare_words(self._grammar)
        self._part_of: dict[str, str] = {}  # {Mandarin sentence without its filler: part}
        self._counts = {part: Counter[str]() for part in ("train", "dev", "test", "text")}  # of tokens so far

    def lecture(self, name: str, part: str, voice: Voice | None) -> Lecture:
        """Draw sentences until the lecture has a duration well within the limits."""
        low, high = self._config.min_minutes * 60, self._config.max_minutes * 60
        target_seconds = self._rng.uniform(low + (high - low) * 0.4, high - (high - low) * 0.25)
        rate = voice.rate if voice else _TEXT_RATE
        sentences: list[Sentence] = []
        seconds = 0.0
        while seconds < target_seconds:
            sentences.append(self._next(part))
            seconds += planned_seconds(sentences[-1].spoken, rate)
        return Lecture(name, part, voice, tuple(sentences))

    def _next(self, part: str) -> Sentence:
        """The next sentence; for training, the candidate whose tokens have been used least so far."""
        candidates = [self._draw(part) for _ in range(_CANDIDATES if part in ("train", "text") else 1)]
        phrase, core = max(candidates, key=lambda c: self._novelty(part, to_sentence(c[0])))
        sentence = to_sentence(phrase)
        self._part_of.setdefault(core, part)
        self._grammar.count(phrase)
        self._counts[part].update(sentence.tokens)
        return sentence

    def _novelty(self, part: str, sentence: Sentence) -> float:
        """Higher for a sentence whose tokens have been used less in a part."""
        counts = self._counts[part]
        return math.fsum((1 + counts[t]) ** -1.5 for t in set(sentence.tokens)) / len(sentence.tokens)  # in any order

    def _draw(self, part: str) -> tuple[Phrase, str]:
        """A sentence that is allowed in a part, and its Mandarin side without the filler before it."""
        for _ in range(_MAX_DRAWS):
            plain = self._grammar.draw("S", self._rng)
            phrase = self._grammar.draw("TALK", self._rng, {"S": plain})
            if self._is_allowed(to_sentence(phrase), plain.mandarin, part):
                return phrase, plain.mandarin
        raise DataError(
            f"the grammar has no more new sentences for {part}; raise min_minutes or num_train, "
            "or lower min_char_count and min_term_count"
        )

    def _is_allowed(self, sentence: Sentence, core: str, part: str) -> bool:
        tokens, train_counts = sentence.tokens, self._counts["train"]
        if not _MIN_TOKENS <= len(tokens) <= _MAX_TOKENS or self._part_of.get(core) in ("dev", "test"):
            return False
        if part == "train":
            return all(train_counts[t] < _RARE_COUNT for t in tokens if t in self._rare)
        if part == "text":
            return True
        min_counts = (self._config.min_term_count, self._config.min_char_count)
        return core not in self._part_of and all(train_counts[t] >= min_counts[is_han(t)] for t in tokens)


def to_sentence(phrase: Phrase) -> Sentence:
    """The spoken and the English side of a phrase of the start symbol, in their final form."""
    english = " ".join(phrase.english.split())
    return Sentence(" ".join(_TOKEN.findall(phrase.mandarin)), english[0].upper() + english[1:])
