"""Training in several processes from a stage: its options, starting the processes as torchrun does, and their errors.

A stage keeps its books (`.key`, `.done`, locks) in one process and has `run_processes` run a module whose `main(argv)`
trains. That module ends with `if __name__ == "__main__": run_worker(main)` and calls training.distributed.join_world().
Ranks above 0 of an existing torchrun, and other machines than machine 0, only `follow`.

Imported before it is known whether there is anything to do, so it imports nothing heavy. run.sh calls it for itself:
python -m ml2021.training.launch check|serve|follow --num-gpus 8 --nodes 2 --node-rank 1 --master-addr HOST
python -m ml2021.training.launch halves --conf conf/mini
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import functools
import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.entry import end_with_parent, run_main
from lhotse_prep.workflow.errors import ConfigError, DataError, Ml2021Error
from lhotse_prep.workflow.executor import share_of_cores, thread_variables
from ml2021.training.nodes import (
    Command,
    Ranks,
    Server,
    address_of,
    announce,
    commands_of,
    free_port,
    network_interface,
    require_free_port,
)

SERVED = "ML2021_SERVED"  # environment variable: run.sh has started the server for the other machines
ERRORS = "ML2021_ERRORS"  # environment variable: the folder where the processes write their errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processes:
    """How many training processes run on how many machines."""

    per_node: int = 1
    nodes: int = 1
    node_rank: int = 0
    master_addr: str = ""  # HOST or HOST:PORT of node 0
    on_gpus: bool = False  # whether each process has a GPU of its own; otherwise several compute on the CPU

    @property
    def size(self) -> int:
        """The number of processes on all machines."""
        return self.per_node * self.nodes

    @property
    def follows(self) -> bool:
        """Whether another process keeps the books: a stage then calls `follow(processes)` and nothing else."""
        return self.node_rank > 0 or int(os.environ.get("RANK", "0")) > 0


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Add --num-processes, --num-gpus, --nodes, --node-rank and --master-addr; results' keys do not depend on them."""
    group = parser.add_argument_group("training in several processes")
    group.add_argument(
        "--num-processes",
        type=int,
        metavar="N",
        help="train in N processes on the CPU [without a GPU: train.num_processes]",
    )
    group.add_argument("--num-gpus", type=int, metavar="N", help="train on N GPUs of this machine, a process each [1]")
    group.add_argument("--nodes", type=int, default=1, metavar="N", help="machines that train together [%(default)s]")
    group.add_argument(
        "--node-rank", type=int, default=0, metavar="N", help="number of this machine, from 0 [%(default)s]"
    )
    group.add_argument("--master-addr", default="", metavar="HOST[:PORT]", help="address of machine 0")


def processes_of(args: argparse.Namespace) -> Processes:
    """The processes that the options of add_process_options, or the variables of torchrun, ask for.

    Raises:
      ConfigError: the options contradict each other or ask for GPUs that are not there.
    """
    counts = {"--num-processes": args.num_processes, "--num-gpus": args.num_gpus, "--nodes": args.nodes}
    for option, count in counts.items():
        if count is not None and count < 1:
            raise ConfigError(f"{option} must be at least 1, got {count}")
    if args.num_processes is not None and args.num_gpus is not None:
        raise ConfigError("give --num-gpus (a process for each GPU) or --num-processes (on the CPU), not both")
    if not 0 <= args.node_rank < args.nodes:
        raise ConfigError(
            f"--node-rank must be from 0 to {args.nodes - 1} with --nodes {args.nodes}, got {args.node_rank}"
        )
    if args.nodes > 1 and not args.master_addr:
        raise ConfigError(f"--nodes {args.nodes} needs --master-addr: the host name of the machine with --node-rank 0")
    if args.master_addr and args.nodes == 1:
        raise ConfigError("--master-addr is only for several machines: give --nodes too")
    if "RANK" in os.environ:
        if args.num_processes or args.num_gpus or args.nodes > 1:
            raise ConfigError("torchrun has started this process (RANK is set): do not give --num-gpus or the like too")
        if os.environ["RANK"] == "0":
            _ranks()  # at exit it would be too late to import torch
            atexit.register(_end_ranks, os.getpid())
        return Processes(int(os.environ.get("WORLD_SIZE", "1")))
    address_of(args.master_addr)
    if args.num_gpus is not None:
        _require_gpus(args.num_gpus)
    per_node = args.num_gpus or args.num_processes or 1
    return Processes(per_node, args.nodes, args.node_rank, args.master_addr, args.num_gpus is not None)


