"""Lectures to bilingual subtitles with trained models.

    python -m ml2021.st.transcribe LECTURE.wav [LECTURE.mp3 LECTURE.mp4 ...] --asr exp/my/asr --mt exp/my/mt --out DIR

writes to DIR, for each lecture, NAME.srt and NAME.vtt (Chinese above English), NAME.zh.* and NAME.en.*, and NAME.jsonl
with the times and scores of all words. A lecture that is done is skipped; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl, write_text
from lhotse_prep.workflow.locks import held
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.decode.config import DecodeConfig, with_lm_dir
from ml2021.mt.config import TranslateConfig
from ml2021.st.sentences import SentenceConfig
from ml2021.st.subtitles import SubtitleConfig

if TYPE_CHECKING:
    from ml2021.asr.decode.long_form import TimedWord

logger = logging.getLogger(__name__)
START_METHOD = "spawn"  # of the processes: a forked one cannot use threads of torch that run already
STATE = ".transcribe"  # folder in --out: what was recognised, and the key of what is done


@dataclass(frozen=True)
class TranscribeOptions:
    """Models, values and the folder to write to."""

    asr: Path
    mt: Path
    out: Path
    decode: DecodeConfig
    sentences: SentenceConfig
    translate: TranslateConfig
    subtitles: SubtitleConfig


class Transcriber:
    """Models in memory, through which lectures go one by one."""

    def __init__(self, options: TranscribeOptions) -> None:
        from ml2021.st.cascade import Cascade

        o = options
        self.options = o
        self.cascade = Cascade(o.asr, o.mt, o.decode, o.sentences, o.translate)

    def __call__(self, lecture: Path) -> str:
        """Write all files of a lecture; gives a line that tells what was done.

        Raises:
          DataError: the recording cannot be read or has no speech, the disk is full, or another process is writing
            the same lecture's files. The files of an earlier run stay as they were.
        """
        from ml2021.st.output import SUFFIXES, disk_error, write_lecture

        out, state = self.options.out, self.options.out / STATE
        keys = _Keys(lecture, self.options)
        work = state / f"{lecture.stem}.work"
        try:
            with held(work), _emptied(work):
                words = self._words(lecture, state, work, keys.recognition)
                segments = self.cascade.translate(words)
                write_lecture(lecture.stem, segments, work, self.options.subtitles)
                for suffix in SUFFIXES:
                    os.replace(work / f"{lecture.stem}{suffix}", out / f"{lecture.stem}{suffix}")
                write_text(state / f"{lecture.stem}.done", keys.whole)
                (state / f"{lecture.stem}.words.jsonl").unlink(missing_ok=True)
        except OSError as e:
            raise disk_error(e, out, lecture.stem) from e
        return f"{lecture}: {words[-1].end:.0f} s, {len(words)} words, {len(segments)} sentences"

    def _words(self, lecture: Path, state: Path, work: Path, key: str) -> list[TimedWord]:
        """What the recogniser hears, or heard before this run was cut short with the same recording and models."""
        from lhotse_prep.audio.convert import as_16k_mono

        kept = state / f"{lecture.stem}.words.jsonl"
        if (found := _kept_words(kept, key)) is not None:
            return found
        words = self.cascade.recognise(as_16k_mono(lecture, work, AudioLimits()))
        rows = [{"text": w.text, "start": w.start, "end": w.end, "score": w.score} for w in words]
        write_jsonl(kept, [{"key": key, "num_words": len(rows)}, *rows])
        return words


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """A folder for a while, without what a run that was killed left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Keys:
    """Hashes of all that a lecture's words and files depend on; a recording and a model count by size and date."""

    def __init__(self, lecture: Path, options: TranscribeOptions) -> None:
        decode = options.decode
        fusion = [_stamps(Path(p)) for p in (decode.lm_dir, decode.hotwords_file) if p is not None]
        heard = [_stamps(lecture), _stamps(options.asr), *fusion, to_mapping(decode)]
        told = [
            _stamps(options.mt),
            *(to_mapping(c) for c in (options.sentences, options.translate, options.subtitles)),
        ]
        self.recognition = _digest(heard)
        self.whole = _digest([*heard, *told])


def transcribe(lectures: Sequence[Path], options: TranscribeOptions, num_jobs: int = 1) -> None:
    """Put lectures through the cascade, num_jobs at a time in processes of their own. One bad lecture stops no other.

    Raises:
      DataError: before anything is done, two lectures of one name, a missing recording or model; at the end, the
        lectures that failed, with the reason of each.
    """
    _check(lectures)
    todo = [x for x in lectures if not _is_done(x, options)]
    if len(todo) < len(lectures):
        logger.info("%d of %d lectures are done already", len(lectures) - len(todo), len(lectures))
    failures: list[str] = []
    bar = tqdm(total=len(todo), desc="lectures", unit="lecture", disable=not sys.stderr.isatty())
    for line, failure in _results(todo, options, min(num_jobs, len(todo))):
        if failure is None:
            logger.info("%s", line)
        else:
            failures.append(str(failure))
            logger.error("%s", failure)
        bar.update()
    bar.close()
    if failures:
        raise DataError(f"{len(failures)} of {len(lectures)} lectures have no subtitles: {'; '.join(failures)}")


