"""Checks of transcripts and translations that need no audio: of one pair, of one part, and of parts that share text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from lhotse_prep.corpora.source.splits import TEXT_ONLY
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.findings import Finding

_CHINESE = 0.5  # share of Chinese characters among characters and words, above which a text is Chinese
_SOME_CHINESE = 0.3  # the same, above which a translation is worth a warning
_MIN_WORDS = 6  # Chinese characters and words; a shorter translation may be a name or a term in Chinese
_RUN = 8  # tokens; lectures of one speaker share few runs as long as this
_MIN_TOKENS = 40  # shorter texts, such as utterances, can be the same by chance
_MANY_SHARED = 0.1  # share of runs that is worth a warning; 0.2 is left if every fifth or sixth token was changed
_REMEDY_EMPTY = "give it its transcript, or put the recording under decode in splits.yaml"


@dataclass(frozen=True)
class Text:
    """A transcript and a translation, which may be empty."""

    id: str
    part: str  # train, dev, test, or text for those without a recording
    transcript: str  # normalised
    translation: str = ""

    @property
    def kind(self) -> str:
        """What `id` names in messages."""
        return "lecture" if self.part == TEXT_ONLY else "supervision"


def check_pair(name: str, part: str, text: str, translation: str) -> list[Finding]:
    """Faults of a transcript and its translation: empty, swapped, the same, or a translation in Chinese.

    Args:
      name: id of the supervision or text-only lecture.
      part: train, dev, test or text.
      text: the transcript, normalised or not.
      translation: may be empty.
    """
    kind = Text(name, part, text).kind
    share, translated = han_share(text), han_share(translation)

    def finding(check: str, message: str, remedy: str, is_error: bool = True) -> list[Finding]:
        return [Finding(check, kind, name, part, message, remedy, is_error)]

    if not normalize_transcript(text):
        return finding("empty-text", "its text is empty, or punctuation alone", _REMEDY_EMPTY)
    if translated > _CHINESE and share < 1 - _CHINESE:
        message = f"{translated:.0%} of its translation is Chinese and {share:.0%} of its transcript"
        return finding("swapped", message, "transcript and translation are swapped: exchange them")
    if share > 0 and normalize_transcript(text) == normalize_transcript(translation):
        return finding("same-text", "its translation is its transcript", "give it its English translation")
    if len(_words(translation)) < _MIN_WORDS or translated <= _SOME_CHINESE:
        return []
    message = f"{translated:.0%} of its translation is Chinese"
    return finding("chinese-translation", message, "give it its English translation", translated > _CHINESE)


def check_languages(texts: Sequence[Text]) -> list[Finding]:
    """A warning for each long transcript without Chinese where most are Chinese: it may be the translation."""
    long_texts = [t for t in texts if len(t.transcript.split()) >= _MIN_TOKENS]
    if len(long_texts) < 3 or median(han_share(t.transcript) for t in long_texts) < _CHINESE:
        return []
    message, remedy = "its transcript has no Chinese, others have", "is it its translation?"
    return [
        Finding("no-chinese", t.kind, t.id, t.part, message, remedy, is_error=False)
        for t in long_texts
        if han_share(t.transcript) == 0
    ]


def check_same_texts(texts: Sequence[Text]) -> list[Finding]:
    """A warning for each long transcript that is that of an earlier recording of its part."""
    first: dict[tuple[str, str], str] = {}
    findings = []
    for t in texts:
        if len(t.transcript.split()) >= _MIN_TOKENS:
            other = first.setdefault((t.part, t.transcript), t.id)
            if other != t.id:
                message = f"its transcript is that of {other}"
                remedy = "one of them has the text of the other, or keep one"
                findings.append(Finding("same-transcript", t.kind, t.id, t.part, message, remedy, is_error=False))
    return findings


def check_shared_texts(texts: Sequence[Text], max_shared: float) -> list[Finding]:
    """Texts that are, or largely are, texts of a part for evaluation: an error above max_shared, else a warning.

    A text of test must be in no other part, one of dev not in what is trained on. Two texts are compared by their runs
    of eight tokens, in Simplified characters; the share is that of the shorter one. Translations are compared likewise.
    """
    findings: dict[tuple[str, str], Finding] = {}
    for what, contents in (("text", _transcripts(texts)), ("translation", _translations(texts))):
        for part, others in ((("train", TEXT_ONLY), ("dev", "test")), (("dev",), ("test",))):
            index = _Runs({key: tokens for key, tokens in contents.items() if key[0] in others})
            for key, tokens in contents.items():
                if key[0] not in part or key in findings:
                    continue
                share, (other_part, other) = index.most_shared(tokens)
                if share >= _MANY_SHARED:
                    findings[key] = _shared(key, what, share, other_part, other, share > max_shared)
    return list(findings.values())


def han_share(text: str) -> float:
    """Share of Chinese characters among the Chinese characters and other words of a text; 0 if it has none."""
    words = _words(text)
    return sum(is_han(w[0]) for w in words) / len(words) if words else 0.0


def _words(text: str) -> list[str]:
    """Chinese characters and other words, those of letters."""
    return [w for w in normalize_transcript(text).split() if w[0].isalpha()]


class _Runs:
    """The runs of tokens of some texts, to find the one that shares most of them with another text."""

    def __init__(self, texts: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self._texts_with: dict[int, list[tuple[str, str]]] = {}
        self._num_runs: dict[tuple[str, str], int] = {}
        for key, tokens in texts.items():
            runs = set(_runs(tokens))
            self._num_runs[key] = len(runs)
            for run in runs:
                self._texts_with.setdefault(run, []).append(key)

    def most_shared(self, tokens: Sequence[str]) -> tuple[float, tuple[str, str]]:
        """The share of runs, and (part, id) of the text that has it."""
        num_shared: dict[tuple[str, str], int] = {}
        runs = set(_runs(tokens)) if self._texts_with else set()
        for run in runs:
            for key in self._texts_with.get(run, ()):
                num_shared[key] = num_shared.get(key, 0) + 1
        shares = ((n / min(len(runs), self._num_runs[key]), key) for key, n in num_shared.items())
        return max(shares, default=(0.0, ("", "")))


def _runs(tokens: Sequence[str]) -> Iterator[int]:
    """A hash of each run of tokens; of the whole text if it is shorter."""
    return (hash(tuple(tokens[i : i + _RUN])) for i in range(max(1, len(tokens) - _RUN + 1)))


def _transcripts(texts: Sequence[Text]) -> dict[tuple[str, str], list[str]]:
    """{(part, id): tokens in Simplified characters} of the texts that are long enough to be compared."""
    long_texts = [t for t in texts if len(t.transcript.split()) >= _MIN_TOKENS]
    if not any(t.part in ("dev", "test") for t in long_texts):
        return {}
    return {(t.part, t.id): convert_script(t.transcript, "t2s").split() for t in long_texts}


def _translations(texts: Sequence[Text]) -> dict[tuple[str, str], list[str]]:
    words = {(t.part, t.id): normalize_transcript(t.translation).split() for t in texts if t.translation}
    return {key: tokens for key, tokens in words.items() if len(tokens) >= _MIN_TOKENS}


def _shared(key: tuple[str, str], what: str, share: float, other_part: str, other: str, is_error: bool) -> Finding:
    kind = Text(key[1], key[0], "").kind
    message = f"{share:.0%} of its {what} is that of {other} in {other_part}"
    place = "the texts" if key[0] == TEXT_ONLY else key[0]
    remedy = f"take it out of {place}: parts must not share text"
    return Finding("shared-text", kind, key[1], key[0], message, remedy, is_error)
