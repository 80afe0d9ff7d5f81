"""Make subtitles of lectures whose text is known: the text gets times, and is shown as it is written.

    python -m ml2021.st.subtitle LECTURE.mp4 --text LECTURE.txt [--translation LECTURE.en.txt | --mt MODEL] --out DIR

The text is plain text, or a .srt or .vtt file whose times are coarse or wrong. DIR gets the files of
ml2021.st.transcribe, NAME.TextGrid for Praat, NAME.eaf for ELAN, and NAME.alignment.json, which says what of the text
is not said, and where there is speech without text. --aligner names a model that aligns; without one, the text's own
times are made exact, and a text without times trains an aligner on the lecture, which takes minutes. Of several
lectures, --text and --translation are folders with a file NAME.txt, .srt or .vtt of each.
"""

from __future__ import annotations

import argparse
import glob
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf

from lhotse_prep.alignment.config import TIMES_VERSION
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.result_options import result_options
from lhotse_prep.workflow.resumable import Failure, ResultFolder, attempt, check_recordings, list_failures
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.decode.config import PROJECT
from ml2021.asr.words.options import RecogniserOptions
from ml2021.mt.config import TranslateConfig
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.model_files import file_digest, recogniser_digests, translator_digests
from ml2021.st.options import add_options, configs_of, recognition_of, require_files
from ml2021.st.output import ANNOTATIONS, SUFFIXES, Segment, write_annotations, write_lecture

if TYPE_CHECKING:
    from ml2021.st.known_segments import Written
    from ml2021.st.known_text.times import TimedText

logger = logging.getLogger(__name__)
STATE = ".subtitle"  # subfolder of --out: aligners in training, and the marks of lectures that are done
FAULTS = ".alignment.json"
REFINEMENTS = ("sound", "train", "none")
_SUFFIXES = (*SUFFIXES, *ANNOTATIONS, FAULTS)
_LEAST_SPAN = 2.0  # seconds of speech without text that are worth a line
_MOST_SPANS = 3  # in the log


@dataclass(frozen=True)
class SubtitleOptions:
    """Models, values and the folder to write to."""

    out: Path
    aligner: str = ""
    mt: str | None = None
    aligning: AlignerConfig = field(default_factory=AlignerConfig)
    recognition: RecogniserOptions = field(default_factory=RecogniserOptions)
    sentences: SentenceConfig = field(default_factory=SentenceConfig)
    translate: TranslateConfig = field(default_factory=TranslateConfig)
    subtitles: SubtitleConfig = field(default_factory=SubtitleConfig)
    glossary: Path | None = None
    punctuation: Path | None = None
    train: bool = False  # see AlignerChoice


@dataclass(frozen=True)
class Item:
    """A recording with its text, and its translation if that is known."""

    media: Path
    text: Path
    translation: Path | None = None


class Subtitler:
    """Makes the subtitles of one lecture after another; a translator stays in memory."""

    def __init__(self, options: SubtitleOptions) -> None:
        from ml2021.st.cascade import SentenceTranslator, load_punctuator

        self.options = options
        self.translator = SentenceTranslator(options.mt, options.translate, options.glossary)
        self.punctuator = load_punctuator(options.punctuation)

    def __call__(self, item: Item, results: ResultFolder, content: str) -> str:
        """Write all files of a lecture; returns a line that says what was done.

        Raises:
          DataError: the recording or the text cannot be read, or they do not fit. Files of an earlier run stay.
        """
        from lhotse_prep.audio.convert import as_16k_mono
        from ml2021.st.known_segments import Written
        from ml2021.st.known_text.read import read_known_text
        from ml2021.st.known_text.times import AlignerChoice, time_text

        name, o = item.media.stem, self.options
        known = read_known_text(item.text)
        text = Written.of_lines([line.text for line in known.lines])
        if not text.words:
            raise DataError(f"{item.text} has no words, only marks")
        translation = [line.text for line in read_known_text(item.translation).lines] if item.translation else None
        if translation is None and known.translation and o.mt is None:
            translation = list(known.translation)
        training = _training_folder(results, name, content)
        with results.work(name, content) as work_dir:
            audio = as_16k_mono(item.media, work_dir, AudioLimits())
            duration = sf.info(str(audio)).duration
            choice = AlignerChoice(o.aligner, o.aligning, o.recognition, o.train)
            timed = time_text(name, audio, duration, text.words, known.lines, choice, training)
            segments = self._segments(name, text, timed, translation)
            write_lecture(name, segments, work_dir, o.subtitles, duration)
            write_annotations(name, segments, work_dir, duration, item.media)
            faults = faults_of(name, text, timed)
            write_json(work_dir / f"{name}{FAULTS}", faults)
        shutil.rmtree(training, ignore_errors=True)
        _log_faults(name, faults)
        num_shown = sum(len(s.sentence.words) for s in segments)
        return f"{item.media}: {num_shown} of {len(text.words)} words of {item.text}, {len(segments)} sentences"

    def _segments(self, name: str, text: Written, timed: TimedText, translation: list[str] | None) -> list[Segment]:
        from ml2021.st.known_segments import paired
        from ml2021.st.sentences import split_sentences, with_scores, with_spelling

        if translation is not None:
            return paired(text, timed, translation, name)
        said = np.flatnonzero(np.isfinite(timed.start)).tolist()
        words = [(text.words[i], float(timed.start[i]), float(timed.end[i])) for i in said]
        shown = [text.shown[i] for i in said]
        marks = [text.marks[i] for i in said] if text.has_marks else None
        if marks is None and self.punctuator is not None:
            marks = list(self.punctuator.sentence_ends([w[0] for w in words]))
            shown = [a + b for a, b in zip(shown, marks, strict=True)]
        sentences = split_sentences(words, self.options.sentences, marks)
        sentences = with_spelling(with_scores(sentences, [float(timed.score[i]) for i in said]), shown)
        return self.translator.segments(sentences)


