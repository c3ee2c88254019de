"""Batches read by a task of their own, while earlier ones are handled."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from eventmark.domain import EventBatch, StoredEvent, TrackingToken
from eventmark.engine.store import BATCH_EVENTS_MAX

BATCHES_AT_ONCE = 4
"""How many batches one statement reads at most, while there are so many: between two statements the server waits."""

READ_S = 0.025
"""A statement reads no more than came within this time at the pace of the last: nobody waits long for its first."""

Read = Callable[[TrackingToken, int], Awaitable[EventBatch]]
"""``await read(token, limit)``"""


class ReadAhead:
    """Reads on from a token, a few batches ahead of whoever takes them.

    The next read is sent the moment the last has come, before anybody looks at what it brought: so the
    server works while the handler does. ``token_after`` tells the place right after an event; where it is None,
    each batch is read by itself. Made within a running event loop; must be closed.
    """

    def __init__(
        self,
        read: Read,
        token: TrackingToken,
        *,
        batch_events: int,
        token_after: Callable[[TrackingToken, StoredEvent], TrackingToken | None],
    ) -> None:
        self._read = read
        self._batch_events = batch_events
        self._token_after = token_after
        self._at_once = max(1, min(BATCHES_AT_ONCE, BATCH_EVENTS_MAX // batch_events))
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
        batches = 1
        try:
            while True:
                began_s = time.monotonic()
                batch = await self._read(token, batches * self._batch_events)
                each_s = (time.monotonic() - began_s) / batches
                token = batch.token
                self._batches.extend(self._split(batch))
                self._arrived.set()
                full = len(batch.events) == batches * self._batch_events
                batches = (
                    self._batches_at(each_s) if full and self._token_after(token, batch.events[-1]) else 1
                )
                while len(self._batches) > batches:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:
            self._error = error
            self._arrived.set()

    def _batches_at(self, each_s: float) -> int:
        """How many batches a statement is to read where each takes so long."""
        return min(max(int(READ_S / max(each_s, 1e-6)), 1), self._at_once)

    def _split(self, batch: EventBatch) -> Iterator[EventBatch]:
        """The batch in pieces of at most ``batch_events``, each with the token after it."""
        events, size = batch.events, self._batch_events
        first = 0
        while len(events) - first > size:
            piece = events[first : first + size]
            token = self._token_after(batch.token, piece[-1])
            assert token is not None, "more than a batch was read, of an ordering that cannot be split"
            yield EventBatch(piece, token)
            first += size
        yield EventBatch(events[first:], batch.token)
