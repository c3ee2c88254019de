"""What goes wrong outside Eventmark while it works, as one line: a server that went away, a full disk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor

import asyncpg

from eventmark.errors import CONNECTIONS_REMEDY, CannotRunError, EventmarkError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it shuts down, or crashed
    asyncpg.InternalClientError,  # what the driver says of a connection cut in the midst of an exchange
    ConnectionError,
    TimeoutError,
)
_REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InsufficientResourcesError,  # memory, connections
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,  # I/O errors
    asyncpg.LockNotAvailableError,
)


def refusal(error: BaseException) -> EventmarkError | None:
    """The error to show for one that nobody translated; None for a defect of Eventmark's own."""
    for leaf in _leaves(error):
        if isinstance(leaf, EventmarkError):
            return leaf
        if (outside := _outside(leaf)) is not None:
            return outside
    return None


def _outside(error: BaseException) -> CannotRunError | None:
    reason = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, BrokenExecutor):
        return CannotRunError(
            "a worker process was killed",
            remedy="memory may have run out: the system's log shows whether it did",
        )
    if isinstance(error, MemoryError):
        return CannotRunError("memory ran out", remedy="ask for fewer events, or stop other programs")
    if isinstance(error, asyncpg.DiskFullError):
        return CannotRunError(f"the server's disk is full: {reason}", remedy="make room, then run again")
    if isinstance(error, asyncpg.InternalClientError):  # says how, not what
        reason = "the connection was cut"
    if isinstance(error, _GONE) or (isinstance(error, asyncpg.InterfaceError) and "closed" in reason):
        return CannotRunError(
            f"the server went away: {reason}", remedy="read the reason in its log, then run again"
        )
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return CannotRunError(f"the server has no connection left: {reason}", remedy=CONNECTIONS_REMEDY)
    if isinstance(error, _REFUSED):
        return CannotRunError(
            f"the server refused: {reason}", remedy="correct this on the server, then run again"
        )
    if isinstance(error, OSError) and error.errno is not None:
        what = f"{error.filename}: " if error.filename else ""
        remedy = "make room" if error.errno in _NO_ROOM else "correct this on the machine"
        return CannotRunError(f"{what}{error.strerror}", remedy=f"{remedy}, then run again")
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The error, or those of a group of them."""
    if isinstance(error, BaseExceptionGroup):
        for exception in error.exceptions:
            yield from _leaves(exception)
    else:
        yield error
