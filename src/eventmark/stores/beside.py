"""A store's own statement that appends, run beside the store: in a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from eventmark.domain import NewEvent, StreamId
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.sql_store import PER_EVENT_PARAMETERS, append_values, event_values


async def append_beside(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    schema: str,
    stream: StreamId,
    events: Sequence[NewEvent],
) -> None:
    """Append to a stream without events, by one statement or one per event. Errors are the driver's."""
    statement = definition.statements["append_events"]
    names = [parameter.name for parameter in statement.parameters]
    rows = [values := append_values(stream, events, 0)]
    if set(names) & set(PER_EVENT_PARAMETERS):
        rows = [{**values, **event_values(values, place)} for place in range(len(events))]
    for row in rows:
        await connection.fetch(statement.sql(schema), *(row[name] for name in names))
