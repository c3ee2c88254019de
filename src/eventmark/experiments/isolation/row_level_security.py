"""What row-level security costs: the same calls on two stores, one with it, in turns."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import numpy as np

from eventmark.domain import EventStore, NewEvent, SequenceNumber, Snapshot, StreamId
from eventmark.engine.schema import Purpose, install_schema
from eventmark.instruments.clock import LoopLag
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.operation import client_of, judged_operation
from eventmark.results.results import Floor, OperationResult
from eventmark.results.targets import DEFAULT_TARGETS
from eventmark.seeding import Progress, no_progress
from eventmark.server import Server
from eventmark.server.loop import on_loop
from eventmark.stats.quantiles import latency_of
from eventmark.stores import drop_scratch, engine_store, open_store, run_id
from eventmark.workload import example_payloads

STREAMS = 20
EVENTS_PER_STREAM = 1000
CALLS = {
    "append_events[1]": 3000,
    "load_aggregate[1000]": 300,
    "stream_events[1000]": 300,
    "read_snapshot": 3000,
}
SUFFIX_PLAIN, SUFFIX_BOUND = "_open", "_rls"
_PAYLOADS = 200

Call = Callable[[EventStore, int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Nanoseconds of each call, with and without; the client's health meanwhile."""

    bound_ns: np.ndarray
    plain_ns: np.ndarray
    cpu_share: float
    loop_lag_ms_p99: float


class RowLevelSecurity(Experiment):
    """Row-level security's cost measured on the job's server."""

    name: ClassVar[str] = "row-level security"

    seeds: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        job, share = run.job, 0.1 if run.job.profile.name == "quick" else 1.0
        with run.phase("measure"):
            operations: dict[str, OperationResult] = {}
            run.so_far = lambda: Findings(operations=operations)
            measure_row_level_security(
                job.server,
                job.schema[:40],
                operations,
                share=share,
                seed=job.corpus.seed,
                progress=run.progress,
            )
        return Findings(operations=operations)


def measure_row_level_security(
    server: Server,
    schema: str,
    into: dict[str, OperationResult] | None = None,
    *,
    share: float = 1.0,
    seed: int = 1,
    progress: Progress = no_progress,
) -> dict[str, OperationResult]:
    """Each operation of a tenant, call by call on a store with row-level security and on one without.

    ``into`` is given each result as soon as it is there; ``share`` of the calls are made. Two schemas are made and
    dropped, and a role that logs in, as row-level security needs one. Raises ``CannotRunError``.
    """
    costs = {} if into is None else into
    on_loop(_measure_all(server.admin_dsn, schema, share, seed, costs, progress))
    return costs


async def _measure_all(
    dsn: str, schema: str, share: float, seed: int, into: dict[str, OperationResult], progress: Progress
) -> None:
    admin = await asyncpg.connect(dsn)
    role = f"{schema}_visitor_{uuid4().hex[:8]}"
    password = uuid4().hex
    plain, bound = schema + SUFFIX_PLAIN, schema + SUFFIX_BOUND
    try:
        for name, secured in ((plain, False), (bound, True)):
            await drop_scratch(admin, name)
            await install_schema(
                admin, name, roles=True, row_level_security=secured, purpose=Purpose.SCRATCH, owner=run_id()
            )
        await admin.execute(f"create role {role} login password '{password}'")
        await admin.execute(f"grant {plain}_appender, {bound}_appender to {role}")
        own, engine = _as_role(dsn, role, password), engine_store()
        async with (
            await open_store(engine, own, schema=plain, pool_max=1, notify=False) as without,
            await open_store(engine, own, schema=bound, pool_max=1, notify=False) as secured_store,
        ):
            stores = (secured_store, without)
            calls = await _prepare(stores, seed)
            for name in (plain, bound):
                await admin.execute(f'vacuum analyze "{name}".domain_events')
            for name, call in calls.items():
                measured = await _in_turns(stores, call, max(int(CALLS[name] * share), 20))
                into[f"{name}, row-level security"] = _result(name, measured)
                progress("measure", len(into), len(calls))
    finally:
        for name in (plain, bound):
            await drop_scratch(admin, name)
        await admin.execute(f"drop role if exists {role}")
        await admin.close()


