"""The command line of the package: each command reads files and writes files, as the stages of run.sh do."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.corpora.source.config import KINDS, CheckConfig, CorpusConfig
from lhotse_prep.text.config import SCRIPTS, TextConfig
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, number
from lhotse_prep.workflow.errors import DataError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # what add_subparsers returns; it has no public name

_MANIFESTS = (
    "ml2021_recordings_*.jsonl.gz",
    "ml2021_supervisions_*.jsonl.gz",
    "ml2021_segments_*.jsonl.gz",
    "texts.jsonl",
    "untranslated.jsonl",
    "characters.jsonl",
    "rejected.jsonl",
    "source",
)  # what `manifests` writes
_ALIGN = """Reads:  MANIFESTS (of `manifests`) and a recogniser's words with times (.ctm, .jsonl, or a folder of them).
Writes: OUT/ml2021_supervisions_{train,dev,test}.jsonl.gz with times of words, ml2021_PART.ctm, confidence.jsonl.

No model is needed or read: the recogniser's words are matched to the transcripts. Lectures whose utterances have exact
times take those; if all do, --words may be omitted. To align with an acoustic model, or with a model that is trained on
the lectures themselves, run stage 3, which is part of the package ml2021:
  ./run.sh --corpus CORPUS --stage 3 --stop-stage 3 [--aligner-model MODEL]"""


def main(argv: list[str]) -> None:
    """Run one command."""
    args = _parser().parse_args(argv)
    args.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lhotse_prep", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    corpus = _command(
        commands,
        "corpus",
        _corpus,
        "convert tables or a folder to one form",
        "Reads:  CORPUS: a .parquet table or folder of tables (lectures, utterances, or both), or a folder of\n"
        "        NAME.wav (.flac, .mp3, .m4a, .mp4, .mkv ...) with NAME.txt and NAME.en.txt.\n"
        "Writes: OUT: 16 kHz mono recordings, texts, splits.yaml or utterances.jsonl, segments.jsonl of both.",
    )
    manifests = _command(
        commands,
        "manifests",
        _manifests,
        "write Lhotse manifests, checked",
        "Reads:  CORPUS, as `corpus` reads or writes it.\n"
        "Writes: OUT/ml2021_{recordings,supervisions}_{train,dev,test}.jsonl.gz, ml2021_segments_PART.jsonl.gz\n"
        "        (exact times), texts.jsonl, characters.jsonl, rejected.jsonl; OUT/source if audio is written.\n"
        "        Parts without data have no files. OUT is made anew: what an earlier run wrote there is removed.",
    )
    for command in (corpus, manifests):
        command.add_argument("corpus", type=Path, metavar="CORPUS")
        command.add_argument("out", type=Path, metavar="OUT")
        command.add_argument("--kind", choices=KINDS, default="auto", help="kind of the tables [%(default)s]")
        command.add_argument(
            "--utterances",
            default="",
            metavar="PATH",
            help="tables of the utterances that the lectures of CORPUS consist of",
        )
        command.add_argument("--keep-dev-in-test", action="store_true", help="keep test utterances that are in dev too")
        _add_check_options(command)
    manifests.add_argument(
        "--script",
        choices=SCRIPTS,
        default="keep",
        help="script of the transcripts: s2t Traditional, t2s Simplified [%(default)s]",
    )
    _add_later_commands(commands)
    for command in (corpus, manifests):
        add_executor_options(command, ExecutorConfig())
    return parser


def _add_later_commands(commands: Commands) -> None:
    align = _command(commands, "align", _align, "match a recogniser's words to transcripts", _ALIGN)
    align.add_argument("manifests", type=Path, metavar="MANIFESTS")
    align.add_argument("out", type=Path, metavar="OUT")
    align.add_argument("--words", type=Path, help="a recogniser's .ctm or .jsonl file, or a folder of them")
    windows = _command(
        commands,
        "windows",
        _windows,
        "cut lectures at pauses, with features",
        "Reads:  MANIFESTS (of `manifests`) and ALIGNED (of `align` or stage 3).\n"
        "Writes: OUT/ml2021_cuts_{train,dev,test}.jsonl.gz, 80-bin features, left_out.jsonl; with --shar OUT/shar.",
    )
    windows.add_argument("manifests", type=Path, metavar="MANIFESTS")
    windows.add_argument("aligned", type=Path, metavar="ALIGNED")
    windows.add_argument("out", type=Path, metavar="OUT")
    windows.add_argument("--max-duration", type=number, default=WindowConfig.max_duration, help="seconds [%(default)s]")
    windows.add_argument("--shar", action="store_true", help="also write Lhotse Shar")
    bitext = _command(
        commands,
        "bitext",
        _bitext,
        "pair the sentences of transcript and translation",
        "Reads:  DATA/manifests, and DATA/aligned if it exists.\nWrites: OUT/{train,dev,test,rejected}.jsonl.",
    )
    bitext.add_argument("data", type=Path, metavar="DATA")
    bitext.add_argument("out", type=Path, metavar="OUT")
    validate = _command(
        commands,
        "validate",
        _validate,
        "check manifests and read all their audio",
        "Reads:  MANIFESTS, from any program: a folder with manifests of recordings, supervisions, segments, cuts or\n"
        "        features (.jsonl, .json or .yaml, also .gz), or one of them; the audio and features that they name.\n"
        "Writes: nothing; with --skip-bad --out OUT the manifests without the bad entries, and rejected.jsonl.\n"
        "The exit code is 1 if there is an error.",
    )
    validate.add_argument("manifests", type=Path, metavar="MANIFESTS")
    validate.add_argument("--out", type=Path, help="with --skip-bad: output folder")
    _add_check_options(validate)
    for command in (align, windows, validate):
        add_executor_options(command, ExecutorConfig())


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], title: str, files: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=title,
        description=f"{title[0].upper()}{title[1:]}.\n\n{files}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_check_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--skip-bad", action="store_true", help="leave out entries with errors, count them, write rejected.jsonl"
    )
    command.add_argument(
        "--max-rejected",
        type=number,
        default=CheckConfig.max_rejected,
        help="fraction of the rows that may be left out [%(default)s]",
    )


def _checks(args: argparse.Namespace) -> CheckConfig:
    return replace(CheckConfig(), skip_bad=args.skip_bad, max_rejected=args.max_rejected)


def _corpus_config(args: argparse.Namespace) -> CorpusConfig:
    return CorpusConfig(args.kind, args.utterances, args.keep_dev_in_test)


def _corpus(args: argparse.Namespace) -> None:
    from lhotse_prep.corpora.detect import import_corpus, new_source
    from lhotse_prep.workflow.executor import open_executor

    with open_executor(executor_config(args)) as executor, new_source(args.corpus, args.out) as source:
        import_corpus(args.corpus, source, _corpus_config(args), _checks(args), executor)


def _manifests(args: argparse.Namespace) -> None:
    from lhotse_prep.corpora.detect import open_source
    from lhotse_prep.workflow.executor import open_executor

    text, corpus, checks = TextConfig(args.script), _corpus_config(args), _checks(args)
    with (
        open_executor(executor_config(args)) as executor,
        _new_folder(args.out, _MANIFESTS, args.corpus) as work,
        open_source(args.corpus, work, corpus, checks, executor) as source,
    ):
        from lhotse_prep.manifests.make import write_manifests  # only now, see open_source

        write_manifests(source, work, text, checks, executor, args.out)


def _align(args: argparse.Namespace) -> None:
    from lhotse_prep.alignment.corpus import PATTERNS, align_corpus
    from lhotse_prep.alignment.matching import times_of_words
    from lhotse_prep.workflow.executor import open_executor

    with _new_folder(args.out, PATTERNS, args.manifests) as work, open_executor(executor_config(args)) as executor:
        align_corpus(args.manifests, work, times_of_words(args.words, executor), StretchConfig())


def _windows(args: argparse.Namespace) -> None:
    from lhotse_prep.windows.write import PATTERNS, write_windows
    from lhotse_prep.workflow.executor import open_executor

    target = min(WindowConfig.target_duration, args.max_duration)
    config = WindowConfig(target_duration=target, max_duration=args.max_duration, shar=args.shar)
    folders = (args.manifests, args.aligned)
    with _new_folder(args.out, PATTERNS, *folders) as work, open_executor(executor_config(args)) as executor:
        write_windows(args.manifests, args.aligned, work, args.out, config, executor)


def _bitext(args: argparse.Namespace) -> None:
    from lhotse_prep.bitext.config import BitextConfig
    from lhotse_prep.bitext.files import PATTERNS
    from lhotse_prep.bitext.write import make_bitext

    with _new_folder(args.out, PATTERNS, args.data / "manifests", args.data / "aligned") as work:
        make_bitext(args.data, work, BitextConfig())


def _validate(args: argparse.Namespace) -> None:
    from lhotse_prep.manifests.validate import validate_folder
    from lhotse_prep.workflow.executor import open_executor

    with open_executor(executor_config(args)) as executor:
        for part, counts in validate_folder(args.manifests, _checks(args), executor, args.out).items():
            print(f"{part}: {', '.join(f'{n} {kind}' for kind, n in counts.items())}, all good")


@contextlib.contextmanager
def _new_folder(out: Path, patterns: Sequence[str], *inputs: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out`, in place of what an earlier run of the command wrote there.

    Raises:
      DataError: an input is in `out`, or something else than this command writes.
    """
    from lhotse_prep.workflow.files import MARK, is_clutter, whole_folder

    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise DataError(f"{out} would be made anew, and {path} is in it; name another folder")
    for path in sorted(out.iterdir()) if out.is_dir() else []:
        if not any(fnmatch(path.name, pattern) for pattern in (*patterns, MARK)) and not is_clutter(path.name):
            raise DataError(f"{out} holds {path.name}, which this command does not write; name another folder")
    with whole_folder(out) as work:
        yield work
