"""Work for executors' processes; importing this module is all that a new process has to do."""

from __future__ import annotations

import os
import time

from lhotse_prep.workflow.errors import DataError

prepared: list[int] = []  # of this process


def power(x: int) -> int:
    time.sleep(0.01 * (x % 3))  # so that they finish in another order
    if x == 99:
        raise DataError("99 is bad")
    return x**2


def process_and_power(x: int) -> tuple[int, int]:
    return os.getpid(), power(x)


def die(x: int) -> None:
    os._exit(x)


def prepare() -> None:
    prepared.append(7)


def prepared_and_process(x: int) -> tuple[list[int], int]:
    return prepared, os.getpid()
