"""Telling others which training to take part in: machine 0 tells other machines, rank 0 of torchrun its other ranks.

Machine 0 listens on a port for as long as its ./run.sh runs. The other machines connect to it and wait for commands.
Messages are lines of JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lhotse_prep.workflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

PORT = 29500  # where machine 0 listens unless --master-addr names another port
LONGEST_WAIT = 3600.0  # seconds in which machine 0 must begin to listen
MAY_RUN = "ml2021."  # modules that another machine may ask for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """A module whose main(arguments) all processes are to run; they meet at this port of machine 0."""

    module: str
    arguments: tuple[str, ...]
    port: int = 0


def address_of(master_addr: str) -> tuple[str, int]:
    """Host and port of HOST or HOST:PORT.

    Raises:
      ConfigError: the port is none.
    """
    host, colon, port = master_addr.rpartition(":")
    if not colon:
        return master_addr, PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--master-addr must be HOST or HOST:PORT with a port from 1 to 65535, got {master_addr!r}")
    return host, int(port)


def require_free_port(port: int) -> None:
    """
    Raises:
      ConfigError: another program listens on it.
    """
    try:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", port))
    except OSError as e:
        raise ConfigError(
            f"port {port} of this machine is in use ({e.strerror}); end the other run, or give all machines "
            "another port: --master-addr HOST:PORT"
        ) from e


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("", 0))
        return int(s.getsockname()[1])


class Server(socketserver.ThreadingTCPServer):
    """What machine 0 runs: keeps the connections of the other machines and hands commands on to all of them."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, num_nodes: int) -> None:
        self.num_nodes = num_nodes
        self.followers: dict[int, _Connection] = {}  # by node rank
        self.changed = threading.Condition()
        super().__init__(("", port), _Connection)

    def start(self) -> None:
        """Listen in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def end(self, exit_code: int) -> None:
        """Tell all machines that there will be no more commands."""
        with self.changed:
            for follower in self.followers.values():
                follower.send({"end": exit_code})
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            request = json.loads(self.rfile.readline(1_000_000))
            is_command, rank = "module" in request, int(request.get("node_rank", 0))
        except (ValueError, AttributeError, TypeError):
            return
        if is_command:
            self._hand_on(request)
        elif error := self._refusal(request, rank):
            self.send({"error": error})
        else:
            self._keep(rank)

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # if the machine has gone, its own thread sees it too
            self.wfile.write(json.dumps(message).encode() + b"\n")

    def _refusal(self, request: dict[str, Any], rank: int) -> str:
        nodes = self.server.num_nodes
        if request.get("nodes") != nodes:
            return f"--nodes is {request.get('nodes')} here, but {nodes} on machine 0"
        with self.server.changed:
            if rank in self.server.followers:
                return f"another machine has joined with --node-rank {rank}: give each machine a number of its own"
        return ""

    def _keep(self, rank: int) -> None:
        """Until the machine closes its connection."""
        with self.server.changed:
            self.server.followers[rank] = self
            self.server.changed.notify_all()
        try:
            while self.rfile.read(1):
                pass
        except OSError:
            pass
        with self.server.changed:
            self.server.followers.pop(rank, None)

    def _hand_on(self, command: dict[str, Any]) -> None:
        """A command of machine 0 itself, once all machines are there."""
        if self.client_address[0] != self.connection.getsockname()[0]:
            return
        server = self.server
        with server.changed:
            while missing := sorted({*range(1, server.num_nodes)} - server.followers.keys()):
                self.send({"missing": missing})
                server.changed.wait()
            for follower in server.followers.values():
                follower.send(command)
        self.send({"sent": True})


def announce(command: Command, port: int) -> None:
    """Have machine 0's server, which listens on `port`, hand a command on; wait until all machines have it."""
    with _connect("localhost", port, 60.0) as connection, connection.makefile("rwb") as stream:
        stream.write(json.dumps(asdict(command)).encode() + b"\n")
        stream.flush()
        for line in stream:
            message = json.loads(line)
            if "missing" not in message:
                return
            ranks = " and ".join(map(str, message["missing"]))
            logger.info("waiting for the machines with --node-rank %s to run ./run.sh with the same options", ranks)
    raise DataError(f"the server for the other machines, on port {port}, has ended")


