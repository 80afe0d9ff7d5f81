"""Memory use of this process, for benchmarks."""

from __future__ import annotations

from pathlib import Path


def megabytes(key: str) -> float:
    """Resident memory in MB: now (key VmRSS) or at its peak (VmHWM). getrusage would include the parent's peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)
