"""Scores of whole lectures' translations: sentence by sentence, re-segmented to the references, and as one document.

*Oracle* is the same translator on the true transcript, cut where stage 7 cut it. The difference between the two is the
cost of recognition.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lhotse_prep.bitext.files import iterate_pairs
from ml2021.mt.translate import Translator, translate_lectures
from ml2021.scoring.bleu import compare_systems, document_bleu, score_translations
from ml2021.scoring.resegment import OURS, cut_like

logger = logging.getLogger(__name__)
_NEEDED = ("id", "lecture", "source", "target")  # of a sentence pair


def translation_scores(
    translations: Mapping[str, str], bitext: Path, translator: Translator, context: int, resegmenter: str = OURS
) -> dict[str, Any]:
    """BLEU and chrF of oracle and cascade over the pairs of stage 7 that were kept.

    Args:
      translations: {lecture: its whole translation by the cascade}.
      bitext: stage 7's folder; its rejected pairs are not scored, but needed to cut the translation correctly.
      translator: the cascade's.
      context: how many previous sentences the translator reads.
      resegmenter: what cuts the translation where the pairs are cut: levenshtein or mweralign.
    Returns:
      *_cascade, *_oracle and *_document_* scores with their signatures; empty if no lecture has references.
    """
    rows = _pairs_by_lecture(bitext, translations)
    cascade, oracle, references = [], [], []
    documents: dict[str, dict[str, str]] = {"cascade": {}, "oracle": {}, "reference": {}}
    sources = ((lecture, [tuple(r["source"].split()) for r in pairs]) for lecture, pairs in rows.items())
    for lecture, translated in translate_lectures(translator, sources, context):
        translation, pairs, true = translations[lecture], rows[lecture], [t.text for t in translated]
        segments = cut_like(translation, [r["target"] for r in pairs], resegmenter)
        for segment, text, row in zip(segments, true, pairs, strict=True):
            if row["kept"]:
                cascade.append(segment)
                oracle.append(text)
                references.append(row["target"])
        documents["cascade"][lecture], documents["oracle"][lecture] = translation, " ".join(true)
        documents["reference"][lecture] = " ".join(r["target"] for r in pairs)
    if not references:
        logger.info("no translations to score the cascade against")
        return {}
    result: dict[str, Any] = {}
    for name, hypotheses in (("cascade", cascade), ("oracle", oracle)):
        scores = score_translations(hypotheses, references)
        document = document_bleu(documents[name], documents["reference"])
        result |= {
            f"bleu_{name}": round(scores.bleu, 2),
            f"chrf_{name}": round(scores.chrf, 2),
            f"bleu_document_{name}": round(document, 2),
            "bleu_signature": scores.bleu_signature,
            "chrf_signature": scores.chrf_signature,
        }
        logger.info(
            "%s: BLEU %.2f, chrF %.2f on %d sentences; BLEU of whole lectures %.2f",
            name,
            scores.bleu,
            scores.chrf,
            len(references),
            document,
        )
    bleu = compare_systems(oracle, cascade, references)[0]
    result["bleu_cascade_against_oracle_p"] = round(bleu.p_value, 4)
    return result


def _pairs_by_lecture(bitext: Path, lectures: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """{lecture: its pairs with a target, sorted, with a key "kept"}, of the lectures that have any."""
    pairs: dict[str, list[dict[str, Any]]] = {lecture: [] for lecture in lectures}
    for name, is_kept in (("test.jsonl", True), ("rejected.jsonl", False)):
        for row in iterate_pairs(bitext / name, _NEEDED):
            if row["target"] and row["lecture"] in pairs:
                pairs[row["lecture"]].append({key: row[key] for key in _NEEDED} | {"kept": is_kept})
    return {lecture: sorted(rows, key=lambda r: r["id"]) for lecture, rows in pairs.items() if rows}
