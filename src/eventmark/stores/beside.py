"""A store's own statement that appends, run without the store's client: in a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from eventmark.domain import NewEvent, StreamId
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.parameters import PER_EVENT_PARAMETERS, append_values, event_values
from eventmark.stores.values import read_encoders


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
    rows = [values := append_values(stream, events, 0, definition.kinds)]
    if set(names) & set(PER_EVENT_PARAMETERS):
        rows = [{**values, **event_values(values, number)} for number in range(len(events))]
    sql = statement.sql(schema)
    encoders = (await read_encoders(connection, {"append_events": sql}))["append_events"]
    for row in rows:
        arguments = [
            row[name] if encode is None else encode(row[name])
            for name, encode in zip(names, encoders, strict=True)
        ]
        await connection.fetch(sql, *arguments)
