"""Worker processes, taken from an executor: fresh interpreters that never outlive their parent."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import connection


def worker_executor(count: int, *, fresh: bool = False) -> Executor:
    """``count`` worker processes; with ``fresh``, each task gets a new one."""
    return ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_worker,
        max_tasks_per_child=1 if fresh else None,
    )


def _prepare_worker() -> None:
    # Ctrl-C reaches the whole process group: the parent decides what the workers still finish.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one, as a service in production would have it; None is the standard one."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
