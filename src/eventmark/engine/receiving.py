"""What a statement answers is bounded in bytes: a batch that is larger is cut off, and read again in parts.

The server cannot tell beforehand: documents are stored compressed, and their size written out is known when they are
written. So bytes are counted as they come in, once a chunk of the socket; beyond the bound the connection is closed,
and whoever asked asks for fewer events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from eventmark.errors import BatchTooLargeError, UnreadableEventError

BATCH_BYTES_MAX = 256 * 2**20
"""Bytes that one statement may answer with; a single event has no bound but the server's."""

_FEWER = 8
_Batch = TypeVar("_Batch")


class Receiving(asyncio.Protocol):
    """Stands between a connection's transport and the driver, and counts. ``left`` is None where nothing is bounded."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._transport = connection._transport
        self._driver = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self.left: int | None = None
        self.is_exceeded = False

    def data_received(self, data: bytes) -> None:
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                self.is_exceeded = True
                self._transport.abort()
        if not self.is_exceeded:
            self._driver.data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._driver.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._driver.connection_lost(exc)

    def eof_received(self) -> bool | None:
        answer: bool | None = self._driver.eof_received()
        return answer

    def pause_writing(self) -> None:
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        self._driver.resume_writing()


class Cutter:
    """Reads batches of as many events as fit: fewer after one that did not, more again after those that did."""

    def __init__(self) -> None:
        self._count_max: int | None = None

    async def read(self, read: Callable[[int], Awaitable[_Batch]], limit: int) -> _Batch:
        """``await read(count)`` for a count of at most ``limit`` that works. Raises what it does for one event."""
        count = limit if self._count_max is None else min(limit, self._count_max)
        while True:
            try:
                batch = await read(count)
            except (BatchTooLargeError, UnreadableEventError):
                if count == 1:
                    raise
                count = self._count_max = max(count // _FEWER, 1)
            else:
                if count == self._count_max:
                    self._count_max = None if count >= limit else 2 * count
                return batch
