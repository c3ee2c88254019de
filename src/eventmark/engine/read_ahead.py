"""Batches read by a task of their own, while earlier ones are handled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from eventmark.domain import EventBatch, TrackingToken

BATCHES_WAITING = 2
"""So many wait for their handler, at most. With one, each hiccup of either side makes the other wait."""

Read = Callable[[TrackingToken], Awaitable[EventBatch]]
"""``await read(token)``: the batch after it, and the token to go on from."""


class ReadAhead:
    """Reads on from a token, a few batches ahead of its caller.

    The next read is sent as soon as the last has been answered, before its events are handled: the server reads
    while the handler works. Create it within a running event loop, and close it.
    """

    def __init__(self, read: Read, token: TrackingToken) -> None:
        self._read = read
        self._batches: deque[EventBatch] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._error: Exception | None = None
        self._ended = False
        self._task = asyncio.create_task(self._read_on(token))

    async def next(self) -> EventBatch | None:
        """The next batch, in order; None once ended. Raises what reading raised, after the batches before it."""
        while not (self._batches or self._ended or self._error):
            self._arrived.clear()
            await self._arrived.wait()
        if self._ended:
            return None
        if not self._batches:
            assert self._error is not None
            raise self._error
        batch = self._batches.popleft()
        self._room.set()
        return batch

    def end(self) -> None:
        """Let ``next`` return None from now on, also where it is waiting."""
        self._ended = True
        self._arrived.set()

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read_on(self, token: TrackingToken) -> None:
        try:
            while True:
                batch = await self._read(token)
                token = batch.token
                self._batches.append(batch)
                self._arrived.set()
                while len(self._batches) >= BATCHES_WAITING:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            self._error = error
            self._arrived.set()
