"""From append to visible to handled, by each way of waiting for events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from eventmark.domain import NewEvent, StreamId
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.experiments.streaming.consumers import NUMBER_KEY, ConsumerSpec
from eventmark.experiments.streaming.group import GroupPlan, Setting
from eventmark.experiments.streaming.sizes import Waiting
from eventmark.instruments.alarm import Alarm
from eventmark.instruments.clock import now_ns
from eventmark.jobs.job import Job
from eventmark.results.results import Latency
from eventmark.server.loop import on_loop
from eventmark.stats.quantiles import latency_of
from eventmark.stores import end_of_log, find_store, naming_of, open_store
from eventmark.workers import Clock, Crew, WorkerLink, doubt_ns
from eventmark.workload import Naming
from eventmark.workload.arrivals import Arrivals

STAGE = "deliver"
GRACE_S = 30.0
"""How long after the last append an event may still come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Single appends at a steady rate: until acknowledged; from there until a consumer was given the event, at once
    where that was before; from the call until the token after it was stored. ``lost`` were not given in time.
    ``doubt_ms``: how wrong these times may be, where the appends were made by another clock than the events were given.
    """

    way: Waiting
    appends: int
    lost: int
    append_ms: Latency
    visible_ms: Latency
    handled_ms: Latency
    doubt_ms: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether the clocks are known better than what was measured by them."""
        return self.doubt_ms < self.visible_ms.p50 or not self.doubt_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterTask:
    """Single appends, due ``due_s`` after the start; travels to its process."""

    dsn: str
    store: str
    schema: str
    due_s: tuple[float, ...]
    notify: bool


@dataclass(frozen=True, slots=True)
class Written:
    """When each append was called and when it was acknowledged, nanoseconds of ``now_ns``."""

    invoked_ns: NDArray[np.int64]
    ended_ns: NDArray[np.int64]


def measure_deliveries(setting: Setting) -> Iterator[Delivery]:
    """Each way of waiting in turn. Raises ``CannotRunError`` where an append fails."""
    ways = setting.ways
    for number, way in enumerate(ways):
        setting.progress(STAGE, number, len(ways))
        yield _deliver(setting, way, seed=setting.job.corpus.seed + number)
    setting.progress(STAGE, len(ways), len(ways))


def _deliver(setting: Setting, way: Waiting, seed: int) -> Delivery:
    job, sizes = setting.job, setting.sizes
    due_s = Arrivals("poisson", sizes.deliveries_per_s).due_s(
        sizes.delivery_s, np.random.default_rng([seed, 21])
    )
    task = WriterTask(
        dsn=job.server.dsn,
        store=job.store,
        schema=job.schema,
        due_s=tuple(due_s.tolist()),
        notify=way.notified,
    )
    written: list[tuple[Written, Clock]] = []

    async def write() -> None:
        async with Crew(setting.executor, run_writer, [task]) as crew:
            await crew.ready()
            crew.start()
            written.extend(zip(await crew.results(), crew.clocks, strict=True))

    spec = ConsumerSpec(
        name=f"eventmark-delivery-{uuid4().hex[:8]}",
        start=on_loop(head_token(job)),
        expected=(len(due_s),),
    )
    plan = GroupPlan(
        specs=(spec,),
        seconds=sizes.delivery_s + GRACE_S,
        poll_interval_s=way.poll_interval_s,
        with_numbers=True,
    )
    group = setting.consume(plan, meanwhile=write)
    (consumed,) = group.consumed
    numbers = np.array(consumed.numbers, np.int64)
    if not len(numbers):
        raise CannotRunError(f"no event was delivered, {way.name}: {consumed.error}")
    (appended, writer), (consumer,) = written[0], group.clocks
    ahead_ns = consumer.ticks_correction_ns - writer.ticks_correction_ns
    return Delivery(
        way=way,
        appends=len(due_s),
        lost=len(due_s) - len(np.unique(numbers)),
        append_ms=latency_of(appended.ended_ns - appended.invoked_ns),
        visible_ms=latency_of(
            np.maximum(np.array(consumed.given_ns) - ahead_ns - appended.ended_ns[numbers], 0)
        ),
        handled_ms=latency_of(np.array(consumed.ended_ns) - ahead_ns - appended.invoked_ns[numbers]),
        doubt_ms=doubt_ns(writer, consumer) / 1e6,
    )


async def head_token(job: Job) -> str:
    """The log's head now, as text."""
    store = await open_store(job.definition, job.server.dsn, schema=job.schema, pool_max=1)
    try:
        return str(await end_of_log(store))
    finally:
        await store.close()


async def run_writer(task: WriterTask, link: WorkerLink) -> Written:
    """Run in a worker, from the common start on. Raises ``CannotRunError`` for the first append that fails."""
    try:
        return await _write(task, link)
    except EventStoreError as error:
        raise CannotRunError(f"an append failed: {error}") from None


async def _write(task: WriterTask, link: WorkerLink) -> Written:
    definition = find_store(task.store)
    store = await open_store(definition, task.dsn, schema=task.schema, pool_max=2, notify=task.notify)
    invoked_ns, ended_ns = (np.zeros(len(task.due_s), np.int64) for _ in range(2))
    try:
        async with Alarm() as alarm:
            start_ns = await link.ready()
            for (stream, event), due_s, number in zip(
                _new_events(len(task.due_s), naming_of(store)),
                task.due_s,
                range(len(task.due_s)),
                strict=True,
            ):
                await alarm.until(start_ns + int(due_s * 1e9))
                invoked_ns[number] = now_ns()
                await store.append_events(stream, [event], expected_version=0)
                ended_ns[number] = now_ns()
    finally:
        await store.close()
    return Written(invoked_ns, ended_ns)


def _new_events(count: int, naming: Naming) -> Iterator[tuple[StreamId, NewEvent]]:
    """Each the first of a stream of its own, with its number."""
    names = naming.new_stream_ids(np.random.default_rng())
    for number in range(count):
        event_id = uuid4()
        stream = StreamId(tenant_id=naming.tenant_id(0), aggregate_type="Order", aggregate_id=next(names))
        yield stream, NewEvent(
            event_id=event_id, event_type="OrderPlaced", payload={NUMBER_KEY: number}, metadata={},
            timestamp=datetime.now(UTC), payload_type="OrderPlaced",
        )  # fmt: skip
