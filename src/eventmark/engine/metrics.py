"""The engine's metrics for Prometheus: ``await expose_metrics(store, port=9464)`` is all a service needs.

What each call of a statement took is told by the pool; how far consumers are behind, and what holds them up,
is asked every few seconds. Not imported with the engine: whoever does not ask for metrics pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import asyncpg

from eventmark.domain import TrackingToken
from eventmark.engine.appending import group_counts
from eventmark.engine.parameters import checked_count, checked_seconds
from eventmark.engine.stalls import find_stall
from eventmark.engine.store import PostgresEventStore
from eventmark.errors import CannotRunError, EventStoreError

try:
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        GCCollector,
        Histogram,
        PlatformCollector,
        ProcessCollector,
        start_http_server,
    )
except ImportError as error:
    raise ImportError("metrics need prometheus-client: pip install 'eventmark-engine[metrics]'") from error

PORT = 9464
INTERVAL_S = 5.0
# The targets of the core operations (1, 5, 10, 20, 50 ms) are bounds: whether calls met them is counted exactly.
BUCKETS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip

_APPEND_SIZES = (1, 10, 100)
_READ_SIZE = 1000
_READS = {
    "load_aggregate": "load_aggregate",
    "stream_events": "stream_events",
    "stream_tenant_events": "stream_events",
}
_CONFLICTS = (asyncpg.UniqueViolationError, asyncpg.SerializationError)


def operation_of(statement: str, events: int) -> str:
    """The operation as targets name it: appends and reads by the smallest size that holds their events."""
    if statement == "append_events":
        size = next((append_size for append_size in _APPEND_SIZES if events <= append_size), None)
        return f"append_events[{size or 'more'}]"
    if statement in _READS:
        size = 0 if not events else _READ_SIZE if events <= _READ_SIZE else None
        return f"{_READS[statement]}[{'more' if size is None else size}]"
    return statement


class OperationMetrics:
    """What statements took and what came of them; the ``Observer`` of a pool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "eventmark_operation_seconds", "Latency of one call, as the client saw it.",
            ["operation", "outcome"], buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._events = Counter(
            "eventmark_events", "Events appended, loaded and streamed.", ["direction"], registry=registry
        )
        self._pool_wait = Histogram(
            "eventmark_pool_wait_seconds", "How long an operation waited for a connection, if it did.",
            buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip

    def answered(self, name: str, arguments: Sequence[object], seconds: float, rows: Sequence[Any]) -> None:
        if name == "append_group":
            self._group_answered(arguments, seconds, rows)
            return
        appending = name.startswith("append_")
        lengths = (
            (len(argument) for argument in arguments if isinstance(argument, list))
            if appending
            else (len(rows),)
        )
        events = max(lengths, default=1)
        conflict = name == "append_events" and bool(rows) and rows[0].get("last_global_sequence", 0) is None
        self._seconds.labels(operation_of(name, events), "conflict" if conflict else "ok").observe(seconds)
        if appending and not conflict:
            self._events.labels("appended").inc(events)
        elif name in _READS and rows:
            self._events.labels("loaded" if name == "load_aggregate" else "streamed").inc(events)

    def _group_answered(self, arguments: Sequence[object], seconds: float, rows: Sequence[Any]) -> None:
        """Each append of a group is a call that took as long as the group, and has an outcome of its own."""
        appends, refused, events = group_counts(arguments, rows[0])
        for outcome, count in (("ok", appends - refused), ("conflict", refused)):
            observe = self._seconds.labels("append_group", outcome).observe
            for _ in range(count):
                observe(seconds)
        self._events.labels("appended").inc(events)

    def failed(self, name: str, seconds: float, error: BaseException) -> None:
        outcome = "conflict" if isinstance(error, _CONFLICTS) else "error"
        self._seconds.labels(operation_of(name, 1), outcome).observe(seconds)

    def waited(self, seconds: float) -> None:
        self._pool_wait.observe(seconds)


class StoreGauges:
    """How the log, its consumers and the pool stand; set by ``sample``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"eventmark_{name}", help_text, labels, registry=registry)

        self._head = gauge("head_position", "Global sequence of the last event that consumers can have.")
        self._horizon_s = gauge(
            "horizon_age_seconds", "How long the transaction that holds consumers up is open; 0 for none."
        )
        self._behind = gauge(
            "horizon_transactions", "Transaction ids given out since the oldest one that runs."
        )
        self._lag = gauge(
            "processor_lag_events",
            "Global sequence numbers to the head of the log.",
            ["processor", "segment"],
        )
        self._claimed = gauge("processor_claimed", "1 while somebody works on it.", ["processor", "segment"])
        self._pool = gauge("pool_connections", "Connections of the pool.", ["state"])

    async def sample(self, store: PostgresEventStore) -> None:
        """Ask the server once. Raises ``EventStoreError`` and the driver's errors."""
        for state, number in (
            ("open", store.pool.open),
            ("in_use", store.pool.in_use),
            ("max", store.pool.size_max),
        ):
            self._pool.labels(state).set(number)
        stall = await store.with_connection(find_stall)
        self._horizon_s.set(stall.age_s or 0.0 if stall else 0.0)
        self._behind.set(stall.transactions if stall else 0)
        if not store.capabilities.all_tenants_stream:
            return  # each tenant has a head of its own there
        head = await store.create_head_token()
        self._head.set(head.global_sequence)
        for processor, segment, token, claimed in await store.run_statement("list_segments"):
            global_sequence = TrackingToken.parse(token).global_sequence
            self._lag.labels(processor, segment).set(max(head.global_sequence - global_sequence, 0))
            self._claimed.labels(processor, segment).set(int(claimed))


class ExposedMetrics:
    """Metrics of a store until ``close``; made by ``expose_metrics``."""

    def __init__(
        self, store: PostgresEventStore, registry: CollectorRegistry, server: Any, interval_s: float
    ) -> None:
        self._store = store
        self._server = server
        self._interval_s = interval_s
        self._gauges = StoreGauges(registry)
        store.pool.observer = OperationMetrics(registry)
        self._sampling = asyncio.create_task(self._sample())

    @property
    def port(self) -> int:
        """Where they are served; 0 where they are not."""
        return int(self._server.server_port) if self._server else 0

    async def close(self) -> None:
        """Stop serving and asking. The store stays open."""
        self._store.pool.observer = None
        self._sampling.cancel()
        await asyncio.gather(self._sampling, return_exceptions=True)
        if self._server:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _sample(self) -> None:
        while True:
            # A server that does not answer shows in the operations; gauges then keep what was seen last.
            with contextlib.suppress(EventStoreError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await self._gauges.sample(self._store)
            await asyncio.sleep(self._interval_s)


async def expose_metrics(
    store: PostgresEventStore,
    *,
    port: int | None = PORT,
    address: str = "127.0.0.1",
    interval_s: float = INTERVAL_S,
    registry: CollectorRegistry | None = None,
) -> ExposedMetrics:
    """Serve the store's metrics on ``http://address:port/metrics`` until the answer is closed.

    Port 0 takes a free one. A service that has an endpoint already gives its ``registry`` (one store each) and
    ``port=None``. Raises ``CannotRunError`` where the port is taken.
    """
    checked_seconds(interval_s, "interval_s")
    if port is not None:
        checked_count(port, "port", lowest=0, highest=65_535)
    if registry is None:
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
    server = serve(registry, port, address) if port is not None else None
    return ExposedMetrics(store, registry, server, interval_s)


def serve(registry: CollectorRegistry, port: int, address: str) -> Any:
    """The library's server, in a thread of its own. Raises ``CannotRunError`` where the port is taken."""
    try:
        return start_http_server(port, addr=address, registry=registry)[0]
    except OSError as error:
        raise CannotRunError(
            f"metrics cannot be served on {address}:{port}: {error.strerror}", remedy="name another port"
        ) from error
