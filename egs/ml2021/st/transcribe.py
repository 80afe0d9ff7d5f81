"""Make subtitles of lectures with any recogniser, bilingual with any translator.

    python -m ml2021.st.transcribe LECTURE.mp4 [LECTURE.wav ...] --asr MODEL [--mt MODEL] --out DIR

--asr is exp/my/asr, or the folder of a sherpa-onnx, faster-whisper or Qwen3-ASR model, or a name on the Hugging Face
hub; --mt likewise exp/my/mt, opus-mt, NLLB, M2M100 or a chat model. DIR gets, for each lecture, NAME.srt, .vtt and .ass
(the recognised text above its translation), NAME.zh.* and NAME.en.*, NAME.ctm and NAME.jsonl with the times and scores
of all words, and NAME.subtitles.json about cues beyond a limit. A lecture that is done is skipped, and a killed run
continues where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile as sf

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import fresh_processes, prepared_processes
from lhotse_prep.workflow.files import read_jsonl, write_jsonl
from lhotse_prep.workflow.result_options import result_options
from lhotse_prep.workflow.resumable import Failure, ResultFolder, attempt, list_failures
from ml2021.asr.decode.config import file_digests
from ml2021.asr.words.options import RecogniserOptions
from ml2021.mt.config import TranslateConfig
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.model_files import file_digest, recogniser_digests, translator_digests
from ml2021.st.options import add_options, configs_of, recognition_of, require_files
from ml2021.st.output import SUFFIXES, write_lecture

if TYPE_CHECKING:
    from ml2021.asr.words.timed_word import TimedWord

logger = logging.getLogger(__name__)
STATE = ".transcribe"  # subfolder of --out: words that were recognised, and the marks of lectures that are done


@dataclass(frozen=True)
class TranscribeOptions:
    """Models, values and the folder to write to."""

    asr: str  # folder or name
    mt: str | None  # folder or name; None: subtitles have no translation
    out: Path
    recognition: RecogniserOptions
    sentences: SentenceConfig = field(default_factory=SentenceConfig)
    translate: TranslateConfig = field(default_factory=TranslateConfig)
    subtitles: SubtitleConfig = field(default_factory=SubtitleConfig)
    glossary: Path | None = None
    punctuation: Path | None = None


@dataclass(frozen=True)
class _OptionDigests:
    """Digests of the models and values that a lecture's words depend on, and of those that its files depend on."""

    words: str
    files: str


class Transcriber:
    """Puts one lecture after another through models that stay in memory."""

    def __init__(self, options: TranscribeOptions, digests: _OptionDigests) -> None:
        from ml2021.st.cascade import Cascade, SentenceTranslator

        o = options
        self.options, self.digests = options, digests
        self.results = _result_folder(options, digests)
        translator = SentenceTranslator(o.mt, o.translate, o.glossary)
        self.cascade = Cascade(o.asr, o.recognition, o.sentences, translator, o.punctuation)

    def __call__(self, lecture: Path, content: str = "") -> str:
        """Write all files of a lecture; returns a line that says what was done.

        Args:
          lecture: the recording.
          content: digest_file of it, if it is known.
        Raises:
          DataError: the recording cannot be read or has no speech, the disk is full, or another process is writing
            the same lecture's files. The files of an earlier run stay as they were.
        """
        content = content or digest_file(lecture)
        with self.results.work(lecture.stem, content) as work_dir:
            words, duration = self._words(lecture, content, work_dir)
            segments = self.cascade.translate(words)
            write_lecture(lecture.stem, segments, work_dir, self.options.subtitles, duration)
        self._words_path(lecture).unlink(missing_ok=True)
        return f"{lecture}: {words[-1].end:.0f} s, {len(words)} words, {len(segments)} sentences"

    def _words(self, lecture: Path, content: str, work_dir: Path) -> tuple[list[TimedWord], float]:
        """The recogniser's words, and the duration of the recording in seconds.

        They are kept on disk in case the run is cut short before the lecture is done.
        """
        from lhotse_prep.audio.convert import as_16k_mono

        path, key = self._words_path(lecture), digest_json([content, self.digests.words, "with duration"])
        if (kept := _read_words(path, key)) is not None:
            return kept
        audio = as_16k_mono(lecture, work_dir, AudioLimits())
        words, duration = self.cascade.recognise(audio), sf.info(str(audio)).duration
        rows = [{"text": w.text, "start": w.start, "end": w.end, "score": w.score} for w in words]
        write_jsonl(path, [{"key": key, "num_words": len(rows), "duration": duration}, *rows])
        return words, duration

    def _words_path(self, lecture: Path) -> Path:
        return self.results.state_dir / f"{lecture.stem}.words.jsonl"


