"""Memory use of this process, or of another one with its children, for benchmarks."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil


def megabytes(key: str) -> float:
    """Resident memory in MB: now (key VmRSS) or at its peak (VmHWM). getrusage would include the parent's peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


class Peak:
    """Peak resident memory of a process and its children together, sampled twenty times a second."""

    def __init__(self, pid: int) -> None:
        self.megabytes, self._process, self._ended = 0.0, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.megabytes = max(self.megabytes, sum(p.memory_info().rss for p in family) / 1e6)
            except psutil.Error:
                continue
