"""In a worker: end what runs when the parent says so, or is gone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

GRACE_S = 5.0
"""How long what is stopped may take to end: a query under way is cancelled, a store closed."""

R = TypeVar("R")

_running: set[Callable[[], None]] = set()


async def stoppable(work: Coroutine[Any, Any, R]) -> R:
    """``work``, cancelled when this process is to end."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def stop() -> None:
        loop.call_soon_threadsafe(task.cancel)

    _running.add(stop)
    try:
        return await work
    finally:
        _running.discard(stop)


def stop_when_let_go(leash: Connection) -> None:
    """Stop what runs when the other end of ``leash`` is closed, which the parent's end does as well; then end."""

    def watch() -> None:
        wait([leash])
        for stop in list(_running):
            stop()
        threading.Event().wait(GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
