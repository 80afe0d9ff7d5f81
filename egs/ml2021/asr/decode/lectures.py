"""Decode whole lectures: words with times and confidences as JSON lines and CTM, and icefall's files with scores.

    python -m ml2021.asr.decode --exp-dir exp/mini/asr --manifests data/mini/manifests --part test
    python -m ml2021.asr.decode --exp-dir exp/mini/asr --audio my_lecture.wav
    python -m ml2021.asr.decode --recogniser large-v3 --audio my_lecture.wav --out-dir out  # recognisers.lectures

A lecture's NAME.jsonl is written when the lecture is decoded; run again, the command decodes only missing lectures.
settings.json records the digests of the model and its language model, and the values of decoding.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lhotse import RecordingSet, SupervisionSet
from tqdm import tqdm

from lhotse_prep.alignment.ctm import CtmWord, write_ctm
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import as_16k_mono
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError
from lhotse_prep.manifests.files import AUDIO, is_empty_part, open_part, part_file
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.digests import digest_file, digest_json, digest_parts
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, read_jsonl, write_json, write_jsonl
from lhotse_prep.workflow.result_options import result_options
from lhotse_prep.workflow.resumable import Failure, ResultFolder, attempt, list_failures
from ml2021.asr.decode.config import WINDOWS_VERSION, DecodeConfig, file_digests
from ml2021.asr.decode.long_form import recognise
from ml2021.asr.decode.options import config_of, suffix_of, weights_of
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.methods import token_table
from ml2021.asr.words.script import convert_script
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.scoring.counts import ErrorRate
from ml2021.scoring.icefall_files import write_icefall_files

logger = logging.getLogger(__name__)
Row = Mapping[str, Any]
SETTINGS = "settings.json"
NAME = "recogniser"  # key of the settings: the name of the recogniser
STATE = ".decode"  # subfolder of --out-dir: the marks of lectures that are decoded


@dataclass(frozen=True)
class Lecture:
    """A recording to decode, and its transcript if it is known."""

    id: str
    audio: Path
    text: str | None = None


def lectures_of(manifests: Path, part: str) -> list[Lecture]:
    """The lectures of a part in stage 1's manifests.

    Raises:
      DataError: the part has no lecture.
    """
    if not is_empty_part(manifests, "supervisions"):
        raise DataError(
            f"no file {part_file(manifests, 'supervisions', part)}: --manifests names stage 1's folder, such as "
            "data/mini/manifests"
        )
    recordings = {r.id: plain_audio(r) for r in open_part(manifests, "recordings", part, RecordingSet, AUDIO)}
    lectures = []
    for s in open_part(manifests, "supervisions", part, SupervisionSet):
        if s.recording_id not in recordings:
            raise DataError(f"supervision {s.id} ({part}): there is no recording {s.recording_id} in {manifests}")
        lectures.append(Lecture(s.id, recordings[s.recording_id], s.text or ""))
    if not lectures:
        raise DataError(f"the {part} part has no lecture in {manifests}")
    return lectures


class DecodedLectures(Mapping[str, list[Row]]):
    """{lecture: the rows of its NAME.jsonl}; a lecture's rows are read when they are asked for, and not kept."""

    def __init__(self, folder: Path, lectures: Iterable[str]) -> None:
        self._folder, self._lectures = folder, dict.fromkeys(lectures)

    def __getitem__(self, lecture: str) -> list[Row]:
        if lecture not in self._lectures:
            raise KeyError(lecture)
        return list(read_jsonl(self._folder / f"{lecture}.jsonl"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._lectures)

    def __len__(self) -> int:
        return len(self._lectures)


def decode_lectures(
    model: AsrModel, tokens: TokenTable, lectures: Sequence[Lecture], out_dir: Path, config: DecodeConfig
) -> DecodedLectures:
    """Decode lectures with a model of this project; see recognise_lectures."""

    def opened() -> Callable[[Path], list[TimedWord]]:
        fusion = load_fusion(config, tokens, next(model.parameters()).device)
        return lambda audio: convert_script(recognise(audio, model, tokens, config, fusion), config.script)

    symbols = token_table(model, tokens, config).symbols
    return recognise_lectures(opened, lectures, out_dir, _settings(model, config), symbols)


def recognise_lectures(
    opened: Callable[[], Callable[[Path], list[TimedWord]]],
    lectures: Sequence[Lecture],
    out_dir: Path,
    settings: Mapping[str, Any],
    symbols: Sequence[str] = (),
) -> DecodedLectures:
    """Decode the lectures that out_dir does not have yet; write NAME.jsonl of each.

    lectures.ctm is written anew, sorted, with the words of all NAME.jsonl in out_dir, also those of earlier runs: to
    take a lecture out of it, remove its NAME.jsonl. A lecture that failed in this run is not in it.

    Args:
      opened: called once if a lecture is missing; gives what recognises a recording of 16 kHz, mono.
      lectures: what to decode.
      out_dir: where the files go.
      settings: everything besides the recording that the words of a lecture depend on. Key NAME is only for people.
      symbols: of the tokens that words have.
    Returns:
      The rows of each lecture's file: word, start, end (seconds), confidence, tokens [[symbol, seconds, confidence]].
      They are read from it when they are asked for: memory holds the words of one lecture at a time.
    Raises:
      DataError: before anything is decoded, files of two lectures would have the same name, a recording is missing, or
        out_dir has lectures decoded with another model or other settings, or damaged files; at the end, the lectures
        that failed, with the reason of each. Whatever a lecture raises, the others are decoded.
    """
    recordings = [(lecture.id, lecture.audio) for lecture in lectures]
    digest = digest_json({key: value for key, value in settings.items() if key != NAME})
    results = ResultFolder(out_dir, STATE, (".jsonl",), digest, may_be_edited=False)
    results.check(recordings)
    _check_settings(out_dir, settings)
    missing = results.missing(recordings)
    failures = _decode_missing(opened, lectures, results, missing, settings, symbols) if missing else {}
    is_known_good = {lecture.id for lecture in lectures} - failures.keys()
    done = [name for name in results.done(is_known_good) if name not in failures]
    words = (_ctm_word(name, row) for name in done for row in iterate_jsonl(out_dir / f"{name}.jsonl"))
    write_ctm(out_dir / "lectures.ctm", words, digits=4)
    if failures:
        reasons = list_failures(list(failures.values()))
        raise DataError(f"{len(failures)} of {len(lectures)} lectures are not decoded: {reasons}")
    return DecodedLectures(out_dir, (lecture.id for lecture in lectures))


def _decode_missing(
    opened: Callable[[], Callable[[Path], list[TimedWord]]],
    lectures: Sequence[Lecture],
    results: ResultFolder,
    missing: Mapping[str, str],
    settings: Mapping[str, Any],
    symbols: Sequence[str],
) -> dict[str, str]:
    """Decode the lectures that are missing; settings.json is written once, before the first mark that one is done.

    Args:
      missing: {lecture: digest of its recording, or empty}, see ResultFolder.missing; for the others see
        recognise_lectures.
    Returns:
      {lecture: why it failed}.
    """
    recognise_copy = opened()
    failures: dict[str, str] = {}
    is_recorded = False

    def decode(lecture: Lecture) -> None:
        nonlocal is_recorded
        started = time.time()
        with results.work(lecture.id, missing[lecture.id] or digest_file(lecture.audio)) as work_dir:
            words = _words(lecture.audio, work_dir, recognise_copy)
            write_jsonl(work_dir / f"{lecture.id}.jsonl", (_row(word, symbols) for word in words))
            if not is_recorded:
                write_json(results.folder / SETTINGS, settings)
                is_recorded = True
        logger.info("%s: %d words in %.1f s", lecture.id, len(words), time.time() - started)

    todo = [lecture for lecture in lectures if lecture.id in missing]
    for lecture in tqdm(todo, desc="lectures", disable=not sys.stderr.isatty() or len(todo) < 2):
        result = attempt(partial(decode, lecture), lecture.audio, results.work_dir(lecture.id))
        if isinstance(result, Failure):
            failures[lecture.id] = result.line
            logger.error("%s", result.line)
    return failures


def _words(audio: Path, work_dir: Path, recognise_copy: Callable[[Path], list[TimedWord]]) -> list[TimedWord]:
    """The words of a recording, or of its copy at 16 kHz; none, with a warning that names it, if it has no speech."""
    copy = audio
    try:
        copy = as_16k_mono(audio, work_dir, AudioLimits())
        return recognise_copy(copy)
    except (AudioError, NoSpeechError) as e:
        if isinstance(e, AudioError) and e.check != "silent":
            raise
        logger.warning("%s; it has no words", str(e).replace(str(copy), str(audio)))
        return []


def score_lectures(
    lectures: Sequence[Lecture], rows: Mapping[str, Sequence[Row]], out_dir: Path, part: str, suffix: str, method: str
) -> ErrorRate | None:
    """Write icefall's files of the lectures whose transcript is known; None if no transcript is. Logs a summary."""
    pairs = ((x.id, x.text, " ".join(row["word"] for row in rows[x.id])) for x in lectures if x.text is not None)
    is_known = any(x.text is not None for x in lectures)
    rate = write_icefall_files(out_dir, part, suffix, method, pairs) if is_known else None
    logger.info("%d lectures in %s%s", len(rows), out_dir, f", MER {rate.total}" if rate else "")
    return rate


def _row(word: TimedWord, symbols: Sequence[str]) -> Row:
    return {
        "word": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.score, 4),
        "tokens": [[symbols[t.id], round(t.frame * FRAME / SAMPLE_RATE, 3), t.score] for t in word.tokens],
    }


