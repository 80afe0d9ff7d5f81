"""Whole lectures decoded: words with times and confidences as JSON lines and CTM, and icefall's files with scores.

    python -m ml2021.asr.decode --long --exp-dir exp/mini/asr --manifests data/mini/manifests --part test
    python -m ml2021.asr.decode --long --exp-dir exp/mini/asr --audio my_lecture.wav

A lecture's NAME.jsonl appears once it is decoded; run again, only the lectures that are missing are decoded.
settings.json tells of which model and settings they are, and the hash of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lhotse import load_manifest
from tqdm import tqdm

from lhotse_prep.audio.fbank import SAMPLE_RATE
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_json, write_jsonl, write_text
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.long_form import NoSpeechError, TimedWord, recognise
from ml2021.asr.decode.options import add_options, config_of, suffix_of, weights_of
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.layers.frame_mask import FRAME
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.scoring.counts import ErrorRate
from ml2021.scoring.icefall_files import write_icefall_files

logger = logging.getLogger(__name__)
Row = Mapping[str, Any]
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Lecture:
    """A recording to decode, and its transcript where it is known."""

    id: str
    audio: Path
    text: str | None = None


def lectures_of(manifests: Path, part: str) -> list[Lecture]:
    """The lectures of stage 1's manifests.

    Raises:
      DataError: the part has none.
    """
    path = manifests / f"ml2021_supervisions_{part}.jsonl.gz"
    if not path.is_file():
        raise DataError(f"no file {path}: --manifests names stage 1's folder, such as data/mini/manifests")
    recordings = load_manifest(manifests / f"ml2021_recordings_{part}.jsonl.gz")
    lectures = [
        Lecture(s.id, Path(recordings[s.recording_id].sources[0].source), s.text or "") for s in load_manifest(path)
    ]
    if not lectures:
        raise DataError(f"the {part} part has no lecture in {manifests}")
    return lectures


def decode_lectures(
    model: AsrModel, tokens: TokenTable, lectures: Sequence[Lecture], out_dir: Path, config: DecodeConfig
) -> dict[str, list[Row]]:
    """Decode what is not yet in out_dir; write each lecture's NAME.jsonl, and lectures.ctm of all.

    Returns:
      The rows of each lecture's file: word, start, end (seconds), confidence, tokens [[symbol, seconds, confidence]].
    Raises:
      DataError: two lectures of one name, or out_dir has lectures of another model or other settings, or damaged files.
    """
    names = [x.id for x in lectures]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(f"lecture {twice[0]} is there twice: recordings need different file names")
    settings = _settings(model, config)
    decoded = _decoded(out_dir, settings, names)
    fusion = None
    if not decoded.keys() >= set(names):
        fusion = load_fusion(config, tokens, next(model.parameters()).device)
    rows: dict[str, list[Row]] = {}
    for lecture in tqdm(lectures, desc="lectures", disable=not sys.stderr.isatty() or len(lectures) < 2):
        path = out_dir / f"{lecture.id}.jsonl"
        if lecture.id not in decoded:
            started = time.time()
            try:
                words = recognise(lecture.audio, model, tokens, config, fusion)
            except NoSpeechError as e:  # one recording stops no other
                logger.warning("%s; it has no words", e)
                words = []
            write_jsonl(path, [_row(word, tokens) for word in words])
            decoded[lecture.id] = _digest(path)
            write_json(out_dir / SETTINGS, settings | {"lectures": decoded})
            logger.info("%s: %d words in %.1f s", lecture.id, len(words), time.time() - started)
        rows[lecture.id] = list(read_jsonl(path))
    write_text(out_dir / "lectures.ctm", "".join(_ctm_line(i, row) for i in sorted(rows) for row in rows[i]))
    return rows


def score_lectures(
    lectures: Sequence[Lecture], rows: Mapping[str, Sequence[Row]], out_dir: Path, part: str, suffix: str, method: str
) -> ErrorRate | None:
    """Write icefall's files of the lectures whose transcript is known; None where there is none."""
    pairs = [(x.id, x.text, " ".join(row["word"] for row in rows[x.id])) for x in lectures if x.text is not None]
    return write_icefall_files(out_dir, part, suffix, method, pairs) if pairs else None


def _row(word: TimedWord, tokens: TokenTable) -> Row:
    return {
        "word": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.score, 4),
        "tokens": [[tokens.symbols[t.id], round(t.frame * FRAME / SAMPLE_RATE, 3), t.score] for t in word.tokens],
    }


def _ctm_line(lecture: str, row: Row) -> str:
    duration = row["end"] - row["start"]
    return f"{lecture} 1 {row['start']:.3f} {duration:.3f} {row['word']} {row['confidence']:.4f}\n"


def _settings(model: AsrModel, config: DecodeConfig) -> dict[str, Any]:
    """What the words of a lecture depend on, beside its recording."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
    named = [config.hotwords_file] if config.hotwords_file is not None else []
    named += sorted(map(str, Path(config.lm_dir).glob("*.*"))) if config.lm_dir is not None else []
    fusion = {name: _digest(Path(name)) for name in named if Path(name).is_file()}
    return {"fusion": fusion, "weights": digest.hexdigest(), "decode": json.loads(json.dumps(to_mapping(config)))}


def _decoded(out_dir: Path, settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """{lecture: hash of its file} of what a run before this one left in out_dir; a lecture whose file is gone is not
    among them, nor one that was killed before its hash was written."""
    path = out_dir / SETTINGS
    if not path.is_file():
        return {}
    try:
        kept = json.loads(path.read_bytes())
        decoded = dict(kept.pop("lectures", {}))
    except (ValueError, AttributeError, TypeError) as e:
        raise DataError(
            f"{path} is damaged ({e}): remove it, and the same command decodes the lectures in that folder again"
        ) from e
    if kept != settings:
        raise DataError(
            f"{out_dir} has lectures of another model or other settings (see {path}); name another --out-dir, or "
            "remove that folder"
        )
    decoded = {name: hashed for name, hashed in decoded.items() if (out_dir / f"{name}.jsonl").is_file()}
    for name in names:
        if name in decoded and _digest(out_dir / f"{name}.jsonl") != decoded[name]:
            raise DataError(
                f"{out_dir / f'{name}.jsonl'} is damaged, or was changed since it was written: remove it, and the same "
                "command decodes that lecture again"
            )
    return decoded


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: Sequence[str]) -> None:
    """Decode whole lectures; those that --out-dir already has are left as they are."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.asr.decode --long", description=main.__doc__, allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifests", type=Path, help="stage 1's folder, such as data/mini/manifests")
    source.add_argument("--audio", type=Path, nargs="+", help="recordings, 16 kHz, mono")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test", help="of --manifests [%(default)s]")
    add_options(parser)
    parser.add_argument("--out-dir", type=Path, help="where the files go [EXP_DIR/METHOD-long]")
    args = parser.parse_args(argv)
    config = config_of(args)
    weights, name = weights_of(args)
    suffix = f"{suffix_of(config, name, args.use_averaged_model)}-long"
    out_dir = args.out_dir or args.exp_dir / f"{config.decoding_method}-long"
    model, tokens = load_model(args.exp_dir, weights)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if args.manifests:
        lectures = lectures_of(args.manifests, args.part)
    else:
        lectures = [Lecture(path.stem, path) for path in args.audio]
    rows = decode_lectures(model, tokens, lectures, out_dir, config)
    rate = score_lectures(lectures, rows, out_dir, args.part, suffix, config.decoding_method)
    logger.info("%d lectures in %s%s", len(rows), out_dir, f", MER {rate.total}" if rate else "")
