"""Other sessions that append while plans are examined: what is read lies next to what is just being written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np

from eventmark.domain import EventStore, NewEvent, StreamId
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.stores import StoreDefinition, naming_of, open_store

WRITERS = 4
PAUSE_S = 0.01  # between a writer's appends: load, and not a benchmark
BATCH_EVENTS = 5
BATCHES_PER_STREAM = 20
FIRST_APPEND_S = 10.0


@asynccontextmanager
async def appending_beside(definition: StoreDefinition, dsn: str, schema: str) -> AsyncIterator[None]:
    """Entered when every writer has appended, left when all have ended.

    Raises ``CannotRunError`` where they cannot, or stopped before they were told to.
    """
    store = await open_store(definition, dsn, schema=schema, pool_max=WRITERS)
    try:
        begun = [asyncio.Event() for _ in range(WRITERS)]
        tasks = [asyncio.create_task(_append(store, number, event)) for number, event in enumerate(begun)]
        try:
            await _all_begun(tasks, begun)
            yield
            _check(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await store.close()


async def _all_begun(tasks: list[asyncio.Task[None]], begun: list[asyncio.Event]) -> None:
    waiting = asyncio.ensure_future(asyncio.gather(*(event.wait() for event in begun)))
    everything: list[asyncio.Future[Any]] = [*tasks, waiting]
    await asyncio.wait(everything, timeout=FIRST_APPEND_S, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        _check(tasks)
        raise CannotRunError(
            f"no append went through within {FIRST_APPEND_S:g} s",
            remedy="look for a session that locks the tables",
        )


def _check(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise CannotRunError(
                f"the sessions that append meanwhile failed: {error}", remedy="try it: eventmark bench"
            ) from error


async def _append(store: EventStore, number: int, begun: asyncio.Event) -> None:
    naming = naming_of(store)
    names = naming.new_stream_ids(np.random.default_rng())
    while True:
        stream = StreamId(
            tenant_id=naming.tenant_id(number), aggregate_type="Order", aggregate_id=next(names)
        )
        for batch in range(BATCHES_PER_STREAM):
            events = [_event() for _ in range(BATCH_EVENTS)]
            try:
                await store.append_events(stream, events, expected_version=batch * BATCH_EVENTS)
            except EventStoreError:
                if not begun.is_set():
                    raise
                break  # such as a lock that was not to be had: on with another stream
            begun.set()
            await asyncio.sleep(PAUSE_S)


def _event() -> NewEvent:
    return NewEvent(
        event_id=uuid4(), event_type="OrderPlaced", payload='{"beside": true}', metadata="{}",
        timestamp=datetime.now(UTC), payload_type="OrderPlaced",
    )  # fmt: skip