def on_cpu_by_default(processes: Processes, args: argparse.Namespace, count: int) -> Processes:
    """`count` processes, at most one for each core, on a machine without GPU whose user gave no number."""
    is_given = args.num_processes is not None or args.num_gpus is not None or args.nodes > 1 or "RANK" in os.environ
    if is_given or _has_gpu():
        return processes
    return replace(processes, per_node=min(count, share_of_cores(1)))


def halves(conf: Path) -> tuple[list[int], list[int]] | None:
    """Halves of the cores of this process, on which the recogniser and the translator train at the same time.

    None: one after the other, since the configuration does not ask for it (mt.beside_recogniser in mt.yaml), there is a
    GPU or only one core, or OMP_NUM_THREADS asks for more threads than half of the cores. Hyperthreads of one core,
    and cores of one processor, are in the same half where the numbers allow it.
    """
    import yaml

    try:
        content = yaml.safe_load((conf / "mt.yaml").read_text(encoding="utf-8"))
        is_wanted = content["mt"].get("beside_recogniser", False) is True
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return None  # the stages say what is wrong with the file
    if not is_wanted or _has_gpu() or not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0), key=_place)
    half = len(cores) // 2
    threads = os.environ.get("OMP_NUM_THREADS", "1").partition(",")[0].strip()
    if half == 0 or not threads.isdigit() or int(threads) > half:
        return None
    return cores[half:], cores[:half]


def _place(core: int) -> tuple[int, int, int]:
    """The number of the processor, of the core in it, and of the hyperthread."""
    folder = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        package, number = (int((folder / name).read_text()) for name in ("physical_package_id", "core_id"))
    except (OSError, ValueError):
        return 0, core, core
    return package, number, core


def _has_gpu() -> bool:
    """Whether this machine has a GPU, as its devices tell: to ask torch takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev", name).exists() for name in ("kfd", "dxg"))


def run_processes(module: str, arguments: Sequence[str], processes: Processes) -> None:
    """Run `main(arguments)` of a module in all processes and wait until all have ended.

    Raises:
      DataError: one of them failed; the others have been ended. The message is its error.
      KeyboardInterrupt: Ctrl-C; all have been ended.
    """
    if "RANK" in os.environ:
        _ranks().tell(Command(module, tuple(arguments)))
        _run_here(Command(module, tuple(arguments)))
    elif processes.nodes == 1:
        _launch(Command(module, tuple(arguments)), processes)
    else:
        command = Command(module, tuple(arguments), free_port())
        _, port = address_of(processes.master_addr)
        with contextlib.nullcontext() if SERVED in os.environ else _serving(port, processes.nodes):
            announce(command, port)
            _launch(command, processes)


def follow(processes: Processes) -> None:
    """Take part in the trainings of the process that keeps the books, until that ends.

    Raises:
      DataError: a training failed, or that process did.
    """
    if "RANK" in os.environ:
        for command in _ranks().commands():
            _run_here(command)
        return
    host, port = address_of(processes.master_addr)
    for command in commands_of(host, port, processes.node_rank, processes.nodes):
        logger.info("taking part in %s", command.module)
        _launch(command, processes)


def _launch(command: Command, processes: Processes) -> None:
    """Start the processes of this machine, as torchrun does, and wait until they have ended."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed", *logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what failed is in the error below
    host = address_of(processes.master_addr)[0] if processes.nodes > 1 else "localhost"
    with _environment(processes) as errors:
        logs = DefaultLogsSpecs(log_dir=str(errors / "log"))  # torch's own folder would be left behind
        config = LaunchConfig(
            min_nodes=processes.nodes,
            max_nodes=processes.nodes,
            nproc_per_node=processes.per_node,
            run_id="ml2021",
            rdzv_backend="static" if processes.nodes > 1 else "c10d",
            rdzv_endpoint=f"{host}:{command.port}",
            rdzv_configs={"rank": processes.node_rank, "timeout": 600} if processes.nodes > 1 else {},
            local_addr=None if processes.nodes > 1 else "localhost",
            max_restarts=0,
            logs_specs=logs,
        )
        try:
            elastic_launch(config, sys.executable)("-m", command.module, *command.arguments)
        except ChildFailedError as e:
            raise DataError(_message_of(errors, {rank: f.exitcode for rank, f in e.failures.items()})) from None
        except SignalException as e:
            if e.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            sys.exit(128 + e.sigval)


def _run_here(command: Command) -> None:
    importlib.import_module(command.module).main(list(command.arguments))


@functools.cache
def _ranks() -> Ranks:
    return Ranks()


def _end_ranks(pid: int) -> None:
    if os.getpid() == pid:
        _ranks().end()