def commands_of(host: str, port: int, node_rank: int, num_nodes: int) -> Iterator[Command]:
    """The commands of machine 0, until it has finished.

    Raises:
      ConfigError: machine 0 was started with other options.
      DataError: it does not listen, fails, or cannot be reached any more.
    """
    logger.info("waiting for machine 0, %s:%d", host, port)
    with _connect(host, port, LONGEST_WAIT) as connection, connection.makefile("rwb") as stream:
        stream.write(json.dumps({"node_rank": node_rank, "nodes": num_nodes}).encode() + b"\n")
        stream.flush()
        for line in stream:
            message = json.loads(line)
            if "error" in message:
                raise ConfigError(message["error"])
            if "end" in message:
                if message["end"]:
                    raise DataError(f"machine 0, {host}, has stopped with an error; see its messages")
                logger.info("machine 0 has finished")
                return
            command = Command(str(message["module"]), tuple(map(str, message["arguments"])), int(message["port"]))
            if not command.module.startswith(MAY_RUN):
                raise DataError(f"{host} asks for module {command.module}, which is none of this project")
            yield command
    raise DataError(
        f"the connection to machine 0, {host}:{port}, is lost: its ./run.sh has been killed, or the network"
    )


def _connect(host: str, port: int, seconds: float) -> socket.socket:
    end = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=10)
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection
        except socket.gaierror as e:
            raise ConfigError(f"--master-addr {host}: no machine of that name ({e.strerror})") from e
        except OSError as e:
            if time.monotonic() > end:
                raise DataError(
                    f"{host}:{port} does not answer ({e.strerror or e}): start ./run.sh with --node-rank 0 there"
                ) from e
            time.sleep(0.5)


def network_interface(host: str) -> str | None:
    """The name of the network interface with the address by which this machine reaches a host; None if unknown."""
    if sys.platform != "linux":
        return None
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect((host, 1))
            address = socket.inet_aton(s.getsockname()[0])
            for _, name in socket.if_nameindex():
                try:
                    answer = fcntl.ioctl(s.fileno(), 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
                except OSError:
                    continue  # it has no address
                if answer[20:24] == address:
                    return name
        except OSError:
            pass
    return None


class Ranks:
    """The processes of an existing torchrun: rank 0's commands are in the store of torchrun, by the name of the script.

    Each command has a process group of its own.
    """

    def __init__(self) -> None:
        from torch._C._distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=timedelta(days=30)))
        store.set_timeout(timedelta(days=30))  # preparing data may take long
        self.store: Store = PrefixStore(f"ml2021/{Path(sys.argv[0]).stem}", store)
        self.count = 0

    def tell(self, command: Command) -> None:
        """Rank 0: have the others take part in a command, and join their group."""
        self.store.set(f"command{self.count}", json.dumps(asdict(command)))
        self._join()

    def commands(self) -> Iterator[Command]:
        """Other ranks: the commands of rank 0, each after joining its group."""
        while content := json.loads(self.store.get(f"command{self.count}")):
            self._join()
            yield Command(content["module"], tuple(content["arguments"]))
        self.store.add("ended", 1)

    def end(self) -> None:
        """Rank 0: tell the others that there will be no more commands, and wait a minute for them to notice."""
        self.store.set(f"command{self.count}", "null")
        limit = time.monotonic() + 60
        while self.store.add("ended", 0) < self.size - 1 and time.monotonic() < limit:
            time.sleep(0.05)

    def _join(self) -> None:
        from torch._C._distributed_c10d import PrefixStore

        from ml2021.training.distributed import join_world

        join_world(PrefixStore(f"group{self.count}", self.store))
        self.count += 1
