"""How machine 0 tells the others what to run."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.training.nodes import Command, Server, address_of, announce, commands_of, free_port, require_free_port

COMMAND = Command("ml2021.some.module", ("--name", "\u4e00 b"), 1234)


def test_a_port_in_use_is_named() -> None:
    server = Server(free_port(), 2)
    port = server.server_address[1]
    with pytest.raises(ConfigError, match=rf"port {port} of this machine is in use.*--master-addr HOST:PORT"):
        require_free_port(port)
    server.server_close()
    require_free_port(port)
    assert address_of("host") == ("host", 29500) and address_of("host:80") == ("host", 80)


@pytest.fixture
def server() -> Iterator[Server]:
    """For three machines."""
    server = Server(free_port(), 3)
    server.start()
    yield server
    server.end(0)


class Follower:
    """Another machine, in a thread: what it receives, the last of it the end (None) or an error."""

    def __init__(self, server: Server | int, rank: int, nodes: int = 3) -> None:
        self.received: queue.Queue[Command | Exception | None] = queue.Queue()
        port = server if isinstance(server, int) else int(server.server_address[1])
        self.arguments = "localhost", port, rank, nodes
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            for command in commands_of(*self.arguments):
                self.received.put(command)
            self.received.put(None)
        except Exception as e:
            self.received.put(e)

    def next(self) -> Command | Exception | None:
        return self.received.get(timeout=60)


def test_a_command_waits_for_all_machines_and_reaches_each_once(server: Server) -> None:
    first = Follower(server, 1)
    sent = threading.Event()

    def send() -> None:
        announce(COMMAND, server.server_address[1])
        sent.set()

    threading.Thread(target=send, daemon=True).start()
    assert not sent.wait(0.3)
    second = Follower(server, 2)
    assert sent.wait(10)
    assert first.next() == second.next() == COMMAND
    server.end(0)
    assert first.next() is None and second.next() is None
    assert first.received.empty()


def test_machines_with_other_options_or_a_number_twice_are_refused(server: Server) -> None:
    assert "--nodes is 4 here, but 3 on machine 0" in str(Follower(server, 1, 4).next())
    first = Follower(server, 1)
    while 1 not in server.followers:
        time.sleep(0.01)
    assert "another machine has joined with --node-rank 1" in str(Follower(server, 1).next())
    server.end(1)
    assert "machine 0, localhost, has stopped with an error" in str(first.next())


def test_a_machine_that_has_gone_is_waited_for_again(server: Server) -> None:
    port = server.server_address[1]
    commands = cast(Generator[Command, None, None], commands_of("localhost", port, 1, 3))
    second = Follower(server, 2)
    thread = threading.Thread(target=announce, args=(COMMAND, port), daemon=True)
    thread.start()
    assert next(commands) == COMMAND and second.next() == COMMAND
    commands.close()  # as when it is killed
    while 1 in server.followers:
        time.sleep(0.01)
    threading.Thread(target=announce, args=(COMMAND, port), daemon=True).start()
    again = Follower(server, 1)
    assert again.next() == COMMAND and second.next() == COMMAND


def test_only_modules_of_the_project_are_run(server: Server) -> None:
    followers = Follower(server, 1), Follower(server, 2)
    announce(Command("os", ()), server.server_address[1])
    for follower in followers:
        assert "asks for module os, which is none of this project" in str(follower.next())


def test_an_end_without_farewell_is_an_error() -> None:
    server = Server(free_port(), 2)
    server.start()
    follower = Follower(server, 1, 2)
    while 1 not in server.followers:
        time.sleep(0.01)
    connection = server.followers[1].connection
    connection.shutdown(2)  # as when machine 0 is switched off
    assert "is lost: its ./run.sh has been killed" in str(follower.next())
    server.end(0)


@pytest.mark.parametrize(("number", "message"), [(signal.SIGUSR1, None), (signal.SIGTERM, "has stopped with an error")])
def test_the_server_of_run_sh_says_how_machine_0_ended(
    project: Path, number: signal.Signals, message: str | None
) -> None:
    port = free_port()
    command = ["-m", "ml2021.training.launch", "serve", "--nodes", "2", "--master-addr", f"localhost:{port}"]
    environment = os.environ | {"PYTHONPATH": f"{project}:{project}/egs"}
    server = subprocess.Popen([sys.executable, *command], env=environment)
    follower = Follower(port, 1, 2)
    announce(COMMAND, port)
    assert follower.next() == COMMAND
    server.send_signal(number)
    end = follower.next()
    assert (end is None) == (message is None) and (message or "") in str(end)
    assert server.wait(timeout=30) == 0