def subtitle(items: Sequence[Item], options: SubtitleOptions) -> None:
    """Make the subtitles of lectures. A bad lecture does not stop the rest; what is done already is skipped.

    Raises:
      DataError: before anything is done, a file or model is missing, or files of two lectures would have the same name;
        at the end, the lectures that failed, with the reason of each.
    """
    ResultFolder(options.out, STATE, _SUFFIXES, "", may_be_edited=True).check([(x.media.stem, x.media) for x in items])
    digest = _digest(options)
    todo = []
    for item in items:
        texts = [digest_file(path) for path in (item.text, item.translation) if path is not None]
        results = ResultFolder(options.out, STATE, _SUFFIXES, digest_json([digest, texts]), may_be_edited=True)
        content = digest_file(item.media)
        if not results.is_done(item.media.stem, content):
            todo.append((item, results, content))
    if len(todo) < len(items):
        logger.info("%d of %d lectures are done already", len(items) - len(todo), len(items))
    if not todo:
        return
    make = Subtitler(options)
    failures = []
    for item, results, content in todo:
        result = attempt(partial(make, item, results, content), item.media, results.work_dir(item.media.stem))
        if isinstance(result, Failure):
            logger.error("%s", result.line)
            failures.append(result.line)
        else:
            logger.info("%s", result)
    if failures:
        raise DataError(f"{len(failures)} of {len(items)} lectures have no subtitles: {list_failures(failures)}")


def faults_of(name: str, text: Written, timed: TimedText) -> dict[str, Any]:
    """What of the text is not said, and where there is speech without text: stage 3's report, and spans of speech."""
    from lhotse_prep.alignment.confidence import confidence_report
    from lhotse_prep.alignment.outside_times import uncovered_speech

    report = confidence_report(name, text.words, replace(timed.times, start=timed.start, end=timed.end), timed.regions)
    spans = _joined(uncovered_speech(timed.start, timed.end, timed.regions), timed.start)
    return report | {"speech_without_text": [[round(b, 2), round(e, 2)] for b, e in spans if e - b >= _LEAST_SPAN]}


def _joined(spans: np.ndarray, start: np.ndarray) -> list[tuple[float, float]]:
    """Spans of speech without a word between them as one; spans are (S, 2) seconds, ascending."""
    joined: list[tuple[float, float]] = []
    places = np.searchsorted(start[np.isfinite(start)], spans[:, 0])
    for (begin, end), place, before in zip(spans.tolist(), places, [-1, *places[:-1]]):
        if place == before:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((begin, end))
    return joined


def _log_faults(name: str, faults: dict[str, Any]) -> None:
    from lhotse_prep.alignment.confidence import report_line

    logger.info("%s", report_line(faults))
    untimed = sum(run["num_tokens"] for run in faults["untimed_runs"])
    if untimed:
        logger.warning(
            "%s: %d words of the text are not said, it seems, and are left out; see %s%s", name, untimed, name, FAULTS
        )
    spans = sorted(faults["speech_without_text"], key=lambda s: s[0] - s[1])
    if spans:
        shown = ", ".join(f"{b:.0f}-{e:.0f} s" for b, e in spans[:_MOST_SPANS])
        more = f" and {len(spans) - _MOST_SPANS} more" if len(spans) > _MOST_SPANS else ""
        logger.warning("%s: there is speech without text at %s%s", name, shown, more)


