"""The one event loop of a run, on which code that is not asynchronous has a server asked.

A connection lives as long as its question: none is idle while something is measured, so that none keeps rows from
vacuum, breaks when an experiment restarts its server, or outlives a server of ours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")

_this_thread = threading.local()


@contextmanager
def one_loop() -> Iterator[asyncio.Runner]:
    """Until the block is left, all that this thread gives to ``on_loop`` runs on one loop; an open one is joined."""
    opened: asyncio.Runner | None = getattr(_this_thread, "runner", None)
    if opened is not None:
        yield opened
        return
    with asyncio.Runner() as _this_thread.runner:
        try:
            yield _this_thread.runner
        finally:
            del _this_thread.runner


def on_loop(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """What ``work`` returns. However it ends, nothing that it began goes on beside what comes next on the loop."""
    with one_loop() as runner:
        try:
            return runner.run(work, context=copy_context())
        finally:
            if left := asyncio.all_tasks(runner.get_loop()):
                runner.run(_cancelled(left))


def ask(
    dsn: str,
    question: Callable[Concatenate[asyncpg.Connection[Any], _Given], Awaitable[_Answer]],
    *given: _Given.args,
    **named: _Given.kwargs,
) -> _Answer:
    """What ``question`` answers, given a connection and the rest."""

    async def asked() -> _Answer:
        async with connection_to(dsn) as connection:
            return await question(connection, *given, **named)

    return on_loop(asked())


@asynccontextmanager
async def connection_to(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection, closed when the block is left."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