def _ctm_word(lecture: str, row: Row) -> CtmWord:
    return CtmWord(lecture, row["start"], row["end"] - row["start"], row["word"], row["confidence"])


def _settings(model: AsrModel, config: DecodeConfig) -> dict[str, Any]:
    """Everything besides the recording that the words of a lecture depend on."""
    weights = digest_parts(
        name.encode() + weight.detach().cpu().contiguous().numpy().tobytes()
        for name, weight in sorted(model.state_dict().items())
    )
    options = {"decode": result_options(config), "windows_version": WINDOWS_VERSION}
    return {"fusion": file_digests(config), "weights": weights, **options}


def _check_settings(out_dir: Path, settings: Mapping[str, Any]) -> None:
    """Raise DataError if settings.json is damaged or has other settings; without it, all lectures count as missing."""
    path = out_dir / SETTINGS
    if not path.is_file():
        shutil.rmtree(out_dir / STATE, ignore_errors=True)
        return
    try:
        recorded = json.loads(path.read_bytes())
        recorded.pop("lectures", None)  # version 0.1 listed its lectures here
        recorded.pop(NAME, None)
    except (ValueError, AttributeError, TypeError) as e:
        raise DataError(
            f"{path} is damaged ({e}): remove it, and the same command decodes the lectures in that folder again"
        ) from e
    if recorded != {key: value for key, value in settings.items() if key != NAME}:
        raise DataError(
            f"{out_dir} has lectures that were decoded with another model or other settings (see {path}); name another "
            "--out-dir, or remove that folder"
        )


def run(args: argparse.Namespace) -> None:
    """Decode the lectures of --manifests or --audio; those that --out-dir has already are left as they are.

    Args:
      args: from options.parse_options.
    """
    config = config_of(args)
    weights, name = weights_of(args)
    suffix = f"{suffix_of(config, name, args.use_averaged_model)}-long"
    out_dir = args.out_dir or args.exp_dir / f"{config.decoding_method}-long"
    model, tokens = load_model(args.exp_dir, weights)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    lectures = lectures_to_decode(args)
    rows = decode_lectures(model, tokens, lectures, out_dir, config)
    score_lectures(lectures, rows, out_dir, args.part, suffix, config.decoding_method)


def lectures_to_decode(args: argparse.Namespace) -> list[Lecture]:
    """The lectures of --manifests or --audio."""
    if args.manifests is not None:
        return lectures_of(args.manifests, args.part)
    return [Lecture(path.stem, path) for path in args.audio]
