"""What tests do with processes that they do not start themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until these processes have ended, for half a minute at most."""
    pids, end = list(pids), time.monotonic() + 30
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < end, "processes are left behind"
        time.sleep(0.05)
