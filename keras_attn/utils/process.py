"""Facts about this process: its peak memory and the processors that it may use."""

import os
import resource
from pathlib import Path


def peak_memory() -> float:
    """Largest resident memory of this process so far, GiB.

    Linux counts in `ru_maxrss` what the parent had when it started the process, so its own count of
    the process is read where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20  # kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # macOS: bytes


def processors() -> int:
    """How many processors this process may use, and so how many workers there are by default."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