def transcribe(lectures: Sequence[Path], options: TranscribeOptions, num_jobs: int = 1) -> None:
    """Put lectures through the cascade, num_jobs at a time in separate processes. A bad lecture does not stop the rest.

    Raises:
      DataError: before anything is done, files of two lectures would have the same name, or a recording or model is
        missing; at the end, the lectures that failed, with the reason of each.
    """
    _check_names(lectures, options.out)
    digests = _option_digests(options)
    todo = _not_done(lectures, _result_folder(options, digests))
    failures = _transcribe_all(todo, options, digests, min(num_jobs, len(todo))) if todo else []
    if failures:
        raise DataError(f"{len(failures)} of {len(lectures)} lectures have no subtitles: {list_failures(failures)}")


def _check_names(lectures: Sequence[Path], out: Path) -> None:
    """Raise DataError if a lecture does not exist, or a file to be written is one of another lecture."""
    ResultFolder(out, STATE, SUFFIXES, "", may_be_edited=True).check([(path.stem, path) for path in lectures])


def _not_done(lectures: Sequence[Path], results: ResultFolder) -> list[tuple[Path, str]]:
    """The lectures that must be done, each with the digest of its content."""
    missing = results.missing([(lecture.stem, lecture) for lecture in lectures])
    return [(lecture, missing[lecture.stem]) for lecture in lectures if lecture.stem in missing]


