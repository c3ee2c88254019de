"""NOTIFY as a hint that there is something to read.

A notification inside the appending transaction would make every commit queue at one lock of the whole
cluster. So it is sent afterwards, on a connection of the pool, many appends sharing one. It may be lost or
late; consumers poll as well.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg

from eventmark.engine.sessions import close_connection
from eventmark.engine.translation import DRIVER_ERRORS, reason_of
from eventmark.errors import EventmarkError, EventStoreError, StoreUnavailableError

log = logging.getLogger(__name__)

RETRY_S = 1.0
RETRY_S_MAX = 60.0


class Notifier:
    """Sends at most one notification per ``interval_s``: after a quiet time at once, else when it has passed."""

    def __init__(self, send: Callable[[], Awaitable[object]], *, interval_s: float) -> None:
        self._send = send
        self._interval_s = interval_s
        self._sent_s = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._wanted = False

    def appended(self) -> None:
        """Announce that there is something new. Returns at once."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop sending; what was not sent is left to the consumers' polling."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._wanted:
            await asyncio.sleep(max(self._sent_s + self._interval_s - time.monotonic(), 0))
            self._wanted = False
            self._sent_s = time.monotonic()
            # A hint that cannot be sent is no error of the append: consumers poll.
            with suppress(EventStoreError, *DRIVER_ERRORS):
                await self._send()


class Listener:
    """Listens on a connection of its own, opened in the background at the first wait and again when it was lost.

    Nobody waits for it: a server that lets nobody listen (a standby, one without a free connection) is tried again
    after ``retry_s``, each time after twice as long, and consumers find events by polling.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        channel: str,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._connection: asyncpg.Connection[Any] | None = None
        self._closed = False
        self._attempt: asyncio.Task[None] | None = None
        self._retry_s = self._pause_s = retry_s
        self._retry_at_s = -math.inf
        self._heard = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    def open(self) -> asyncio.Event:
        """The event that the next notification will set. Take it before looking, wait on it after.

        Raises ``StoreUnavailableError`` once closed.
        """
        if self._closed:
            raise StoreUnavailableError("the event store is closed")
        is_trying = self._attempt is not None and not self._attempt.done()
        if not (self.is_listening or is_trying) and time.monotonic() >= self._retry_at_s:
            self._attempt = asyncio.get_running_loop().create_task(self._listen())
        return self._heard

    async def close(self) -> None:
        """Close the connection, and wake those that wait."""
        self._closed = True
        self._hear()
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        if self._connection is not None:
            await close_connection(self._connection)

    async def _listen(self) -> None:
        try:
            connection = await self._connect()
            try:
                await connection.add_listener(self._channel, self._hear)
            except BaseException:
                connection.terminate()  # it hears nothing
                raise
        except (*DRIVER_ERRORS, EventmarkError) as error:
            if self._pause_s == self._retry_s:
                reason = error.message if isinstance(error, EventmarkError) else reason_of(error)
                log.warning("no notifications are heard, consumers poll: %s", reason)
            self._retry_at_s = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, RETRY_S_MAX)
            return
        self._connection = connection
        self._pause_s = self._retry_s
        self._hear()  # what came before it listened is found by looking again

    def _hear(self, *_: object) -> None:
        self._heard.set()
        self._heard = asyncio.Event()


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event is set or the time is over."""
    with suppress(TimeoutError):  # not wait_for: before Python 3.12 it may swallow a cancellation
        async with asyncio.timeout(timeout_s):
            await event.wait()
