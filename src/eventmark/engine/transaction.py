"""Appends and a caller's own statements in one database transaction."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, Self
from uuid import UUID

import asyncpg

from eventmark.domain import AppendResult, NewEvent, StreamId
from eventmark.engine import encoding
from eventmark.engine.appending import append_result, conflict_or_stored, version_conflict
from eventmark.engine.pool import Pool, Session
from eventmark.engine.sessions import CLOSE_TIMEOUT_S, EngineConnection, UnreplicatedError
from eventmark.engine.translation import (
    DRIVER_ERRORS,
    STREAM_CONSTRAINT,
    is_connection_lost,
    reason_of,
    translated_read_error,
    translated_write_error,
)
from eventmark.errors import OutcomeUnknownError, StoreUnavailableError, VersionConflictError

_SAVEPOINT = re.compile(
    r"\s*(?P<verb>savepoint|release|rollback)\b"
    r"(?:\s+(?:work|transaction))?(?:\s+to)?(?:\s+savepoint)?\s+(?P<name>\w+|\"[^\"]+\")\s*;?\s*\Z",
    re.IGNORECASE,
)


class PooledTransaction:
    """One connection of a pool, one database transaction.

    Leaving the block commits, an exception rolls back. After an error of a statement the transaction has
    failed, as always in PostgreSQL: leaving the block then raises ``StoreUnavailableError``, even where the
    error was caught; a savepoint (``async with transaction.connection.transaction()``) confines it.
    The isolation is read committed, whatever the session's default is: a processor's token is saved here while its
    lease is prolonged elsewhere. The caller must leave no session state behind (``SET LOCAL``, not ``SET``).
    """

    def __init__(self, pool: Pool, appended: Callable[[], object]) -> None:
        self._pool = pool
        self._appended = appended
        self._event_ids: list[UUID] = []  # appended, to be looked for when the commit's outcome is not known
        self._savepoints: list[tuple[str, int]] = []  # each with how many there were when it was set

    @property
    def connection(self) -> EngineConnection:
        """The transaction's connection, for statements of the caller's own; its errors are the driver's."""
        return self._session.connection

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        """Run one of the store's statements within the transaction; its errors are the driver's."""
        return await self._session.fetch(name, *arguments)

    async def __aenter__(self) -> Self:
        try:
            self._session: Session = await self._pool.acquire()
        except DRIVER_ERRORS as error:
            raise StoreUnavailableError(f"no connection to the server: {reason_of(error)}") from error
        try:
            self._transaction = self._session.connection.transaction()
            await self._transaction.start()
            self._session.connection.on_execute = self._note_savepoint
        except BaseException as error:
            self._pool.discard(self._session)
            if isinstance(error, DRIVER_ERRORS):
                raise StoreUnavailableError(f"no transaction could be begun: {reason_of(error)}") from error
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._session.connection.on_execute = None
        if error is not None:
            await self._roll_back()
        else:
            await self._commit()

    def _note_savepoint(self, query: str) -> None:
        """What is rolled back to a savepoint is not stored, whatever becomes of the commit."""
        match = _SAVEPOINT.match(query)
        if match is None:
            return
        verb, name = match["verb"].lower(), match["name"]
        if verb == "savepoint":
            self._savepoints.append((name, len(self._event_ids)))
            return
        depth = max((n for n, (other, _) in enumerate(self._savepoints) if other == name), default=None)
        if depth is not None:
            if verb == "rollback":
                del self._event_ids[self._savepoints[depth][1] :]
            del self._savepoints[depth + (verb == "rollback") :]

    async def _roll_back(self) -> None:
        try:
            # On a link that is silent the driver would wait for ever until its last request is cancelled.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._transaction.rollback()
        except DRIVER_ERRORS:  # the server rolls back what it no longer hears of; the first error is told
            self._pool.discard(self._session)
        except BaseException:
            self._pool.discard(self._session)
            raise
        else:
            self._pool.release(self._session)

    async def _commit(self) -> None:
        connection = self._session.connection
        try:
            await self._transaction.commit()
            connection.check_replicated()
        except BaseException as error:
            self._pool.discard(self._session)  # the driver's idea of the transaction is not the server's
            if isinstance(error, DRIVER_ERRORS):
                raise self._commit_error(error) from error
            raise
        self._pool.release(self._session)
        if connection.last_status != "COMMIT":
            raise StoreUnavailableError(
                "the transaction had failed before its end, nothing was written",
                remedy="let the error of a statement leave the block, or confine it in a savepoint",
            )
        if self._event_ids:
            self._appended()

    def _commit_error(self, error: Exception) -> StoreUnavailableError | OutcomeUnknownError:
        event_ids = tuple(self._event_ids)
        if isinstance(error, UnreplicatedError):
            return OutcomeUnknownError(f"{error}: a failover may lose it", event_ids=event_ids)
        if is_connection_lost(error):
            return OutcomeUnknownError(
                f"the connection was lost while committing: {reason_of(error)}", event_ids=event_ids
            )
        return StoreUnavailableError(f"the commit was refused: {reason_of(error)}")


class StoreTransaction(PooledTransaction):
    """Appends and statements of the caller's own, made by ``PostgresEventStore.transaction()``."""

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """As ``PostgresEventStore.append_events``, but stored only when the block is left.

        A connection lost here is a ``StoreUnavailableError``: what was not committed is not stored.
        """
        arguments = encoding.append_arguments(stream, events, expected_version)
        event_ids: list[UUID] = arguments[4]
        try:
            rows = await self._session.fetch("append_events", *arguments)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == STREAM_CONSTRAINT:
                actual = await self._version_elsewhere(stream)
                raise version_conflict(stream, expected_version, actual) from error
            raise translated_write_error(error, stream.tenant_id, event_ids) from error
        except DRIVER_ERRORS as error:
            if is_connection_lost(error):
                raise StoreUnavailableError(
                    f"the connection was lost before the commit: {reason_of(error)}"
                ) from error
            raise translated_write_error(error, stream.tenant_id, event_ids) from error
        try:
            result = append_result(rows[0], stream, expected_version, len(events))
        except VersionConflictError as conflict:
            raise await conflict_or_stored(conflict, stream, event_ids, self._find_events) from None
        self._event_ids += event_ids
        return result

    async def _find_events(self, tenant_id: str, event_ids: Sequence[UUID]) -> list[Any]:
        try:
            return await self._session.fetch("find_events", tenant_id, event_ids)
        except DRIVER_ERRORS as error:
            raise translated_read_error(error) from error

    async def _version_elsewhere(self, stream: StreamId) -> int:
        """The stream's version, which this transaction, having failed, can no longer ask for.

        Not on a connection of the pool: whoever holds one must not wait for a second.
        """
        try:
            session = await self._pool.connect_apart()
            try:
                rows = await session.fetch("stream_version", stream.tenant_id, stream.aggregate_id)
            finally:
                session.connection.terminate()
        except DRIVER_ERRORS as error:
            raise translated_read_error(error) from error
        return rows[0][0] if rows else 0
