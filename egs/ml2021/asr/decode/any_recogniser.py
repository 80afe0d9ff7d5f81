"""Decode whole lectures with any recogniser: the files and scores of ml2021.asr.decode, side by side with ours.

python -m ml2021.asr.decode --recogniser large-v3 --manifests data/mini/manifests --out-dir exp/mini/whisper
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ml2021.asr.decode import lectures as decoding
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.decode.options import OF_OTHERS, require_options_of_others
from ml2021.asr.words.interfaces import Recogniser
from ml2021.asr.words.options import RecogniserOptions
from ml2021.scoring.counts import ErrorRate


def run(args: argparse.Namespace) -> None:
    """Decode the lectures of --manifests or --audio; those that --out-dir has already are left as they are.

    Args:
      args: from decode.options.parse_options, with a recogniser.
    """
    from ml2021.asr.decode.ours import is_ours

    if is_ours(Path(args.recogniser)):
        args.exp_dir = Path(args.recogniser)
        decoding.run(args)
        return
    require_options_of_others(args)
    options = options_of(args)
    lectures = decoding.lectures_to_decode(args)
    recogniser = open_recogniser(args.recogniser, options)
    decode_with(recogniser, lectures, args.out_dir, args.part, suffix_of(recogniser.name, options))


def decode_with(
    recogniser: Recogniser, lectures: Sequence[decoding.Lecture], out_dir: Path, part: str, suffix: str
) -> ErrorRate | None:
    """Decode lectures with any object that is a Recogniser, and score those whose transcript is known.

    Args:
      lectures: those that out_dir has already are left as they are.
      part, suffix: of the names of icefall's files.
    Returns:
      The score; None without transcripts.
    Raises:
      DataError: see lectures.recognise_lectures.
    """
    settings = {decoding.NAME: recogniser.name, "digests": dict(sorted(recogniser.digests().items()))}
    rows = decoding.recognise_lectures(lambda: recogniser.recognise, lectures, out_dir, settings)
    return decoding.score_lectures(lectures, rows, out_dir, part, suffix, recogniser.name)


def options_of(args: argparse.Namespace) -> RecogniserOptions:
    """The options of the command line.

    Raises:
      ConfigError: a value is out of range, or there is no such file.
    """
    names = [flag.replace("-", "_") for flag in ("beam-size", "script", *OF_OTHERS)]
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    hotwords = None if args.hotwords_file is None else Path(args.hotwords_file)
    return RecogniserOptions(hotwords=hotwords, **values)


def suffix_of(name: str, options: RecogniserOptions) -> str:
    """The suffix of the files' names: the recogniser and the options that change its words."""
    parts = [re.sub(r"[^\w.-]+", "-", name).strip("-"), f"beam-size-{options.beam_size}"]
    parts += [f"language-{options.language}"] if options.language else []
    parts += ["hotwords"] if options.hotwords is not None else []
    parts += [options.script] if options.script else []
    return "-".join([*parts, "long"])
