"""What the tests of transcribe use in the place of trained models, and the names of the files of a lecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.mt.translate import Sentences, Translation
from ml2021.st.output import SUFFIXES

WORDS = [TimedWord("我", 1.0, 1.2, -0.1), TimedWord("bert", 2.5, 2.9, -0.2)]


class StubRecogniser:
    """A recogniser that needs no model. Tests replace `words_of`, which may give no words."""

    name = "stub"

    @staticmethod
    def words_of(audio: Path) -> list[TimedWord]:
        return WORDS

    def digests(self) -> Mapping[str, str]:
        return {}

    def recognise(self, audio: Path) -> list[TimedWord]:
        words = self.words_of(audio)
        if not words:
            raise NoSpeechError(f"{audio}: the recogniser gives no words")
        return words


class Upper:
    """A translator that gives the source in capitals."""

    context = 0

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]:
        return [Translation(" ".join(s).upper(), -0.5) for s in sentences]


def names(out: Path) -> set[str]:
    return {p.name for p in out.iterdir() if p.is_file()} if out.is_dir() else set()


def every_file(*lectures: str) -> set[str]:
    return {f"{lecture}{suffix}" for lecture in lectures for suffix in SUFFIXES}
