"""A stream that got long, loaded whole or from its snapshot on."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime

from eventmark.domain import EventStore, SequenceNumber, Snapshot, StreamId
from eventmark.experiments.museum.exhibit import Exhibit, Limit, Room, Trial, judge_counters
from eventmark.experiments.museum.log import empty_log
from eventmark.stores import engine_store, open_store

EVENTS = 20_000
TAIL_EVENTS = 100
PAYLOAD_BYTES = 2000
PEAK = Limit(
    counter="memory at its peak, MiB", most=16, why="a load must not grow with the length of its stream"
)

_STREAM = StreamId(tenant_id="t", aggregate_type="Order", aggregate_id="huge")
_FILL = """
insert into {schema}.domain_events (
    sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type, aggregate_id,
    event_type, payload_type, payload_revision, payload, metadata
)
select n, n - 1, now(), gen_random_uuid(), 't', 'Order:huge', 'Order', 'huge', 'OrderChanged', 'OrderChanged', '1.0',
    json_build_object('text', repeat(md5(n::text), {repeats})), '{{}}'
from generate_series(1, {events}) as n
"""


async def _loads(room: Room) -> Sequence[Trial]:
    async with empty_log(room) as (connection, schema):
        await connection.execute(
            _FILL.format(schema=f'"{schema}"', events=EVENTS, repeats=PAYLOAD_BYTES // 32)
        )
        await connection.execute(f'vacuum analyze "{schema}".domain_events')
        async with await open_store(engine_store(), room.server.dsn, schema=schema, notify=False) as store:
            await store.store_snapshot(
                Snapshot(
                    stream=_STREAM, sequence_number=SequenceNumber(EVENTS - TAIL_EVENTS), payload={"orders": EVENTS},
                    payload_type="State", timestamp=datetime.now(UTC),
                )
            )  # fmt: skip
            return [
                await _loaded(store, "all events at once", from_snapshot=False),
                await _loaded(store, "a snapshot, and the events after it", from_snapshot=True),
            ]


async def _loaded(store: EventStore, variant: str, *, from_snapshot: bool) -> Trial:
    """Traced, and not the process' resident memory: what was freed before would hide what is taken now."""
    tracemalloc.start()
    try:
        first = 1
        if from_snapshot:
            snapshot = await store.read_snapshot(_STREAM.tenant_id, _STREAM.aggregate_id)
            assert snapshot is not None
            first = snapshot.sequence_number + 1
        events = await store.load_aggregate(_STREAM.tenant_id, _STREAM.aggregate_id, from_sequence=first)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    counters = {"events loaded": float(len(events)), PEAK.counter: round(peak_bytes / 2**20, 1)}
    verdict, reason = judge_counters(counters, [PEAK])
    return Trial(variant=variant, good=from_snapshot, verdict=verdict, reason=reason, counters=counters)


HUGE_AGGREGATE = Exhibit(
    name="huge-aggregate",
    title="A stream that got long runs its process out of memory",
    sources=("akka-persistence-jdbc#322",),
    story="Recovery reads all events of an aggregate into memory, and the longer it lives the more that is.",
    lesson="Snapshots, and of the stream only what follows the last one.",
    judged_by="counters: memory at its peak, as the interpreter traces it",
    run=_loads,
)
