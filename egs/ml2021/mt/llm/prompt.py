"""What a chat model is asked: one sentence to translate, with the sentences before it and terms of the glossary."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse_prep.text.normalize import remove_han_spaces
from ml2021.mt.terms.glossary import Term

LANGUAGES = {  # names of the codes that published translators use
    "": "Chinese",
    "zh": "Chinese",
    "zho_Hant": "Chinese",
    "zho_Hans": "Chinese",
    "en": "English",
    "eng": "English",
    "eng_Latn": "English",
}


def source_text(tokens: Sequence[str]) -> str:
    """A sentence as it is written: no spaces between Chinese characters."""
    return remove_han_spaces(" ".join(" ".join(tokens).split()))


def translation_prompt(
    sentence: str,
    context: Sequence[str],
    terms: Sequence[Term],
    source_lang: str = "",
    target_lang: str = "",
    is_repeated: bool = False,
) -> str:
    """
    Args:
      sentence: text to translate.
      context: sentences before it, oldest first.
      terms: terms of the glossary in the sentence.
      source_lang, target_lang: names or codes of the languages; empty for Chinese and English.
      is_repeated: whether the sentence is asked again, since the first answer was no translation.
    """
    source, target = LANGUAGES.get(source_lang, source_lang), LANGUAGES.get(target_lang or "en", target_lang)
    blocks = [
        f"Translate one sentence of a lecture from {source} into {target}. A speech recogniser wrote it down without "
        f"punctuation. Answer with the {target} translation only, on one line: no notes, no alternatives."
    ]
    if terms:
        lines = "\n".join(f"{t.term} = {t.translation}" for t in terms)
        blocks.append(f"Use these translations of terms:\n{lines}")
    if context:
        lines = "\n".join(context)
        blocks.append(f"The sentences before it, which you must not translate:\n{lines}")
    blocks.append(f"The sentence to translate:\n{sentence}")
    if is_repeated:
        blocks.append(f"Write one line in {target}: what this sentence means, as short as the sentence.")
    return "\n\n".join(blocks)
