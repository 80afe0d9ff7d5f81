"""Checks of transcripts and translations that need no audio: of one pair, of one part, and of parts that share text."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from lhotse_prep.corpora.source.splits import TEXT_ONLY
from lhotse_prep.manifests.grouped import key_digest
from lhotse_prep.manifests.shared_runs import SharedRuns
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.chinese_script import convert_script
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.findings import Finding

_CHINESE = 0.5  # share of Chinese characters among characters and words, above which a text is Chinese
_SOME_CHINESE = 0.3  # the same, above which a translation is worth a warning
_MIN_WORDS = 6  # Chinese characters and words; a shorter translation may be a name or a term in Chinese
_MIN_TOKENS = 40  # shorter texts, such as utterances, can be the same by chance
_MANY_SHARED = 0.1  # share of runs that is worth a warning; 0.2 is left if every fifth or sixth token was changed
_Key = tuple[str, str]  # (part, id)
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


def check_languages(texts: Iterable[Text]) -> list[Finding]:
    """A warning for each long transcript without Chinese where most are Chinese: it may be the translation."""
    shares = array("d")
    foreign: list[tuple[str, str]] = []  # (id, part)
    for t in texts:
        if _is_long(t.transcript):
            shares.append(han_share(t.transcript))
            foreign += [(t.id, t.part)] if shares[-1] == 0 else []
    if len(shares) < 3 or median(shares) < _CHINESE:
        return []
    message, remedy = "its transcript has no Chinese, others have", "is it its translation?"
    return [
        Finding("no-chinese", Text(name, part, "").kind, name, part, message, remedy, is_error=False)
        for name, part in foreign
    ]


def check_same_texts(texts: Iterable[Text]) -> list[Finding]:
    """A warning for each long transcript that is that of an earlier recording of its part."""
    first: dict[bytes, str] = {}
    findings = []
    for t in texts:
        if _is_long(t.transcript):
            other = first.setdefault(key_digest(t.part, t.transcript), t.id)
            if other != t.id:
                message = f"its transcript is that of {other}"
                remedy = "one of them has the text of the other, or keep one"
                findings.append(Finding("same-transcript", t.kind, t.id, t.part, message, remedy, is_error=False))
    return findings


def check_shared_texts(texts: Iterable[Text], max_shared: float) -> list[Finding]:
    """Texts that are, or largely are, texts of a part for evaluation: an error above max_shared, else a warning.

    A text of test must be in no other part, one of dev not in what is trained on. Two texts are compared by their runs
    of eight tokens, in Simplified characters; the share is that of the shorter one. Translations are compared likewise.

    Args:
      texts: read several times, one by one; only the runs of dev and test are kept.
    """
    findings: dict[_Key, Finding] = {}
    for what, tokens_of in (("text", _transcript), ("translation", _words_of_translation)):
        index = SharedRuns(((t.part, t.id), tokens_of(t)) for t in texts if t.part in ("dev", "test"))
        of_dev: dict[_Key, Finding] = {}  # last
        for t in texts if len(index) else ():
            key = t.part, t.id
            if t.part not in ("train", TEXT_ONLY, "dev") or key in findings:
                continue
            share, (other_part, other) = index.most_shared(
                tokens_of(t), ("test",) if t.part == "dev" else ("dev", "test")
            )
            if share >= _MANY_SHARED:
                finding = _shared(key, what, share, other_part, other, share > max_shared)
                (of_dev if t.part == "dev" else findings)[key] = finding
        findings |= of_dev
    return list(findings.values())


def han_share(text: str) -> float:
    """Share of Chinese characters among the Chinese characters and other words of a text; 0 if it has none."""
    words = _words(text)
    return sum(is_han(w[0]) for w in words) / len(words) if words else 0.0


def _words(text: str) -> list[str]:
    """Chinese characters and other words, those of letters."""
    return [w for w in normalize_transcript(text).split() if w[0].isalpha()]


def _is_long(text: str) -> bool:
    return len(text.split()) >= _MIN_TOKENS


def _transcript(t: Text) -> list[str]:
    """The tokens of a transcript in Simplified characters; none if it is too short to be compared."""
    return convert_script(t.transcript, "t2s").split() if _is_long(t.transcript) else []


def _words_of_translation(t: Text) -> list[str]:
    tokens = normalize_transcript(t.translation).split() if t.translation else []
    return tokens if len(tokens) >= _MIN_TOKENS else []


def _shared(key: tuple[str, str], what: str, share: float, other_part: str, other: str, is_error: bool) -> Finding:
    kind = Text(key[1], key[0], "").kind
    message = f"{share:.0%} of its {what} is that of {other} in {other_part}"
    place = "the texts" if key[0] == TEXT_ONLY else key[0]
    remedy = f"take it out of {place}: parts must not share text"
    return Finding("shared-text", kind, key[1], key[0], message, remedy, is_error)