def _results(todo: Sequence[Path], options: TranscribeOptions, num_jobs: int) -> Iterator[tuple[str, DataError | None]]:
    """A line or an error of each lecture, as they end."""
    if num_jobs <= 1:
        worker = Transcriber(options) if todo else None
        for lecture in todo:
            assert worker is not None
            try:
                yield worker(lecture), None
            except DataError as e:
                yield "", e
        return
    Transcriber(options)  # a model that is missing or damaged is said once, here
    threads = max(1, (os.cpu_count() or 1) // num_jobs)
    pool = ProcessPoolExecutor(num_jobs, get_context(START_METHOD), _start_worker, (options, threads))
    with pool:
        running = {pool.submit(_work, lecture): lecture for lecture in todo}
        for future in as_completed(running):
            try:
                yield future.result(), None
            except DataError as e:
                yield "", e
            except BrokenProcessPool:
                yield "", DataError(f"{running[future]}: a process was killed (out of memory?); use fewer --jobs")


_worker: Transcriber | None = None


def _start_worker(options: TranscribeOptions, num_threads: int) -> None:
    """Load the models into a process of the pool."""
    import torch

    global _worker
    torch.set_num_threads(num_threads)
    _worker = Transcriber(options)


def _work(lecture: Path) -> str:
    assert _worker is not None
    return _worker(lecture)


def _check(lectures: Sequence[Path]) -> None:
    missing = [x for x in lectures if not x.is_file()]
    if missing:
        raise DataError(f"no such recording: {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    name, count = Counter(x.stem for x in lectures).most_common(1)[0]
    if count > 1:
        raise DataError(f"{count} recordings are named {name}; their files in --out would be the same: rename one")


def _is_done(lecture: Path, options: TranscribeOptions) -> bool:
    from ml2021.st.output import SUFFIXES

    done = options.out / STATE / f"{lecture.stem}.done"
    whole = all((options.out / f"{lecture.stem}{suffix}").is_file() for suffix in SUFFIXES)
    return whole and done.is_file() and done.read_bytes() == _Keys(lecture, options).whole.encode()


def _kept_words(path: Path, key: str) -> list[TimedWord] | None:
    """Words that an earlier run kept; None where there are none, or those of another recording, model or options.

    Raises:
      DataError: the file is damaged.
    """
    from ml2021.asr.decode.long_form import TimedWord

    if not path.is_file():
        return None
    try:
        head, *rows = read_jsonl(path)
        if head["key"] != key:
            return None
        words = [TimedWord(r["text"], r["start"], r["end"], r["score"]) for r in rows]
        if len(words) != head["num_words"]:
            raise ValueError(f"{len(words)} words of {head['num_words']}")
    except (DataError, ValueError, TypeError, KeyError) as e:
        raise DataError(
            f"{path}, what was recognised before, is damaged ({e}): remove it, or give --redo, and the same command "
            "recognises the lecture again"
        ) from e
    return words


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and date of a file, or of a model's files."""
    names = ("*.pt", "*.json", "*.spm", "*.bin", "*.safetensors", "marian/*", "lang/*", "*.arpa")
    files = [path] if path.is_file() else sorted({p for n in names for p in path.glob(n) if p.is_file()})
    return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def main(argv: list[str]) -> None:
    """Entry point: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.st.transcribe",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lectures", type=Path, nargs="+", metavar="LECTURE", help="wav, flac, mp3, mp4 ...")
    parser.add_argument("--asr", type=Path, required=True, help="experiment of stage 5, such as exp/mini/asr")
    parser.add_argument("--mt", type=Path, required=True, help="experiment of stage 8, a Marian or CTranslate2 folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the subtitles")
    parser.add_argument("--conf", type=Path, help="folder with decode.yaml and mt.yaml [the defaults]")
    parser.add_argument("--jobs", type=int, default=1, help="lectures at a time, a process each [%(default)s]")
    parser.add_argument("--redo", action="store_true", help="do again what is done")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        raise ConfigError(f"--jobs must be >= 1, got {args.jobs}")
    if args.redo:
        shutil.rmtree(args.out / STATE, ignore_errors=True)
    transcribe(args.lectures, _options(args), args.jobs)


def _options(args: argparse.Namespace) -> TranscribeOptions:
    if args.conf is None:
        configs = DecodeConfig(), SentenceConfig(), TranslateConfig(), SubtitleConfig()
    else:
        decode = args.conf / "decode.yaml"
        configs = (
            with_lm_dir(load_config(decode, "decode", DecodeConfig), args.asr.parent),
            load_config(decode, "sentences", SentenceConfig),
            load_config(args.conf / "mt.yaml", "translate", TranslateConfig),
            load_config(decode, "subtitles", SubtitleConfig),
        )
    return TranscribeOptions(args.asr, args.mt, args.out, *configs)


if __name__ == "__main__":
    run_main(main)