def _transcribe_all(
    todo: Sequence[tuple[Path, str]], options: TranscribeOptions, digests: _OptionDigests, num_jobs: int
) -> list[str]:
    """Returns a line for each lecture that failed, with its path and the reason."""
    num_threads = None
    if num_jobs > 1:
        Transcriber(options, digests)  # a missing or damaged model is reported here, once
        num_threads = max(1, (os.cpu_count() or 1) // num_jobs)
    failures: list[str] = []
    left: list[tuple[Path, str]] = []
    num_results = 0
    with prepared_processes(num_jobs, partial(_load_models, options, digests, num_threads)) as executor:
        try:
            for result in executor.map(_transcribe_one, todo, "lectures"):
                num_results += 1
                failures += _report(result)
        except DataError:  # a process was killed, which ends the other processes too
            left = _not_done([lecture for lecture, _ in todo[num_results:]], _result_folder(options, digests))
    if left:
        logger.warning(
            "a process was killed (out of memory?); %d lectures are left and done one by one, each in a new process",
            len(left),
        )
    for piece in left:
        failures += _report(_transcribe_alone(piece, options, digests))
    return failures


def _report(result: str | Failure) -> list[str]:
    """Log what was done with a lecture; returns the line of a failure."""
    if isinstance(result, str):
        logger.info("%s", result)
        return []
    logger.error("%s", result.line)
    return [result.line]


def _transcribe_alone(piece: tuple[Path, str], options: TranscribeOptions, digests: _OptionDigests) -> str | Failure:
    """_transcribe_one in a new process, which may be killed."""
    with fresh_processes(1) as executor:
        try:
            return next(executor.map(partial(_load_and_transcribe, options, digests), [piece], "lectures"))
        except DataError:
            return Failure(
                f"{piece[0]}: a process was killed (out of memory?), although it had nothing but this lecture to do"
            )


def _load_and_transcribe(options: TranscribeOptions, digests: _OptionDigests, piece: tuple[Path, str]) -> str | Failure:
    _load_models(options, digests, None)
    return _transcribe_one(piece)


_transcriber: Transcriber | None = None  # of this process


def _load_models(options: TranscribeOptions, digests: _OptionDigests, num_threads: int | None) -> None:
    """Load the models into this process.

    Args:
      options, digests: see Transcriber.
      num_threads: threads of torch; None: as many as it takes by itself.
    """
    import torch

    global _transcriber
    if num_threads is not None:
        torch.set_num_threads(num_threads)
        options = replace(options, recognition=replace(options.recognition, num_threads=num_threads))
    _transcriber = Transcriber(options, digests)


def _transcribe_one(piece: tuple[Path, str]) -> str | Failure:
    """A line that says what was done, or why the lecture failed; a piece is a recording and its digest."""
    assert _transcriber is not None
    return attempt(partial(_transcriber, *piece), piece[0], _transcriber.results.work_dir(piece[0].stem))


def _result_folder(options: TranscribeOptions, digests: _OptionDigests) -> ResultFolder:
    return ResultFolder(options.out, STATE, SUFFIXES, digests.files, may_be_edited=True)


def _option_digests(options: TranscribeOptions) -> _OptionDigests:
    o = options
    decode = o.recognition.decode
    files = file_digests(decode) if decode is not None else {}
    words = digest_json([recogniser_digests(o.asr), files, o.recognition.digest()])
    values = [result_options(config) for config in (o.sentences, o.translate, o.subtitles)]
    others = [file_digest(o.glossary), file_digest(o.punctuation)]
    return _OptionDigests(words, digest_json([words, translator_digests(o.mt), values, others]))


def _read_words(path: Path, key: str) -> tuple[list[TimedWord], float] | None:
    """The words that an earlier run kept, and the recording's duration in seconds.

    None if there is no file, or it is of another recording, model or configuration.

    Raises:
      DataError: the file is damaged.
    """
    from ml2021.asr.words.timed_word import TimedWord

    if not path.is_file():
        return None
    try:
        head, *rows = read_jsonl(path)
        if head["key"] != key:
            return None
        words = [TimedWord(r["text"], r["start"], r["end"], r["score"]) for r in rows]
        if len(words) != head["num_words"]:
            raise ValueError(f"{len(words)} words of {head['num_words']}")
        duration = float(head["duration"])
    except (DataError, ValueError, TypeError, KeyError) as e:
        raise DataError(
            f"{path}, which holds the words recognised by an earlier run, is damaged ({e}): remove it, or give --redo, "
            "and the same command recognises the lecture again"
        ) from e
    return words, duration


def main(argv: list[str]) -> None:
    """Entry point: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.st.transcribe",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lectures", type=Path, nargs="+", metavar="LECTURE", help="wav, flac, mp3, mp4 ...")
    parser.add_argument("--asr", required=True, help="recogniser: its folder, or its name on the hub")
    add_options(parser)
    parser.add_argument("--jobs", type=int, default=1, help="lectures at a time, each in a process [%(default)s]")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        raise ConfigError(f"--jobs must be >= 1, got {args.jobs}")
    _check_names(args.lectures, args.out)
    if args.redo:
        shutil.rmtree(args.out / STATE, ignore_errors=True)
    transcribe(args.lectures, _options(args), args.jobs)


def _options(args: argparse.Namespace) -> TranscribeOptions:
    require_files(args)
    recognition, configs = recognition_of(args, args.asr), configs_of(args.conf)
    return TranscribeOptions(args.asr, args.mt, args.out, recognition, *configs, args.glossary, args.punctuation)


if __name__ == "__main__":
    run_main(main)
