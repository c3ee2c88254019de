"""Forks of the peers: the bare driver fetching the same rows, and a library appending the same payloads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import asyncpg
import numpy as np
from psycopg.conninfo import conninfo_to_dict

from eventmark.engine.schema import Purpose, create_marked_schema
from eventmark.errors import CannotRunError
from eventmark.instruments.clock import now_ns
from eventmark.operations.appends import AppendEvents, Batches
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.forks import ForkTask
from eventmark.server.loop import ask
from eventmark.stores import drop_scratch, find_store, open_store, run_id

BARE_OPERATIONS = ("load_aggregate[1000]", "stream_events[1000]")
LIBRARY_OPERATIONS = ("append_events[1]", "append_events[10]", "append_events[100]")
PEER_SCHEMA_SUFFIX = "_peer"
_NS_PER_MS = 1e6


async def run_bare_fork(task: ForkTask) -> float:
    """Median milliseconds of ``fetch`` of the operation's statement by the driver alone, with a fork's draws."""
    definition = find_store(task.store)
    store = await open_store(definition, task.dsn, schema=task.schema, pool_max=1)
    connection = await asyncpg.connect(task.dsn)
    try:
        random = np.random.default_rng([task.seed, *task.operation.encode()])
        operation = OPERATIONS[task.operation](store, task.sample, random)
        await operation.prepare()
        statement = definition.statements[operation.statement]
        prepared = await connection.prepare(statement.sql(task.schema))

        async def call() -> int:
            values = operation.parameters(operation.draw())
            arguments = [values[parameter.name] for parameter in statement.parameters]
            began_ns = now_ns()
            rows = await prepared.fetch(*arguments)
            took_ns = now_ns() - began_ns
            del rows
            return took_ns

        return await _median_ms(call, task)
    finally:
        await connection.close()
        await store.close()


async def _median_ms(call: Callable[[], Any], task: ForkTask) -> float:
    for _ in range(task.profile.warmup_calls * 4):
        await call()
    deadline_s = time.monotonic() + task.profile.seconds_max
    samples: list[int] = []
    while len(samples) < task.profile.samples and time.monotonic() < deadline_s:
        samples.append(await call())
    return float(np.median(samples)) / _NS_PER_MS


def library_is_installed() -> bool:
    """Whether the ``peers`` extra is there."""
    return find_spec("eventsourcing") is not None and find_spec("psycopg_pool") is not None


def run_library_fork(task: ForkTask) -> float:
    """Median milliseconds of the ``eventsourcing`` library's recorder appending batches of the same payloads."""
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

    schema = task.schema[: 48 - len(PEER_SCHEMA_SUFFIX)] + PEER_SCHEMA_SUFFIX
    kind = OPERATIONS[task.operation]
    assert issubclass(kind, AppendEvents)
    ask(task.dsn, _fresh_schema, schema)
    given = conninfo_to_dict(task.dsn)
    name, host, port, user, password = (
        str(given.get(key, "")) for key in ("dbname", "host", "port", "user", "password")
    )
    datastore = PostgresDatastore(name, host, port or 5432, user, password, pool_size=1, schema=schema)
    try:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        batches = Batches(kind.batch_events, np.random.default_rng([task.seed, 7]))

        def call() -> int:
            batch = batches.draw()
            stored = [
                StoredEvent(batch[0].event_id, number, event.event_type, _state(event.payload))
                for number, event in enumerate(batch, 1)
            ]
            began_ns = now_ns()
            recorder.insert_events(stored)
            return now_ns() - began_ns

        for _ in range(task.profile.warmup_calls):
            call()
        deadline_s = time.monotonic() + task.profile.seconds_max
        samples: list[int] = []
        while len(samples) < task.profile.samples and time.monotonic() < deadline_s:
            samples.append(call())
        return float(np.median(samples)) / _NS_PER_MS
    finally:
        datastore.close()
        ask(task.dsn, drop_scratch, schema)


def _state(payload: dict[str, Any] | str) -> bytes:
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


async def _fresh_schema(connection: asyncpg.Connection[Any], schema: str) -> None:
    try:
        await drop_scratch(connection, schema)
        await create_marked_schema(
            connection, schema, [], store_name="eventsourcing", ordering="global-sequence",
            purpose=Purpose.SCRATCH, owner=run_id(), digest="",
        )  # fmt: skip
    except asyncpg.PostgresError as error:
        raise CannotRunError(str(error).partition("\n")[0]) from None
