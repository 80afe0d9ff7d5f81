"""The mini corpus: lectures made here, written by a bilingual grammar and spoken by espeak-ng. Nothing is downloaded.

It has the form of real lectures (a long recording, one transcript, one translation, no times) and, apart from them, the
truth: times of each sentence and its translation. Only scoring may read the truth.
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.corpora.mini.grammar import Phrase
from lhotse_prep.corpora.mini.rules import make_grammar, rare_words
from lhotse_prep.corpora.mini.speech import SAMPLE_RATE, Voice, planned_seconds, speak_lectures
from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import whole_file, write_json, write_text

logger = logging.getLogger(__name__)

# Those of dev and test lie within the range of the others.
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
_TEXT_RATE = 235  # to plan the length of a lecture that is not spoken
_TOKEN = re.compile(r"[a-z0-9'-]+|[^a-z0-9\s]")
_MIN_TOKENS, _MAX_TOKENS = 4, 30
_MAX_DRAWS = 5000  # for one sentence
_CANDIDATES = 6  # training sentences that are drawn for one that is taken
_RARE_COUNT = 3  # a rare word occurs at most so often in the spoken training lectures


@dataclass(frozen=True)
class MiniConfig:
    """The mini corpus. The defaults make the full one: 48 minutes of speech, 24 text-only lectures."""

    seed: int = 1
    num_train: int = 6  # spoken training lectures; dev and test are one each
    num_text_lectures: int = 24  # transcript and translation only
    min_minutes: float = 5.0  # of a lecture
    max_minutes: float = 7.0
    min_char_count: int = 3  # a character of dev or test occurs at least so often in the spoken training lectures
    min_term_count: int = 2  # the same for an English word
    num_workers: int = 2  # processes that speak

    def __post_init__(self) -> None:
        if self.num_train < 1 or self.num_text_lectures < 0 or self.num_workers < 1:
            raise ConfigError("num_train and num_workers must be >= 1, num_text_lectures >= 0")
        if not 0.2 <= self.min_minutes <= 0.9 * self.max_minutes:
            raise ConfigError("min_minutes must be >= 0.2 and at most 0.9 of max_minutes")
        if self.min_char_count < 0 or self.min_term_count < 0:
            raise ConfigError("min_char_count and min_term_count must be >= 0")


@dataclass(frozen=True)
class Sentence:
    """One sentence in both languages; `spoken` is the transcript with "," where the speaker pauses."""

    spoken: str
    english: str

    @property
    def tokens(self) -> list[str]:
        """The transcript: characters and English words."""
        return [t for t in self.spoken.split() if t != ","]

    @property
    def transcript(self) -> str:
        """The tokens separated by spaces."""
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Lecture:
    """The text of a lecture; `voice` is None where it is not spoken."""

    name: str
    part: str  # train, dev, test, text
    voice: Voice | None
    sentences: tuple[Sentence, ...]


def make_mini(out_dir: Path, truth_dir: Path, config: MiniConfig) -> None:
    """Write the corpus.

    Args:
      out_dir: gets NAME.wav, NAME.txt, NAME.en.txt and splits.yaml.
      truth_dir: gets NAME.json, [[start_s, end_s, "tokens"], ...], and NAME.tsv, "tokens<TAB>English", one a sentence.
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
    """Write recordings and sentence times; returns the seconds spoken."""
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
    """Write the texts of all lectures, the same each time for the same configuration.

    No sentence of dev or test is a sentence of another part, whatever filler it begins with; their characters and
    English words are known from the spoken training lectures.
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
    """Draws sentences and keeps the parts apart."""

    def __init__(self, config: MiniConfig) -> None:
        self._grammar, self._rng, self._config = make_grammar(), random.Random(config.seed), config
        self._rare = rare_words(self._grammar)
        self._part_of: dict[str, str] = {}  # a sentence without its filler -> where it occurs
        self._counts = {part: Counter[str]() for part in ("train", "dev", "test", "text")}  # tokens written so far

    def lecture(self, name: str, part: str, voice: Voice | None) -> Lecture:
        """Draw sentences for a duration that lies well within the limits."""
        low, high = self._config.min_minutes * 60, self._config.max_minutes * 60
        wanted = self._rng.uniform(low + (high - low) * 0.4, high - (high - low) * 0.25)
        rate = voice.rate if voice else _TEXT_RATE
        sentences: list[Sentence] = []
        seconds = 0.0
        while seconds < wanted:
            sentences.append(self._next(part))
            seconds += planned_seconds(sentences[-1].spoken, rate)
        return Lecture(name, part, voice, tuple(sentences))

    def _next(self, part: str) -> Sentence:
        """The next sentence. For training, of a few drawn ones that whose tokens were used least so far."""
        drawn = [self._draw(part) for _ in range(_CANDIDATES if part in ("train", "text") else 1)]
        phrase, core = max(drawn, key=lambda d: self._novelty(part, to_sentence(d[0])))
        sentence = to_sentence(phrase)
        self._part_of.setdefault(core, part)
        self._grammar.count(phrase)
        self._counts[part].update(sentence.tokens)
        return sentence

    def _novelty(self, part: str, sentence: Sentence) -> float:
        counts = self._counts[part]
        return sum((1 + counts[t]) ** -1.5 for t in set(sentence.tokens)) / len(sentence.tokens)

    def _draw(self, part: str) -> tuple[Phrase, str]:
        """A sentence that may stand in a part, and its Mandarin side without the filler at its start."""
        for _ in range(_MAX_DRAWS):
            plain = self._grammar.draw("S", self._rng)
            phrase = self._grammar.draw("TALK", self._rng, {"S": plain})
            if self._may_stand(to_sentence(phrase), plain.mandarin, part):
                return phrase, plain.mandarin
        raise DataError(
            f"the grammar has no more new sentences for {part}: raise min_minutes or num_train, "
            "or lower min_char_count and min_term_count"
        )

    def _may_stand(self, sentence: Sentence, core: str, part: str) -> bool:
        tokens, known = sentence.tokens, self._counts["train"]
        if not _MIN_TOKENS <= len(tokens) <= _MAX_TOKENS or self._part_of.get(core) in ("dev", "test"):
            return False
        if part == "train":
            return all(known[t] < _RARE_COUNT for t in tokens if t in self._rare)
        if part == "text":
            return True
        limits = (self._config.min_term_count, self._config.min_char_count)
        return core not in self._part_of and all(known[t] >= limits[is_han(t)] for t in tokens)


def to_sentence(phrase: Phrase) -> Sentence:
    """A phrase of the start symbol as it is spoken and as it is subtitled."""
    english = " ".join(phrase.english.split())
    return Sentence(" ".join(_TOKEN.findall(phrase.mandarin)), english[0].upper() + english[1:])
