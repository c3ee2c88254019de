"""What this machine gives a process: memory, cores, disk; limits of containers included."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_MEMORY = (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")
_DYNAMIC_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's mount point, nothing is written there


def memory_bytes() -> int:
    """The machine's memory, or the container's limit where that is lower."""
    total: int = psutil.virtual_memory().total
    limits = [int(text) for path in _CGROUP_MEMORY if (text := read_text(path)).isdigit()]
    return min([total, *(limit for limit in limits if limit > 0)])


def cpu_count() -> int:
    """The cores this process may use: the affinity mask and the container's quota counted in."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    quota, _, period = read_text(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, max(1, int(quota) // int(period)))
    return max(1, cores)


def disk_free_bytes(directory: Path) -> int:
    """Free room on the disk that ``directory`` is on, or will be on once it is made."""
    return shutil.disk_usage(existing_part(directory)).free


def disk_counters(directory: Path) -> tuple[int, int] | None:
    """Bytes read from and written to the disk below ``directory`` since the machine started; None for none."""
    number = existing_part(directory).stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
    counters = (psutil.disk_io_counters(perdisk=True) or {}).get(device)
    return None if counters is None else (counters.read_bytes, counters.write_bytes)


def dynamic_shared_memory_bytes() -> int | None:
    """The size of the file system POSIX shared memory lies on; None where there is none to see."""
    try:
        return shutil.disk_usage(_DYNAMIC_SHARED_MEMORY).total
    except OSError:
        return None


def existing_part(directory: Path) -> Path:
    """``directory`` itself, or its nearest parent that exists."""
    resolved = directory.absolute()
    while not resolved.exists():
        resolved = resolved.parent
    return resolved


def read_text(path: Path) -> str:
    """A small file of the kernel's, stripped; empty where it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
