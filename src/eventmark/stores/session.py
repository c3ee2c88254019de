"""What the sessions of a store's own client are, and what their answers mean: for a client that is not the store's own.

The texts of statements, the settings of sessions and the rules by which answers and errors are read are the ones
that the store's own client uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventmark.domain import AppendResult, Snapshot, StreamId, TrackingToken
from eventmark.engine.appending import check_stored
from eventmark.engine.pool import Observer, Opening
from eventmark.engine.translation import translated_append_error
from eventmark.errors import EventStoreError
from eventmark.results.targets import is_own
from eventmark.stores.answers import append_answer, token_of_row
from eventmark.stores.conflict import stored_nothing
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.install import open_store
from eventmark.stores.pooled import PooledStore
from eventmark.stores.sql_store import SqlEventStore
from eventmark.stores.values import Encoder, encoder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSessions:
    """A store that was opened by its own client, checked, and closed again. ``tail`` is before its first event."""

    store: PooledStore
    definition: StoreDefinition
    opening: Opening
    tail: TrackingToken

    @property
    def observer(self) -> Observer | None:
        """Whom the store's own client would tell of its calls."""
        return self.store.pool.observer

    def value_encoders(self, statement: str) -> Sequence[Encoder | None]:
        """How each parameter's value is made one of its type; None where it is taken as it is."""
        if isinstance(self.store, SqlEventStore):
            return self.store.encoders[statement]
        return [encoder_of(parameter.sql_type) if is_own(statement) else None
                for parameter in self.definition.statements[statement].parameters]  # fmt: skip

    def parameters(self, statement: str) -> Sequence[str]:
        """The names of the statement's parameters, in order."""
        return [parameter.name for parameter in self.definition.statements[statement].parameters]

    def append_answer(
        self,
        row: Mapping[str, Any] | None,
        tag: str,
        stream: StreamId,
        expected_version: int,
        count: int,
        *,
        is_void: bool,
    ) -> AppendResult:
        """The result of an append by its answer's last row and command tag, see ``stores.conflict.stored_nothing``.

        Raises as ``stores.answers.append_answer`` does.
        """
        refused = stored_nothing(row, tag, is_void=is_void)
        return append_answer(row or {}, refused, stream, expected_version, count)

    def append_error(
        self, error: Exception, stream: StreamId, expected_version: int, event_ids: Sequence[UUID]
    ) -> EventStoreError:
        """The driver's error of an append as one of ours; no further look is taken at what conflicts."""
        if isinstance(self.store, SqlEventStore):
            return self.store.append_error(error, stream, expected_version, event_ids)
        return translated_append_error(error, stream, expected_version, event_ids)

    def check_snapshot(self, snapshot: Snapshot, rows: int) -> None:
        """Raises ``SnapshotRefusedError`` where the answer of so many rows says that nothing was stored."""
        if self.definition.engine:
            check_stored(snapshot, rows)

    def token_of(self, row: Mapping[str, Any]) -> TrackingToken:
        """The place after a row of ``stream_events``."""
        return token_of_row(self.tail, row, by_transaction=self.definition.ordering == "transaction-id")


async def open_sessions(definition: StoreDefinition, dsn: str, *, schema: str) -> StoreSessions:
    """Look at the store in ``schema`` as its own client does when it connects.

    Raises what ``open_store`` raises, and ``CannotRunError`` behind a pooler that keeps no settings.
    """
    store = await open_store(definition, dsn, schema=schema, pool_max=1, notify=False)
    try:
        return StoreSessions(
            store=store,
            definition=definition,
            opening=await store.pool.opening(),
            tail=await store.create_tail_token(),
        )
    finally:
        await store.close()
