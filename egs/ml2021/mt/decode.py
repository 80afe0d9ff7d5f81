"""Translate the test part of the bitext and score the translations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json, write_jsonl
from ml2021.mt.config import TranslateConfig
from ml2021.mt.data import SentencePair, contexts_of, read_bitext
from ml2021.mt.export import convert
from ml2021.mt.model import num_parameters as count_parameters
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator, Translator
from ml2021.scoring.bleu import score_translations
from ml2021.scoring.comet import comet_score

logger = logging.getLogger(__name__)


def decode_bitext(bitext: Path, marian_dir: Path, out_dir: Path, config: TranslateConfig) -> None:
    """Translate the sources of a bitext file; write hyps.jsonl and scores.json to out_dir.

    If CTranslate2 translates in float32, the same weights are also scored in int8.

    Raises:
      DataError: the file has no pairs, or marian_dir is not a translation model.
      ConfigError: the model was not trained with the context in config.
    """
    pairs = read_bitext(bitext)
    if not pairs:
        raise DataError(f"{bitext} has no pairs to translate; look at rejected.jsonl beside it (stage 7)")
    with tempfile.TemporaryDirectory() as work:
        translator, num_parameters = open_marian(marian_dir, Path(work), config)
        hypotheses = _hypotheses(translator, pairs)
        int8_hypotheses: list[str] = []
        if config.engine == "ctranslate2" and config.compute_type == "float32":
            int8 = replace(config, compute_type="int8")
            int8_hypotheses = _hypotheses(CTranslate2Translator(Path(work) / "ctranslate2", int8), pairs)
    rows = [
        {"id": p.id, "source": " ".join(p.tokens), "target": p.target, "hypothesis": h}
        for p, h in zip(pairs, hypotheses, strict=True)
    ]
    write_jsonl(out_dir / "hyps.jsonl", rows)
    scores = _scores(pairs, hypotheses, int8_hypotheses, config)
    write_json(out_dir / "scores.json", scores | {"num_parameters_mt": num_parameters})
    extra = ""
    if int8_hypotheses:
        extra += f"; int8: BLEU {scores['bleu_mt_int8']:.2f}, {scores['int8_same_percent']:g}% of translations the same"
    if "comet_mt" in scores:
        extra += f"; COMET {scores['comet_mt']:.4f}"
    logger.info("%d sentences: BLEU %.2f, chrF %.2f%s", len(pairs), scores["bleu_mt"], scores["chrf_mt"], extra)


def _hypotheses(translator: Translator, pairs: Sequence[SentencePair]) -> list[str]:
    contexts = contexts_of(pairs, translator.context)
    return [t.text for t in translator.translate([p.tokens for p in pairs], contexts)]


def _scores(
    pairs: Sequence[SentencePair], hypotheses: Sequence[str], int8_hypotheses: Sequence[str], config: TranslateConfig
) -> dict[str, Any]:
    """BLEU and chrF, those of int8_hypotheses unless empty, and COMET if configured and installed."""
    references = [p.target for p in pairs]
    scores = score_translations(hypotheses, references)
    figures: dict[str, Any] = {
        "bleu_mt": round(scores.bleu, 2),
        "chrf_mt": round(scores.chrf, 2),
        "bleu_signature": scores.bleu_signature,
        "chrf_signature": scores.chrf_signature,
    }
    if int8_hypotheses:
        num_same = sum(a == b for a, b in zip(hypotheses, int8_hypotheses, strict=True))
        figures["bleu_mt_int8"] = round(score_translations(int8_hypotheses, references).bleu, 2)
        figures["int8_same_percent"] = round(100 * num_same / len(pairs), 2)
    if config.comet_model:
        sources = [" ".join(p.tokens) for p in pairs]
        comet = comet_score(sources, hypotheses, references, Path(config.comet_model))
        if comet is not None:
            figures["comet_mt"] = comet
    return figures


def open_marian(marian_dir: Path, work: Path, config: TranslateConfig) -> tuple[Translator, int]:
    """Load the translator of config.engine, converting the model if needed; returns it and its number of parameters."""
    marian = TransformersTranslator(marian_dir, config)
    num_parameters = count_parameters(marian.model)
    if config.engine == "transformers":
        return marian, num_parameters
    convert(marian_dir, work / "ctranslate2")
    return CTranslate2Translator(work / "ctranslate2", config), num_parameters
