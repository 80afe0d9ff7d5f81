"""What a process takes of memory, for benchmarks."""

from __future__ import annotations

from pathlib import Path


def megabytes(key: str) -> float:
    """Resident memory of this process: VmRSS now, or VmHWM at most. getrusage would count its parent's, too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)
