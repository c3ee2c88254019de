"""How a store is used: batches, connections, prepared statements, snapshots, caches, groups; each measured."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import numpy as np

from eventmark.adviser.appends import Template
from eventmark.adviser.copies import Copies
from eventmark.adviser.rates import ratio_in_turns
from eventmark.adviser.snapshots import (
    BreakEven,
    CacheEffect,
    LoadTimes,
    break_even,
    cache_effects,
)
from eventmark.domain import EventStore, NewEvent, SequenceNumber, Snapshot, StreamId
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.experiments.group_append.group_append import measure_group_append
from eventmark.operations.pgbench import pgbench_rate
from eventmark.results.results import OperationResult
from eventmark.seeding import CorpusSample, sample_corpus
from eventmark.stats.ratios import Ratio
from eventmark.stores import find_store, naming_of, open_store, scratch_name
from eventmark.workers import call, worker_processes

BATCHES_EVENTS = (1, 10, 100, 1000)
TAILS_EVENTS = (1, 10, 100, 300, 1000)
CONNECTIONS, CONNECTIONS_QUICK = (1, 2, 4, 8, 16, 32, 64), (1, 8, 32)
CALLS_OF_EACH = 40
GROUPED_SUFFIX = "_grouped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What was measured of each. Rates are per second; what could not be measured is in ``missing``."""

    batch_events_per_s: Mapping[int, float]
    connections_appends_per_s: Mapping[int, float]
    prepared: Ratio
    times: LoadTimes | None
    snapshots: BreakEven | None
    caches: Sequence[CacheEffect]
    groups: Mapping[str, OperationResult]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What the worker measures; travels to it."""

    dsn: str
    store: str
    schema: str
    sample: CorpusSample
    templates: Sequence[Template]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    batch_events_per_s: dict[int, float]
    load_ms: dict[int, float]
    read_snapshot_ms: float | None
    store_snapshot_ms: float | None


def measure_application(copies: Copies) -> Application:
    """On the plain copy. Raises ``CannotRunError``."""
    missing: dict[str, str] = {}
    steps = 4
    copies.progress("measure use", 0, steps)
    measured = _in_worker(copies)
    copies.progress("measure use", 1, steps)
    connections = _by_connections(copies, missing)
    copies.progress("measure use", 2, steps)
    prepared = _prepared_ratio(copies)
    times = LoadTimes(
        load_ms=measured.load_ms, read_snapshot_ms=measured.read_snapshot_ms,
        store_snapshot_ms=measured.store_snapshot_ms,
    )  # fmt: skip
    if not measured.load_ms:
        missing["snapshots and caches"] = "the corpus has no stream of 1000 events"
    copies.progress("measure use", 3, steps)
    groups = _groups(copies, missing)
    loads = copies.ask(_loads) if measured.load_ms else []
    copies.progress("measure use", steps, steps)
    return Application(
        batch_events_per_s=measured.batch_events_per_s, connections_appends_per_s=connections, prepared=prepared,
        times=times if measured.load_ms else None, snapshots=break_even(times) if measured.load_ms else None,
        caches=cache_effects(loads, times) if loads else [], groups=groups, missing=missing,
    )  # fmt: skip


def _by_connections(copies: Copies, missing: dict[str, str]) -> dict[int, float]:
    """Appends per second by so many connections, as far as the server lets them in."""
    server, scripts = copies.job.server.confined(copies.plain), copies.scripts(copies.plain)
    chosen = CONNECTIONS if copies.effort.single_pairs else CONNECTIONS_QUICK
    rates: dict[int, float] = {}
    for count in chosen:
        try:
            rates[count] = pgbench_rate(server, scripts, seconds=copies.effort.seconds, clients=count)
        except CannotRunError as error:
            if not rates:
                raise
            missing[f"{count} connections"] = error.message
            break
    return rates


def _prepared_ratio(copies: Copies) -> Ratio:
    """Appends per second with statements prepared once, over statements parsed at each call."""
    server, scripts = copies.job.server.confined(copies.plain), copies.scripts(copies.plain)
    return ratio_in_turns(
        lambda: pgbench_rate(server, scripts, seconds=copies.effort.seconds, mode="extended"),
        lambda: pgbench_rate(server, scripts, seconds=copies.effort.seconds),
        max(copies.effort.single_pairs, 1),
    )


def _groups(copies: Copies, missing: dict[str, str]) -> dict[str, OperationResult]:
    if not copies.definition.engine:
        missing["group append"] = "it is the engine's"
        return {}
    if not copies.effort.single_pairs:
        missing["group append"] = "not in the quick profile: eventmark bench --group"
        return {}
    schema = scratch_name(copies.job.schema, GROUPED_SUFFIX)
    return measure_group_append(
        copies.job.server, schema, seconds=copies.effort.seconds, rounds=2, seed=copies.job.corpus.seed
    ).operations()


async def _loads(copies: Copies, connection: asyncpg.Connection[Any]) -> list[tuple[str, int]]:
    """The corpus in its order: of each event, its aggregate and how long that was before."""
    columns = copies.definition.sql_columns
    rows = await connection.fetch(
        f"select {columns['tenant_id']}::text || '/' || {columns['aggregate_id']}::text as aggregate,"
        f" {copies.definition.sql_sequence}::bigint - 1 as events"
        f' from {quoted_schema(copies.plain)}."{copies.definition.events_table}"'
        f" where {columns['global_sequence_id']} <= $1 order by {columns['global_sequence_id']}",
        copies.events,
    )
    return [(row["aggregate"], row["events"]) for row in rows]


def _in_worker(copies: Copies) -> _Measured:
    """In a fresh process, as everything that is timed through the port."""
    task = _Task(
        dsn=copies.job.server.dsn, store=copies.job.store, schema=copies.plain, templates=copies.templates,
        sample=copies.ask(_sample), seconds=copies.effort.seconds,
    )  # fmt: skip
    with worker_processes(1, fresh=True) as executor:
        return call(executor, _run, task)


async def _sample(copies: Copies, connection: asyncpg.Connection[Any]) -> CorpusSample:
    return await sample_corpus(connection, copies.definition, schema=copies.plain, events=copies.events)


async def _run(task: _Task) -> _Measured:
    definition = find_store(task.store)
    store = await open_store(definition, task.dsn, schema=task.schema, pool_max=1)
    try:
        rates = {batch: await _batch_rate(store, task, batch) for batch in BATCHES_EVENTS}
        streams = [long_stream.stream for long_stream in task.sample.long_streams]
        if not streams:
            return _Measured(
                batch_events_per_s=rates, load_ms={}, read_snapshot_ms=None, store_snapshot_ms=None
            )
        loads = {tail: await _median_ms(_load(store, streams, tail)) for tail in TAILS_EVENTS}
        reads = stores = None
        if definition.capabilities.snapshots and task.sample.snapshot_streams:
            stores = await _median_ms(_store_snapshot(store, streams, task.templates))
            reads = await _median_ms(_read_snapshot(store, task.sample.snapshot_streams))
        return _Measured(
            batch_events_per_s=rates, load_ms=loads, read_snapshot_ms=reads, store_snapshot_ms=stores
        )
    except EventStoreError as error:
        raise CannotRunError(f"the store's own operations fail: {error}") from None
    finally:
        await store.close()


async def _batch_rate(store: EventStore, task: _Task, batch: int) -> float:
    """Events per second of one connection that appends batches of so many, each to a new stream."""
    appended, template = 0, task.templates
    names = naming_of(store).new_stream_ids(np.random.default_rng())
    began_s = time.monotonic()
    while (seconds := time.monotonic() - began_s) < task.seconds or not appended:
        first = template[appended % len(template)]
        stream = StreamId(
            tenant_id=first.tenant_id, aggregate_type=first.aggregate_type, aggregate_id=next(names)
        )
        events = [_event(template[(appended + number) % len(template)]) for number in range(batch)]
        await store.append_events(stream, events, expected_version=0)
        appended += batch
    return appended / seconds


def _event(template: Template) -> NewEvent:
    return NewEvent(
        event_id=uuid4(), event_type=template.event_type, payload=template.payload, metadata=template.metadata,
        timestamp=datetime.now(UTC), payload_type=template.payload_type, payload_revision=template.payload_revision,
    )  # fmt: skip


Call = Callable[[int], Awaitable[object]]


async def _median_ms(call: Call) -> float:
    """Of ``CALLS_OF_EACH`` calls, after a few that warm up."""
    samples = []
    for number in range(CALLS_OF_EACH + CALLS_OF_EACH // 4):
        began_ns = time.perf_counter_ns()
        await call(number)
        samples.append(time.perf_counter_ns() - began_ns)
    return float(np.median(samples[CALLS_OF_EACH // 4 :])) / 1e6


def _load(store: EventStore, streams: Sequence[StreamId], tail: int) -> Call:
    """The last ``tail`` events of streams of 1000."""

    def call(number: int) -> Awaitable[object]:
        stream = streams[number % len(streams)]
        return store.load_aggregate(stream.tenant_id, stream.aggregate_id, from_sequence=1000 - tail + 1)

    return call


def _store_snapshot(store: EventStore, streams: Sequence[StreamId], templates: Sequence[Template]) -> Call:
    def call(number: int) -> Awaitable[object]:
        snapshot = Snapshot(
            stream=streams[number % len(streams)], sequence_number=SequenceNumber(1000),
            payload=templates[number % len(templates)].payload, payload_type="State", timestamp=datetime.now(UTC),
        )  # fmt: skip
        return store.store_snapshot(snapshot)

    return call


def _read_snapshot(store: EventStore, streams: Sequence[StreamId]) -> Call:
    def call(number: int) -> Awaitable[object]:
        stream = streams[number % len(streams)]
        return store.read_snapshot(stream.tenant_id, stream.aggregate_id)

    return call
