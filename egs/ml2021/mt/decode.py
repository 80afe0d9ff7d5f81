"""Translation of the test bitext and its scores."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from lhotse_prep.errors import DataError
from lhotse_prep.stages import write_json, write_jsonl
from ml2021.mt.config import TranslateConfig
from ml2021.mt.data import contexts_of, read_bitext
from ml2021.mt.export import convert
from ml2021.mt.model import num_parameters as count_parameters
from ml2021.mt.translate import CTranslate2Translator, TransformersTranslator, Translator
from ml2021.scoring.bleu import score_translations

logger = logging.getLogger(__name__)


def decode_bitext(bitext: Path, marian_dir: Path, out_dir: Path, config: TranslateConfig) -> None:
    """Translate the sources of a bitext file; write hyps.jsonl and scores.json to out_dir.

    Raises:
      DataError: the file has no pairs, or marian_dir is no translation model.
    """
    pairs = read_bitext(bitext)
    if not pairs:
        raise DataError(f"{bitext} has no pairs to translate; look at rejected.jsonl beside it (stage 7)")
    with tempfile.TemporaryDirectory() as work:
        translator, num_parameters = open_marian(marian_dir, Path(work), config)
        contexts = contexts_of(pairs, config.context)
        hypotheses = [t.text for t in translator.translate([p.tokens for p in pairs], contexts)]
    rows = [
        {"id": p.id, "source": " ".join(p.tokens), "target": p.target, "hypothesis": h}
        for p, h in zip(pairs, hypotheses, strict=True)
    ]
    write_jsonl(out_dir / "hyps.jsonl", rows)
    scores = score_translations(hypotheses, [p.target for p in pairs])
    write_json(
        out_dir / "scores.json",
        {
            "bleu_mt": round(scores.bleu, 2),
            "chrf_mt": round(scores.chrf, 2),
            "bleu_signature": scores.bleu_signature,
            "chrf_signature": scores.chrf_signature,
            "num_parameters_mt": num_parameters,
        },
    )
    logger.info("%d sentences: BLEU %.2f, chrF %.2f", len(pairs), scores.bleu, scores.chrf)


def open_marian(marian_dir: Path, work: Path, config: TranslateConfig) -> tuple[Translator, int]:
    """The translator that the configuration asks for, and how many parameters it has."""
    marian = TransformersTranslator(marian_dir, config)
    num_parameters = count_parameters(marian.model)
    if config.engine == "transformers":
        return marian, num_parameters
    convert(marian_dir, work / "ctranslate2")
    return CTranslate2Translator(work / "ctranslate2", config), num_parameters