async def _prepare(stores: Sequence[EventStore], seed: int) -> dict[str, Call]:
    """Fill both stores with the same streams; what each operation does to one of them."""
    random = np.random.default_rng(seed)
    payloads = example_payloads(_PAYLOADS, random)
    streams = [
        StreamId(tenant_id=f"tenant-{number % 5}", aggregate_type="Order", aggregate_id=f"filled-{number}")
        for number in range(STREAMS)
    ]
    for stream in streams:
        for version in range(0, EVENTS_PER_STREAM, 100):
            batch = [_event(payloads[(version + number) % _PAYLOADS]) for number in range(100)]
            for store in stores:
                await store.append_events(stream, batch, expected_version=version)
        for store in stores:
            await store.store_snapshot(
                Snapshot(
                    stream=stream, sequence_number=SequenceNumber(EVENTS_PER_STREAM), payload=payloads[0],
                    payload_type="State", timestamp=datetime.now(UTC),
                )
            )  # fmt: skip
    tails = {id(store): await store.create_tail_token() for store in stores}

    async def append(store: EventStore, number: int) -> object:
        stream = StreamId(
            tenant_id=f"tenant-{number % 5}", aggregate_type="Order", aggregate_id=f"new-{number}"
        )
        return await store.append_events(stream, [_event(payloads[number % _PAYLOADS])], expected_version=0)

    async def load(store: EventStore, number: int) -> object:
        stream = streams[number % STREAMS]
        return await store.load_aggregate(stream.tenant_id, stream.aggregate_id)

    async def read(store: EventStore, number: int) -> object:
        return await store.stream_events(tails[id(store)], limit=1000, tenant_id=f"tenant-{number % 5}")

    async def restore(store: EventStore, number: int) -> object:
        stream = streams[number % STREAMS]
        return await store.read_snapshot(stream.tenant_id, stream.aggregate_id)

    return {
        "append_events[1]": append, "load_aggregate[1000]": load, "stream_events[1000]": read, "read_snapshot": restore,
    }  # fmt: skip


def _event(payload: str) -> NewEvent:
    return NewEvent(
        event_id=uuid4(), event_type="OrderPlaced", payload=payload, metadata="{}", timestamp=datetime.now(UTC),
        payload_type="OrderPlaced",
    )  # fmt: skip


async def _in_turns(stores: Sequence[EventStore], call: Call, calls: int) -> _Measured:
    """One call here, one there, so that whatever drifts drifts for both; a tenth before that to warm up."""
    for number in range(calls // 10):
        for store in stores:
            await call(store, -1 - number)
    samples = np.empty((calls, 2), np.int64)
    async with LoopLag() as lag:
        began_s, cpu_began_s = time.monotonic(), time.process_time()
        for number in range(calls):
            for index, store in enumerate(stores):
                began_ns = time.perf_counter_ns()
                await call(store, number)
                samples[number, index] = time.perf_counter_ns() - began_ns
        seconds, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_began_s
    return _Measured(samples[:, 0].copy(), samples[:, 1].copy(), cpu_s / seconds, lag.p99_ms)


def _result(name: str, measured: _Measured) -> OperationResult:
    plain_ms, bound_ms = latency_of(measured.plain_ns).p50, latency_of(measured.bound_ns).p50
    return judged_operation(
        [measured.bound_ns], DEFAULT_TARGETS.get(name), np.random.default_rng(1), mode="sample",
        throughput_per_s=round(1e9 / float(measured.bound_ns.mean()), 1),
        client=client_of(measured.cpu_share, loop_lag_ms_p99=measured.loop_lag_ms_p99),
        floors=[
            Floor(
                tool="without it", statistic="p50", value=round(plain_ms, 6), unit="ms",
                ratio=round(bound_ms / plain_ms, 4), statement="p50",
            )
        ],
    )  # fmt: skip


def _as_role(dsn: str, role: str, password: str) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password)}@{host}"))