@contextlib.contextmanager
def _serving(port: int, num_nodes: int) -> Iterator[None]:
    """A server for the other machines during one training of a stage that was not started by run.sh."""
    require_free_port(port)
    server, exit_code = Server(port, num_nodes), 1
    server.start()
    try:
        yield
        exit_code = 0
    finally:
        server.end(exit_code)


def run_worker(main: Callable[[list[str]], None]) -> None:
    """As run_main, for a module that run_processes runs: what it raises is reported by the process that started it."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        run_main(_refuse_options)
    run_main(_reporting(main) if ERRORS in os.environ else main)


def _refuse_options(argv: list[str]) -> None:
    raise ConfigError("a stage of run.sh runs this module in its processes, and it has no options: run the stage")


def _reporting(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    def run(argv: list[str]) -> None:
        end_with_parent()
        try:
            main(argv)
        except Exception as e:
            is_users = isinstance(e, Ml2021Error | OSError)
            content = {"time": time.time(), "message": str(e), "traceback": "" if is_users else traceback.format_exc()}
            path = Path(os.environ[ERRORS], f"{os.environ['RANK']}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            sys.exit(1)

    return run


def _message_of(errors: Path, exit_codes: dict[int, int]) -> str:
    """The error of the process that failed first; prints its traceback if it is not a user's error.

    Args:
      errors: the folder with what the processes wrote.
      exit_codes: {rank: code} of those that failed; -9 if a process was killed with signal 9.
    """
    contents: list[dict[str, Any]] = [json.loads(p.read_text(encoding="utf-8")) for p in errors.glob("*.json")]
    contents.sort(key=lambda content: content["time"])
    for content in contents:
        if not content["traceback"]:
            return str(content["message"])
    for rank, code in exit_codes.items():
        if code < 0 and -code != signal.SIGTERM:  # with SIGTERM, all are ended when one has failed
            name = signal.Signals(-code).name
            memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
            return f"training process {rank} was ended by {name}{memory}; the others were stopped"
    # where one process ends, the others lose their connection to it, which may be noticed first
    for content in contents:
        if not _is_lost_connection(content["message"]):
            sys.stderr.write(content["traceback"])
            return f"a training process failed: {content['message'].splitlines()[0]} (see its traceback above)"
    if contents:
        return "a training process lost its connection to another one, which has ended; the others were stopped"
    return f"training process {next(iter(exit_codes))} ended with code {next(iter(exit_codes.values()))}"


def _is_lost_connection(message: str) -> bool:
    return any(text in message for text in ("onnection closed by peer", "onnection reset by peer", "NCCL", "gloo"))


@contextlib.contextmanager
def _environment(processes: Processes) -> Iterator[Path]:
    """The variables and signal handlers for starting processes, undone afterwards; yields the folder of errors."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="ml2021-") as errors:
        os.environ[ERRORS] = errors
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a warning where all layers are used
        os.environ.update(thread_variables(share_of_cores(processes.per_node)))
        if not processes.on_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
            interface = network_interface(address_of(processes.master_addr)[0]) if processes.nodes > 1 else None
            if interface is not None:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        try:
            yield Path(errors)
        finally:
            os.environ.clear()
            os.environ.update(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _require_gpus(count: int) -> None:
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available == 0:
        raise ConfigError(f"--num-gpus {count}: torch sees no GPU on this machine; on CPUs, give --num-processes")
    if count > available:
        raise ConfigError(f"--num-gpus {count}: this machine has only {available}")


def main(argv: list[str]) -> None:
    """What run.sh needs: check the options, serve other machines (until SIGUSR1: success, or SIGTERM), or follow; or
    print the halves of the cores, as taskset reads them, or nothing."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.training.launch", description=main.__doc__)
    parser.add_argument("what", choices=("check", "serve", "follow", "halves"))
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAML files [%(default)s]")
    add_process_options(parser)
    args = parser.parse_args(argv)
    if args.what == "halves":
        print(*(",".join(map(str, half)) for half in halves(args.conf) or ()))
        return
    processes = processes_of(args)
    _, port = address_of(processes.master_addr)
    if args.what == "follow":
        follow(processes)
    elif processes.nodes > 1 and processes.node_rank == 0:
        require_free_port(port)
        if args.what == "serve":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
            end_with_parent(signal.SIGTERM)
            server = Server(port, processes.nodes)
            server.start()
            server.end(0 if signal.sigwait([signal.SIGTERM, signal.SIGUSR1]) == signal.SIGUSR1 else 1)


if __name__ == "__main__":
    run_main(main)
