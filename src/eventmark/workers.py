"""Worker processes, taken from an executor: fresh interpreters that never outlive their parent."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import connection
from typing import Any

from eventmark.instruments.profiler import with_profile
from eventmark.redaction import guard_output, register, registered


def worker_executor(count: int, *, fresh: bool = False) -> Executor:
    """``count`` worker processes; with ``fresh``, each task gets a new one."""
    return _WorkerProcesses(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(registered(),),
        max_tasks_per_child=1 if fresh else None,
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one, as a service in production would have it; None is the standard one."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop


def own_peak_rss_mib() -> float:
    """The most memory this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class _WorkerProcesses(ProcessPoolExecutor):
    """Ctrl-C reaches the whole process group: the parent decides what its workers still finish.

    The signal is blocked while processes, or the thread that starts them, come into being: they inherit that,
    from their first instruction on.
    """

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(with_profile(task), *arguments, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(secrets: tuple[str, ...]) -> None:
    """In a worker, first of all."""
    register(*secrets)
    guard_output()
    _end_with_parent()


def _end_with_parent() -> None:
    """In a worker: end when the parent is gone, however it went."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
