"""Consumers in a worker process: several at once, each a coroutine, on one store.

Of the engine's stores they are tracking event processors. Others have none: there, a plain loop streams events
and keeps its token itself.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eventmark.domain import EventStore, StoredEvent, TrackingToken
from eventmark.engine import EventProcessor, PostgresEventStore
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.instruments.clock import LoopLag, now_ns
from eventmark.stores import find_store, open_store
from eventmark.workers import WorkerLink

BATCH_EVENTS = 1000
TELL_EVERY_S = 0.25
CONNECTIONS_EACH = 3
"""A consumer reads, stores its token and prolongs its lease at once, at most."""

NUMBER_KEY = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """One consumer. ``start`` is a token's text, empty for the tail.

    It ends once it has handled ``expected`` events: the number of the segment that it claims, or of the one
    there is; with none expected, when the task's time is over. Its handler waits ``handler_us`` for each event.
    """

    name: str
    segments: int = 1
    start: str = ""
    expected: tuple[int, ...] = ()
    handler_us: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerTask:
    """What travels to a worker. ``seconds`` is how long it runs at most, from the common start.

    The worker's own CPU is counted from ``settle_s`` on. ``with_numbers``: each event's number (``NUMBER_KEY``
    of its payload) is kept with when it was given and when its token was stored.
    """

    dsn: str
    store: str
    schema: str
    specs: tuple[ConsumerSpec, ...]
    seconds: float
    poll_interval_s: float
    settle_s: float = 0.0
    with_numbers: bool = False


@dataclass(slots=True)
class Consumed:
    """What one consumer did. Times are nanoseconds of ``now_ns``; one entry of each list for each batch.

    ``numbers``, ``given_ns`` and ``ended_ns`` have one entry for each event, where numbers were wanted.
    """

    name: str
    segment: int = 0
    saved_ns: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    given_ns: list[int] = field(default_factory=list)
    ended_ns: list[int] = field(default_factory=list)
    error: str = ""

    @property
    def handled(self) -> int:
        return sum(self.events)

    def intervals_ns(self) -> NDArray[np.int64]:
        """From one stored token to the next. Until the first, statements are prepared and types looked up."""
        at_ns = np.array(self.saved_ns, np.int64)
        return np.asarray(at_ns[1:] - at_ns[:-1], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConsumption:
    """What a worker's consumers did, from ``start_ns`` on, and the worker's health: shares of one core."""

    start_ns: int
    consumed: tuple[Consumed, ...]
    cpu_s: float
    seconds: float
    loop_lag_ms_p99: float

    @property
    def cpu_share(self) -> float:
        return self.cpu_s / self.seconds if self.seconds else 0.0


class Consumer(Protocol):
    """What an ``EventProcessor`` and a ``PlainConsumer`` have in common."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class PlainConsumer:
    """Streams events and keeps its token in memory: what a store without processors leaves to its users."""

    def __init__(
        self,
        store: EventStore,
        handler: Callable[[Sequence[StoredEvent], None], Awaitable[None]],
        *,
        start: TrackingToken | None,
        poll_interval_s: float,
        saved: Callable[[Sequence[StoredEvent]], object],
    ) -> None:
        self._store = store
        self._handler = handler
        self._start = start
        self._poll_interval_s = poll_interval_s
        self._saved = saved
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        token = self._start or await self._store.create_tail_token()
        while not self._stopping.is_set():
            batch = await self._store.stream_events(token, limit=BATCH_EVENTS)
            token = batch.token
            if batch.events:
                await self._handler(batch.events, None)
                self._saved(batch.events)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_interval_s):
                    await self._stopping.wait()


async def run_consumers(task: ConsumerTask, link: WorkerLink) -> WorkerConsumption:
    """Run in a process of its own. Raises ``CannotRunError`` where the store cannot be opened."""
    try:
        store = await _open(task)
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    try:
        return await _consume(task, store, link)
    finally:
        await store.close()


async def _open(task: ConsumerTask) -> EventStore:
    size = CONNECTIONS_EACH * len(task.specs)
    return await open_store(
        find_store(task.store), task.dsn, schema=task.schema, pool_min=size, pool_max=size,
        poll_interval_s=task.poll_interval_s,
    )  # fmt: skip


