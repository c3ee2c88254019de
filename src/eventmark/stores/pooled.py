"""The port of a store whose connections can be reached: of every store that ``open_store`` opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import asyncpg

from eventmark.domain import AppendResult, EventStore, NewEvent, StreamId
from eventmark.engine.pool import Pool


class AppendingTransaction(Protocol):
    """Appends in one database transaction; leaving the block commits."""

    @property
    def connection(self) -> asyncpg.Connection[Any]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None: ...

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult: ...


class PooledStore(EventStore, Protocol):
    """An event store, the pool of its connections, and its transactions."""

    @property
    def pool(self) -> Pool: ...

    def transaction(self) -> AppendingTransaction: ...
