"""Calls that the server cut off, which says nothing of the store: they are made again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from eventmark.engine.translation import DRIVER_ERRORS, is_connection_lost
from eventmark.errors import EventStoreError, OutcomeUnknownError

TRIES_MAX = 20
"""Of one call. A statement that is cut off so often in a row will never be answered on this server."""

PAUSE_S = 0.1

_CLASSES = ("40", "53", "57")  # rolled back for another transaction, no room or connection, ended by somebody
_STATES = ("55P03", "25P03", "25P04")  # timeouts: of a lock, of a transaction that was idle, of a whole one

_Answer = TypeVar("_Answer")


class CutOffError(Exception):
    """A call was cut off ``TRIES_MAX`` times in a row, the last time with this message."""


def is_cut_off(error: BaseException) -> bool:
    """Whether the server ended a call for what other sessions did, or for a time limit: not for the call itself."""
    while isinstance(error, EventStoreError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _CLASSES or state in _STATES or is_connection_lost(error)
    return isinstance(error, DRIVER_ERRORS) and is_connection_lost(error)


async def persistently(
    call: Callable[[], Awaitable[_Answer]], cut_off: Callable[[], None] = lambda: None
) -> _Answer:
    """A read's answer, however often it is cut off; ``cut_off`` is told of each time.

    Raises ``CutOffError``, and at once what is not the server's doing.
    """
    for _ in range(TRIES_MAX):
        try:
            return await call()
        except (EventStoreError, *DRIVER_ERRORS) as error:
            if not is_cut_off(error):
                raise
            last = error
        cut_off()
        await asyncio.sleep(PAUSE_S)
    raise CutOffError(f"cut off {TRIES_MAX} times in a row: {last}") from last


async def failure_of(write: Callable[[], Awaitable[object]]) -> Exception | None:
    """What a write ended with, None where it went through. One that was cut off wrote nothing and is made again."""
    failure: Exception | None = None
    for _ in range(TRIES_MAX):
        try:
            await write()
        except Exception as error:
            failure = error
        else:
            return None
        if isinstance(failure, OutcomeUnknownError) or not is_cut_off(failure):
            return failure
        await asyncio.sleep(PAUSE_S)
    return failure