async def _consume(task: ConsumerTask, store: EventStore, link: WorkerLink) -> WorkerConsumption:
    running = [_Running(store, spec, task) for spec in task.specs]
    gc.collect()
    gc.freeze()
    start_ns = await link.ready()
    await asyncio.sleep(max(start_ns - now_ns(), 0) / 1e9)
    reporting = asyncio.create_task(_report(link, running))
    clock = _Clock()
    asyncio.get_running_loop().call_later(task.settle_s, clock.begin)
    async with LoopLag() as lag:
        await asyncio.gather(*(consumer.run(task.seconds) for consumer in running))
    seconds, cpu_s = clock.spent()
    reporting.cancel()
    gc.unfreeze()
    return WorkerConsumption(
        start_ns=start_ns, consumed=tuple(consumer.consumed for consumer in running), cpu_s=cpu_s, seconds=seconds,
        loop_lag_ms_p99=lag.p99_ms,
    )  # fmt: skip


class _Clock:
    """Time and CPU time of this process since it was last begun."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._began_s, self._cpu_began_s = time.monotonic(), time.process_time()

    def spent(self) -> tuple[float, float]:
        return time.monotonic() - self._began_s, time.process_time() - self._cpu_began_s


async def _report(link: WorkerLink, running: Sequence[_Running]) -> None:
    """How many events all of them have handled, again and again."""
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        link.send(sum(consumer.handled for consumer in running))


class _Running:
    """One consumer at work, and what it did."""

    def __init__(self, store: EventStore, spec: ConsumerSpec, task: ConsumerTask) -> None:
        self.consumed = Consumed(spec.name)
        self.handled = 0
        self._spec = spec
        self._with_numbers = task.with_numbers
        self._given_ns = 0
        start = TrackingToken.parse(spec.start) if spec.start else None
        self._processor: EventProcessor | None = None
        self._consumer: Consumer
        if isinstance(store, PostgresEventStore):
            self._consumer = self._processor = EventProcessor(
                store, spec.name, self._handle, segments=spec.segments, start=start, batch_events=BATCH_EVENTS,
                saved=self._saved,
            )  # fmt: skip
        else:
            self._consumer = PlainConsumer(
                store, self._handle, start=start, poll_interval_s=task.poll_interval_s, saved=self._saved
            )

    def stop(self) -> None:
        self._consumer.stop()

    async def run(self, seconds: float) -> None:
        """Until all that is expected is handled, or the time is over; an error is written down."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self.stop)
        try:
            await self._consumer.run()
        except EventStoreError as error:
            self.consumed.error = f"{type(error).__name__}: {error}"[:300]
        finally:
            timer.cancel()
        expected = self._expected()
        if not self.consumed.error and self.handled < expected:
            self.consumed.error = f"{self.handled} of {expected} events were handled in {seconds:g} s"

    async def _handle(self, events: Sequence[StoredEvent], connection: object) -> None:
        self._given_ns = now_ns()
        if self._spec.handler_us:
            await asyncio.sleep(self._spec.handler_us * len(events) / 1e6)

    def _saved(self, events: Sequence[StoredEvent]) -> None:
        saved_ns, consumed = now_ns(), self.consumed
        consumed.saved_ns.append(saved_ns)
        consumed.events.append(len(events))
        if self._with_numbers:
            consumed.numbers += [_event_number(event) for event in events]
            consumed.given_ns += [self._given_ns] * len(events)
            consumed.ended_ns += [saved_ns] * len(events)
        self.handled += len(events)
        expected = self._expected()
        if expected and self.handled >= expected:
            self.stop()

    def _expected(self) -> int:
        if not self._spec.expected:
            return 0
        claim = self._processor.claim if self._processor is not None else None
        self.consumed.segment = claim.segment if claim is not None else 0
        return self._spec.expected[self.consumed.segment]


def _event_number(event: StoredEvent) -> int:
    """The number that ``delivery`` wrote into the payload: all that every store gives back."""
    number: int = event.payload()[NUMBER_KEY]
    return number