def _training_folder(results: ResultFolder, name: str, content: str) -> Path:
    """Where a lecture's aligner trains. A run that was killed goes on from there if options and files are the same."""
    digest = digest_json([results.options, content])[:12]
    folder = results.state_dir / f"{name}.{digest}.aligner"
    for other in results.state_dir.glob(f"{glob.escape(name)}.{'[0-9a-f]' * len(digest)}.aligner"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _digest(options: SubtitleOptions) -> str:
    o = options
    path = Path(o.aligner).expanduser()
    aligner: Any = file_digest(path) if path.is_file() else recogniser_digests(o.aligner) if o.aligner else ""
    values = [result_options(config) for config in (o.aligning, o.sentences, o.translate, o.subtitles)]
    others = [file_digest(o.glossary), file_digest(o.punctuation), o.train, TIMES_VERSION]
    return digest_json([aligner, o.recognition.digest(), translator_digests(o.mt), values, others])


def items_of(media: Sequence[Path], text: Path, translation: Path | None) -> list[Item]:
    """The text and translation of each recording: files, or those named alike in folders.

    Raises:
      ConfigError: several recordings, and a single text.
      DataError: a recording, text or translation is missing, or a text is there twice.
    """
    check_recordings([(path.stem, path) for path in media])
    for option, path in (("--text", text), ("--translation", translation)):
        if path is not None and not path.exists():
            raise DataError(f"{option} {path}: no such file or folder")
        if path is not None and len(media) > 1 and not path.is_dir():
            raise ConfigError(
                f"{option} {path} is one file for {len(media)} recordings: name a folder with a file NAME.txt, .srt or "
                ".vtt for each"
            )
    return [
        Item(
            path, _text_of(path, text, ("",)), None if translation is None else _text_of(path, translation, ("", ".en"))
        )
        for path in media
    ]


def _text_of(media: Path, place: Path, endings: Sequence[str]) -> Path:
    """The text of a recording: `place`, or the file in it that is named alike."""
    from ml2021.st.known_text.read import TEXTS

    if not place.is_dir():
        return place
    names = [f"{media.stem}{ending}{suffix}" for ending in endings for suffix in TEXTS]
    paths = [place / name for name in names if (place / name).is_file()]
    if not paths:
        raise DataError(f"{place} has no text of {media.name}: none of {', '.join(names[:3])} ...")
    if len(paths) > 1:
        raise DataError(f"{place} has several texts of {media.name}: {', '.join(p.name for p in paths)}; keep one")
    return paths[0]


def main(argv: list[str]) -> None:
    """Entry point: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.st.subtitle",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("media", type=Path, nargs="+", metavar="MEDIA", help="wav, flac, mp3, mp4 ...")
    parser.add_argument("--text", type=Path, required=True, help=".txt, .srt or .vtt, or a folder of these")
    parser.add_argument("--translation", type=Path, help="the same in another language [what --mt translates, or none]")
    parser.add_argument(
        "--aligner",
        "--asr",
        default="",
        help="folder or name of any recogniser, CTC model or Qwen's forced aligner, or words with times (.ctm, .jsonl) "
        "[the text's own times; if it has none, an aligner is trained on the lecture]",
    )
    parser.add_argument(
        "--refine",
        choices=REFINEMENTS,
        default="sound",
        help="make the times of a recogniser or a subtitle file exact: by the sound of the words (seconds), by an "
        "aligner that is then trained on the lecture (minutes, most exact), or not at all [%(default)s]",
    )
    add_options(parser)
    args = parser.parse_args(argv)
    items = items_of(args.media, args.text, args.translation)
    options = _options(args)
    if args.redo:
        shutil.rmtree(args.out / STATE, ignore_errors=True)
    subtitle(items, options)


def _options(args: argparse.Namespace) -> SubtitleOptions:
    require_files(args)
    if args.translation is not None and args.mt is not None:
        raise ConfigError("give --translation or --mt, not both")
    conf = args.conf if args.conf is not None and (args.conf / "asr.yaml").is_file() else PROJECT / "conf" / "mini"
    path = conf / "asr.yaml"
    aligning = load_config(path, "aligner", AlignerConfig) if path.is_file() else AlignerConfig()
    aligning = replace(aligning, model="", refine=args.refine != "none")
    recognition, configs = recognition_of(args, args.aligner or None), configs_of(args.conf)
    return SubtitleOptions(
        args.out,
        args.aligner,
        args.mt,
        aligning,
        recognition,
        *configs,
        args.glossary,
        args.punctuation,
        args.refine == "train",
    )


if __name__ == "__main__":
    run_main(main)
