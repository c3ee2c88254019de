"""An engine's reads: bounded in bytes, cut where they are too large, and errors that name what cannot be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from eventmark.engine.pool import Pool
from eventmark.engine.receiving import Cutter
from eventmark.engine.records import EventRecord
from eventmark.engine.statements import Statement
from eventmark.engine.translation import (
    DRIVER_ERRORS,
    is_connection_lost,
    reason_of,
    translated_read_error,
)
from eventmark.engine.turns import NO_TENANT
from eventmark.errors import (
    BatchTooLargeError,
    InvalidEventError,
    StoreUnavailableError,
    UnreadableEventError,
)

BATCH_EVENTS_MAX = 100_000
_Batch = TypeVar("_Batch")


class Reads:
    """Runs a store's statements on its pool. Their errors are the engine's."""

    def __init__(self, pool: Pool, bytes_max: int, statements: Mapping[str, Statement]) -> None:
        self._pool = pool
        self._tenant_places = {
            name: [parameter.name for parameter in statement.parameters].index("tenant_id")
            for name, statement in statements.items()
            if any(parameter.name == "tenant_id" for parameter in statement.parameters)
        }
        self._bytes_max = bytes_max
        self._cutter = Cutter()

    async def cut(self, read: Callable[[int], Awaitable[_Batch]], limit: int) -> _Batch:
        """``await read(count)`` with a count that keeps the batch small enough, see ``Cutter``.

        For a count of 1, ``read`` has to use ``read_single``.
        """
        return await self._cutter.read(read, limit)

    async def load_all(self, tenant_id: str, aggregate_id: str, from_sequence: int) -> list[EventRecord]:
        """All events of an aggregate from a number on; more than the bound are an error."""
        try:
            return await self.read("load_aggregate", tenant_id, aggregate_id, from_sequence)
        except BatchTooLargeError as error:
            raise BatchTooLargeError(
                f"the events of aggregate {aggregate_id!r} from {from_sequence} on are more than "
                f"{self._bytes_max} bytes",
                remedy="load them in parts with a limit, or from a snapshot on",
            ) from error
        except UnreadableEventError:
            while part := await self.load_part(tenant_id, aggregate_id, from_sequence, BATCH_EVENTS_MAX):
                from_sequence = part[-1].sequence_number + 1  # up to the one, which is told by its name
            raise

    async def load_part(
        self, tenant_id: str, aggregate_id: str, from_sequence: int, limit: int
    ) -> list[EventRecord]:
        async def read(count: int) -> list[EventRecord]:
            read = self.read if count > 1 else self.read_single
            return await read("load_part", tenant_id, aggregate_id, from_sequence, count)

        return await self._cutter.read(read, limit)

    async def read_snapshot(self, tenant_id: str, aggregate_id: str) -> list[EventRecord]:
        """The latest snapshot of an aggregate, if there is one."""
        try:
            return await self.read("read_snapshot", tenant_id, aggregate_id, is_bounded=False)
        except UnreadableEventError as error:
            raise UnreadableEventError(
                f"the snapshot of aggregate {aggregate_id!r}: {error.message}",
                remedy="replay all events, and store a snapshot of a later event",
                tenant_id=tenant_id,
                aggregate_id=aggregate_id,
            ) from error

    async def read_single(self, name: str, *arguments: object) -> list[EventRecord]:
        """A statement that reads one event, however large. Raises ``UnreadableEventError`` with its name."""
        try:
            return await self.read(name, *arguments, is_bounded=False)
        except UnreadableEventError as error:
            places = await self.read(f"locate_{name}", *arguments)
            if not places:
                raise
            row = places[0]
            raise UnreadableEventError(
                f"event {row.event_id} (number {row.sequence_number} of aggregate {row.aggregate_id!r} of "
                f"tenant {row.tenant_id!r}): {error.message}",
                remedy="take its content out: eventmark admin redact",
                event_id=row.event_id,
                tenant_id=row.tenant_id,
                aggregate_id=row.aggregate_id,
                sequence_number=row.sequence_number,
                global_sequence=row.global_sequence,
            ) from error

    async def read(self, name: str, *arguments: object, is_bounded: bool = True) -> list[EventRecord]:
        bytes_max = self._bytes_max if is_bounded else None
        try:
            return await self.fetch(name, *arguments, bytes_max=bytes_max)
        except DRIVER_ERRORS as error:
            raise translated_read_error(error) from error

    async def fetch(self, name: str, *arguments: object, bytes_max: int | None = None) -> list[Any]:
        pool = self._pool
        try:
            index = self._tenant_places.get(name)
            session = await pool.acquire(NO_TENANT if index is None else str(arguments[index]))
        except DRIVER_ERRORS as error:
            raise StoreUnavailableError(f"no connection to the server: {reason_of(error)}") from error
        try:
            rows = await session.fetch_bounded(bytes_max, name, *arguments)
        except BaseException as error:
            if isinstance(error, Exception) and not is_connection_lost(error):
                pool.release(session)
            else:
                pool.discard(session)  # what the server still does on it is not known
            raise
        pool.release(session)
        return rows


def check_limit(limit: object) -> None:
    """Raises ``InvalidEventError`` for anything but an ``int`` from 1 to the most events of a batch."""
    if type(limit) is not int or not 0 < limit <= BATCH_EVENTS_MAX:
        raise InvalidEventError(f"limit must be from 1 to {BATCH_EVENTS_MAX}, got {limit!r}")
