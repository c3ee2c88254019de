"""The one place where the driver's errors become ours, by SQLSTATE class and constraint name."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from eventmark.domain import StreamId
from eventmark.engine.appending import version_conflict
from eventmark.engine.sessions import UnreplicatedError
from eventmark.errors import (
    CONNECTIONS_REMEDY,
    DuplicateEventError,
    EventStoreError,
    InvalidEventError,
    OutcomeUnknownError,
    StoreUnavailableError,
    TokenRefusedError,
    UnreadableEventError,
)

EVENT_ID_CONSTRAINT = "domain_events_event_id"
STREAM_CONSTRAINT = "domain_events_stream"
PLACE_CONSTRAINTS = ("domain_events_position", "domain_events_tenant_position")

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a session that the server has ended while it was idle, and does not know it yet
    OSError,
    OverflowError,
    UnicodeEncodeError,
)

_DATA_EXCEPTION = "22"
_INTEGRITY_VIOLATION = "23"
_PROGRAM_LIMIT_EXCEEDED = "54"
_INTERNAL_ERROR = "XX"
_OUT_OF_MEMORY = "53200"
_SHUTDOWN = ("57P01", "57P02", "57P03", "57P05")


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that the outcome of what was under way is not known."""
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, asyncpg.PostgresConnectionError) or error.sqlstate in _SHUTDOWN
    lost = asyncpg.InterfaceError | asyncpg.InternalClientError | OSError
    return isinstance(error, lost) and not isinstance(error, asyncpg.DataError)


def translated_read_error(error: Exception) -> EventStoreError:
    """An error of a statement that writes nothing."""
    if isinstance(error, EventStoreError):
        return error
    if isinstance(error, asyncpg.InvalidRowCountInLimitClauseError):  # see stream_events.sql
        return TokenRefusedError(
            "the token is ahead of the server, which was restored or replaced by one that was behind",
            remedy="create a new token in this store",
        )
    if _is_unreadable(error):
        return UnreadableEventError(f"the server cannot write out what is stored: {reason_of(error)}")
    if _is_invalid(error):
        return InvalidEventError(reason_of(error))
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreUnavailableError(
            f"the server has no connection left: {reason_of(error)}", remedy=CONNECTIONS_REMEDY
        )
    return StoreUnavailableError(reason_of(error))


def translated_write_error(error: Exception, tenant_id: str, event_ids: Sequence[UUID]) -> EventStoreError:
    """An error of a statement that writes. Version conflicts are the caller's: they need another look."""
    if isinstance(error, EventStoreError):
        return error
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == EVENT_ID_CONSTRAINT:
        return DuplicateEventError(tenant_id=tenant_id, event_ids=tuple(event_ids))
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name in PLACE_CONSTRAINTS:
        return StoreUnavailableError(
            "the sequence gives numbers that events have already: it was set back",
            remedy="set domain_events_global_sequence_id_seq to the highest number of domain_events",
        )
    if _is_invalid(error):
        return InvalidEventError(reason_of(error))
    if isinstance(error, UnreplicatedError):
        return OutcomeUnknownError(f"{error}: a failover may lose it", event_ids=tuple(event_ids))
    if is_connection_lost(error):
        return OutcomeUnknownError(
            f"the connection was lost while appending: {reason_of(error)}", event_ids=tuple(event_ids)
        )
    return StoreUnavailableError(reason_of(error))


def translated_append_error(
    error: Exception, stream: StreamId, expected_version: int, event_ids: Sequence[UUID]
) -> EventStoreError:
    """An error of an append; of a conflict that the server answered with an error the actual version is -1."""
    if isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == STREAM_CONSTRAINT:
        return version_conflict(stream, expected_version, -1)
    return translated_write_error(error, stream.tenant_id, event_ids)


def _is_unreadable(error: Exception) -> bool:
    """Whether a read failed by what is stored: too large for the server, or damaged."""
    state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    return state is not None and (
        state[:2] in (_PROGRAM_LIMIT_EXCEEDED, _INTERNAL_ERROR) or state == _OUT_OF_MEMORY
    )


def _is_invalid(error: Exception) -> bool:
    if isinstance(error, asyncpg.DataError | UnicodeEncodeError | OverflowError):
        return True
    state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    return state is not None and state[:2] in (
        _DATA_EXCEPTION,
        _INTEGRITY_VIOLATION,
        _PROGRAM_LIMIT_EXCEEDED,
    )


def reason_of(error: Exception) -> str:
    """What went wrong, in one line, without anything that was sent."""
    if isinstance(error, asyncpg.DataError) and error.__cause__ is not None:
        # the driver refused an argument, and quotes it: no place for payloads
        return f"an argument cannot be sent: {error.__cause__}"
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    return str(error).partition("\n")[0] or type(error).__name__
