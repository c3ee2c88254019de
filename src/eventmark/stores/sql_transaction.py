"""Appends of a store of SQL files within one database transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from eventmark.domain import AppendResult, NewEvent, StreamId
from eventmark.engine.pool import Pool, Session
from eventmark.engine.transaction import PooledTransaction
from eventmark.errors import OutcomeUnknownError, StoreUnavailableError

Append = Callable[[Session, StreamId, Sequence[NewEvent], int], Awaitable[AppendResult]]
"""Runs the store's append on a session, after an expected version."""


class SqlStoreTransaction(PooledTransaction):
    """Made by ``SqlEventStore.transaction()``."""

    def __init__(self, pool: Pool, append: Append) -> None:
        super().__init__(pool, appended=lambda: None)
        self._append = append

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """As ``SqlEventStore.append_events``, but stored only when the block is left."""
        try:
            result = await self._append(self._session, stream, events, expected_version)
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(f"the connection was lost before the commit: {error}") from error
        self._event_ids += [event.event_id for event in events]
        return result
