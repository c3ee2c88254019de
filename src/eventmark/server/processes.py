"""CPU, memory and file I/O of a process and everything it started."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from eventmark.server.machine import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One sample. ``cpu_s`` and bytes are since the last; ``interval_s`` is None for the first.

    ``resident_bytes`` counts memory shared between the processes once: their private memory
    (``private_bytes``), and the largest shared part (a backend's view of shared buffers). Bytes are what was
    read from and written to files, cached by the system or not; None where counters are not readable.
    ``busiest`` is the largest share of its own time that one of them ran: time in which it was kept waiting for
    a core, where the kernel tells it, is not its own. ``demand`` is the largest share of all time that one of
    them ran or waited for a core. Both are None for the first sample.
    """

    processes: int
    resident_bytes: int
    private_bytes: int
    interval_s: float | None
    cpu_s: float
    read_bytes: int | None
    write_bytes: int | None
    busiest: float | None = None
    demand: float | None = None


@dataclass(frozen=True, slots=True)
class _Counters:
    cpu_s: float
    read_bytes: int | None
    write_bytes: int | None
    queued_s: float = 0.0  # of the main thread, able to run and without a core
    ended_s: float = 0.0  # CPU of its children that have ended


class ProcessTree:
    """The process ``pid`` and its descendants, ``leave_out`` and its descendants excepted.

    Without ``root``, its descendants alone.

    CPU of processes that end between two samples is in what their parents are told of them; where the system does
    not tell, and for files, what a process used between the last sample and its end is not seen.
    """

    def __init__(self, pid: int, *, leave_out: int | None = None, root: bool = True) -> None:
        self._pid = pid
        self._leave_out = leave_out
        self._with_root = root
        self._known: dict[tuple[int, float], _Counters] = {}
        self._cpu_total_s = 0.0
        self._sampled_at_s: float | None = None

    def sample(self) -> Usage | str:
        """Usage now, or the reason there is none."""
        try:
            root = psutil.Process(self._pid)
            members = [*([root] if self._with_root else []), *self._descendants(root)]
        except psutil.Error as error:
            return f"process {self._pid} is not to be seen: {type(error).__name__}"
        now_s = time.monotonic()
        interval_s = None if self._sampled_at_s is None else now_s - self._sampled_at_s
        counters: dict[tuple[int, float], _Counters] = {}
        private, shared = 0, 0
        for member in members:
            try:
                with member.oneshot():
                    counted = _counters(member)
                    memory = member.memory_info()
                    key = (member.pid, member.create_time())
            except psutil.Error:  # ended meanwhile
                continue
            if not memory.rss:  # ended, and not yet reaped: such a one hides its counters
                continue
            counters[key] = counted
            private += memory.rss - getattr(memory, "shared", 0)
            shared = max(shared, getattr(memory, "shared", 0))
        usage = self._usage(counters, interval_s, private, shared)
        self._known, self._sampled_at_s = counters, now_s
        return usage

    def _descendants(self, root: psutil.Process) -> list[psutil.Process]:
        children = root.children(recursive=True)
        if self._leave_out is None:
            return children
        try:
            server = psutil.Process(self._leave_out)
            left_out = {server.pid, *(child.pid for child in server.children(recursive=True))}
        except psutil.Error:
            return children
        return [process for process in children if process.pid not in left_out]

    def _usage(
        self,
        counters: dict[tuple[int, float], _Counters],
        interval_s: float | None,
        private: int,
        shared: int,
    ) -> Usage:
        read_bytes: int | None = 0
        write_bytes: int | None = 0
        for key, now in counters.items():
            before = self._known.get(key, _Counters(0.0, 0, 0))  # younger than the last sample: all of it
            read_bytes = _grown(read_bytes, now.read_bytes, before.read_bytes)
            write_bytes = _grown(write_bytes, now.write_bytes, before.write_bytes)
        # Ended and not yet reaped, a process is in nobody's count for a moment: the total is never taken back.
        total_s = max(sum(now.cpu_s + now.ended_s for now in counters.values()), self._cpu_total_s)
        cpu_s, self._cpu_total_s = total_s - self._cpu_total_s, total_s
        busiest, demand = (None, None) if interval_s is None else self._busiest(counters, interval_s)
        return Usage(
            processes=len(counters),
            resident_bytes=private + shared,
            private_bytes=private,
            interval_s=interval_s,
            cpu_s=cpu_s,
            read_bytes=read_bytes,
            write_bytes=write_bytes,
            busiest=busiest,
            demand=demand,
        )

    def _busiest(
        self, counters: dict[tuple[int, float], _Counters], interval_s: float
    ) -> tuple[float, float]:
        busiest, demand = 0.0, 0.0
        for key, now in counters.items():
            before = self._known.get(key)
            if before is None:
                continue
            ran_s, queued_s = now.cpu_s - before.cpu_s, now.queued_s - before.queued_s
            own_s = max(interval_s - queued_s, ran_s)
            busiest = max(busiest, ran_s / own_s if own_s > 0 else 0.0)
            demand = max(demand, (ran_s + queued_s) / interval_s)
        return busiest, demand


def _counters(process: psutil.Process) -> _Counters:
    times = process.cpu_times()
    cpu_s = times.user + times.system
    ended_s = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    try:
        files = process.io_counters()
        # Not read_bytes and write_bytes, what the system means to move for it: a kernel with large folios
        # counts two megabytes for eight kilobytes written into one.
    except (psutil.AccessDenied, AttributeError, NotImplementedError):  # another user's, or not this system's
        return _Counters(cpu_s, None, None, _queued_s(process.pid), ended_s)
    return _Counters(cpu_s, files.read_chars, files.write_chars, _queued_s(process.pid), ended_s)


def postmaster_of(backend_pid: int) -> int | None:
    """The postmaster of a server on this machine, by the process of one of its sessions; None where it is not here.

    A server elsewhere, or in a container, has another process of that number or none.
    """
    try:
        parent = psutil.Process(backend_pid).parent()
        names = [parent.name(), psutil.Process(backend_pid).name()] if parent is not None else []
    except psutil.Error:
        return None
    return parent.pid if parent is not None and all(name.startswith("postgres") for name in names) else None


def _queued_s(pid: int) -> float:
    """Seconds the main thread has waited for a core, by Linux's schedstat; 0.0 where there is none.

    Of that thread alone: in a process whose other threads hold the interpreter's lock it sleeps meanwhile, and the
    process then seems less busy than it is. Workers have no such threads.
    """
    fields = read_text(Path(f"/proc/{pid}/schedstat")).split()
    return int(fields[1]) / 1e9 if len(fields) > 1 and fields[1].isdigit() else 0.0


def _grown(total: int | None, now: int | None, before: int | None) -> int | None:
    if total is None or now is None or before is None:
        return None
    return total + now - before


def ended_children_cpu_s(pid: int) -> float | None:
    """Seconds of CPU of all children of a process that have ended; None where the system does not keep them.

    Of a postmaster: what its sessions used, once they are gone.
    """
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    if not hasattr(times, "children_user"):
        return None
    return float(times.children_user + times.children_system)


def wait_for_children(pid: int, count: int, *, timeout_s: float) -> None:
    """Until a process has no more than ``count`` children, or the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            if len(psutil.Process(pid).children()) <= count:
                return
        except psutil.Error:
            return
        time.sleep(0.02)


def children_count(pid: int) -> int:
    """How many children a process has; 0 for one that is not to be seen."""
    try:
        return len(psutil.Process(pid).children())
    except psutil.Error:
        return 0
