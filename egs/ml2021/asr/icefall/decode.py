"""Stage 6 with icefall: its zipformer/decode.py on our dev and test windows, with pretrained.pt of either trainer."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.icefall.bpe_model import sentencepiece_model
from ml2021.asr.icefall.checkout import Checkout
from ml2021.asr.icefall.options import decode_options
from ml2021.asr.model.load import load_model
from ml2021.asr.train.options import read_asr_config
from ml2021.scoring.counts import ErrorRate, score
from ml2021.scoring.texts import read_texts

logger = logging.getLogger(__name__)
PARTS = {"test-clean": "test", "test-other": "dev"}  # {icefall's name of a test set: our part}


def decode_with_icefall(
    checkout: Checkout, exp_dir: Path, cuts: Path, out_dir: Path, config: DecodeConfig
) -> dict[str, ErrorRate]:
    """Decode the test and dev windows; icefall's recogs-, errs- and wer-summary- files are copied to out_dir.

    Args:
      checkout: from find_checkout.
      exp_dir: stage 5's folder.
      cuts: stage 4's folder.
      out_dir: an existing folder.
      config: decoding method, its beam sizes, batch size.
    Returns:
      {part: error rate}; a dev part without windows is left out.
    Raises:
      DataError: icefall's script failed, or the test part has no windows.
    """
    _, tokens = load_model(exp_dir)
    trained = read_asr_config(exp_dir)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".icefall-") as folder:
        work = Path(folder).resolve()
        (work / "epoch-1.pt").symlink_to((exp_dir / "pretrained.pt").resolve())
        shutil.copy(exp_dir / "config.json", work)
        (work / "lang").mkdir()
        (work / "lang" / "icefall.model").write_bytes(sentencepiece_model(tokens))
        checkout.run("decode", decode_options(cuts.resolve(), work, trained, config))
        for path in sorted((work / config.decoding_method).glob("*.txt")):
            shutil.copy(path, out_dir / _our_name(path.name))
    rates = {}
    for part in PARTS.values():
        recogs = next(out_dir.glob(f"recogs-{part}-*.txt"), None)
        refs = read_texts(recogs, "ref") if recogs is not None else {}
        if recogs is None or not refs:
            if part == "test":
                raise DataError(f"icefall decoded no window: the test part has none in {cuts}")
            logger.info("%s: it has no windows, so it is not decoded", part)
            continue
        hyps = read_texts(recogs, "hyp")
        rates[part] = score((i, ref, hyps[i]) for i, ref in refs.items())
        logger.info("%s: %d windows decoded by icefall, MER %s", part, len(refs), rates[part].total)
    return rates


def _our_name(name: str) -> str:
    for theirs, ours in PARTS.items():
        name = name.replace(theirs, ours)
    return name
