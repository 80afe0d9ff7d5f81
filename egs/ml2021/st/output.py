"""Write the cascade's files of a lecture: subtitles, bilingual and in each language, and all details as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse_prep.text.normalize import remove_han_spaces
from lhotse_prep.workflow.files import write_jsonl
from ml2021.st.config import SubtitleConfig
from ml2021.st.sentences import Sentence
from ml2021.st.subtitles import TranslatedSentence, make_cues, write_subtitles

SUFFIXES = (".srt", ".vtt", ".zh.srt", ".zh.vtt", ".en.srt", ".en.vtt", ".jsonl")  # after the lecture's name


@dataclass(frozen=True)
class Segment:
    """A sentence with its translation, and the mean log-probability of the translation's pieces."""

    sentence: Sentence
    target: str
    score: float


def write_lecture(
    lecture: str, segments: Sequence[Segment], folder: Path, config: SubtitleConfig, duration: float
) -> None:
    """Write LECTURE with each of SUFFIXES: bilingual subtitles, those of each language, and a JSON line per sentence.

    A line has start, end (seconds), source, target, words ([text, start, end] each), word_scores
    (the recogniser's, probabilities) and translation_score (mean log-probability of a piece).

    Args:
      lecture: its name.
      segments: its sentences, in order of time.
      folder: where the files go.
      config: limits of the subtitles.
      duration: of the recording, in seconds; no subtitle is shown longer.
    """
    both = [
        TranslatedSentence(
            s.sentence.start, s.sentence.end, written(s.sentence.tokens), s.target, words=s.sentence.words
        )
        for s in segments
    ]
    for language, sentences in (
        ("", both),
        (".zh", [replace(s, target="") for s in both]),
        (".en", [replace(s, source="") for s in both]),
    ):
        write_subtitles(make_cues(sentences, config, duration), folder, f"{lecture}{language}")
    rows = [
        {
            "start": round(t.start, 3),
            "end": round(t.end, 3),
            "source": t.source,
            "target": t.target,
            "words": [[w[0], round(w[1], 3), round(w[2], 3)] for w in s.sentence.words],
            "word_scores": [round(score, 4) for score in s.sentence.scores],
            "translation_score": round(s.score, 4),
        }
        for t, s in zip(both, segments, strict=True)
    ]
    write_jsonl(folder / f"{lecture}.jsonl", rows)


def written(tokens: Sequence[str]) -> str:
    """Join tokens with spaces as in ordinary writing: none between Chinese characters, one around English words."""
    return remove_han_spaces(" ".join(tokens))
