"""What every executable shares: common options, logging, and users' errors printed as one line."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.workflow.config import EXECUTORS, ExecutorConfig
from lhotse_prep.workflow.errors import Ml2021Error

BESIDE = "ML2021_BESIDE"  # environment variable: the process number of a run.sh that has this stage beside another one
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_LOG_FORMAT = "%(asctime)s %(levelname)s (%(filename)s:%(lineno)d:%(funcName)s) %(message)s"


def stage_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every stage has; it accepts no abbreviated options."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAML files [%(default)s]")
    parser.add_argument("--data", type=Path, default=Path("data/mini"), help="data folder [%(default)s]")
    parser.add_argument("--exp", type=Path, default=Path("exp/mini"), help="experiment folder [%(default)s]")
    parser.add_argument(
        "--redo",
        action="store_true",
        help="where long work, such as a training, was done with other options or inputs, move it to NAME.before-DATE "
        "and begin anew; otherwise the stage stops and says what differs",
    )
    return parser


def add_executor_options(parser: argparse.ArgumentParser, default: ExecutorConfig) -> None:
    """Add --executor, --num-jobs and --dask-scheduler; the files that are written do not depend on them."""
    group = parser.add_argument_group("executor (the files written are the same for all of them)")
    group.add_argument(
        "--executor",
        choices=EXECUTORS,
        default=default.kind,
        help="auto: processes if --num-jobs is more than 1, else serial [%(default)s]",
    )
    group.add_argument(
        "--num-jobs",
        type=int,
        default=default.num_jobs,
        help="processes, or workers of a local Dask cluster [%(default)s]",
    )
    group.add_argument(
        "--dask-scheduler",
        default=default.dask_scheduler,
        metavar="ADDRESS",
        help="tcp://HOST:PORT, or local to start a cluster on this machine [%(default)s]",
    )


def executor_config(args: argparse.Namespace) -> ExecutorConfig:
    """The configuration that the options of add_executor_options give."""
    return ExecutorConfig(args.executor, args.num_jobs, args.dask_scheduler)


def number(text: str) -> float:
    """The value of an option of argparse that is a number; NaN and infinity, which pass most limits, are refused."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return value


def hyphenated(argv: Sequence[str]) -> list[str]:
    """The arguments with `--a_b` written as `--a-b`; values stay as they are."""
    return [
        "--" + a[2:].split("=", 1)[0].replace("_", "-") + ("=" + a.split("=", 1)[1] if "=" in a else "")
        if a.startswith("--")
        else a
        for a in argv
    ]


def end_with_parent(with_signal: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when the one that started it is killed, so that nothing is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, with_signal)


def _end_with(pid: int) -> None:
    """End this process with another one, which did not start it, so that nothing is left behind."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "linux":  # it ends here even if nobody has asked yet how it ended
                select.select([os.pidfd_open(pid)], [], [])
            else:
                while True:
                    os.kill(pid, 0)  # no signal, but an error where there is no such process
                    time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def run_main(main: Callable[[list[str]], None]) -> None:
    """Run an executable's main with the command line's arguments, logging to stderr.

    A user's error (Ml2021Error, or a file that cannot be read or written) is printed as one line and exits with 1;
    Ctrl-C exits with 130; any other exception keeps its traceback.
    """
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, datefmt="%Y-%m-%d %H:%M:%S", stream=sys.stderr)
    if BESIDE in os.environ:
        end_with_parent()  # the shell that run.sh ends
        _end_with(int(os.environ[BESIDE]))
    try:
        main(hyphenated(sys.argv[1:]))
    except Ml2021Error as e:
        sys.exit(f"{_program()}: error: {e}")
    except OSError as e:
        if e.errno is None or e.filename is None and "space" not in str(e):
            raise
        sys.exit(f"{_program()}: error: {e.strerror}: {e.filename or ''}")
    except KeyboardInterrupt:
        sys.exit(130)


def _program() -> str:
    """The name of the script, or of the module that was run with python -m."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).name
