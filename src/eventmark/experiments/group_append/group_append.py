"""Group append under many callers, pgbench's single appends by 32 clients and COPY of such events, in turns."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any, ClassVar
from uuid import uuid4

import numpy as np

from eventmark.domain import NewEvent, StreamId
from eventmark.engine import GroupAppender, PostgresEventStore
from eventmark.engine.orderings import HORIZON
from eventmark.engine.payloads import DEFAULT_PAYLOAD
from eventmark.instruments.clock import LoopLag
from eventmark.jobs.findings import Findings
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.operation import client_of, judged_operation
from eventmark.judgement.verdicts import overall
from eventmark.operations.pgbench import RATE_CLIENTS, pgbench_rate
from eventmark.results.results import (
    Finding,
    Floor,
    OperationResult,
    Section,
    Verdict,
)
from eventmark.results.targets import Target
from eventmark.server import Server
from eventmark.server.loop import ask, connection_to, on_loop
from eventmark.stats.ratios import Ratio, mean_ratio
from eventmark.stores import drop_scratch, make_scratch_schema, scratch_name
from eventmark.workers import call, worker_processes
from eventmark.workload import example_payloads

CALLERS = (1, 64, 256)
PAYLOADS = 200
STOCK_AHEAD = 1.5  # appends made beforehand, by the rate of the warm-up: what lies beyond is made on the way
STOCK_MAX = 500_000
SCHEMA_SUFFIX = "_grouped"
ROUNDS = {"quick": 1, "standard": 5, "full": 10}
SECONDS = {"quick": 1.0, "standard": 4.0, "full": 8.0}
TARGETS = {callers: Target(quantile="p95", limit_ms=10.0) for callers in (1, 64)}
"""None of 256 callers: nobody promises a latency to so many at one process, a throughput is what they get."""

TIMES_WANTED = {64: 2.0, 256: 3.0}
"""By callers: how many times the single appends of pgbench's clients."""

COPY_ROWS = 10_000
COPY_COLUMNS = (
    "sequence_number", "expected_version", "timestamp_utc", "event_id", "tenant_id", "stream_id", "aggregate_type",
    "aggregate_id", "event_type", "payload_type", "payload_revision", "payload", "metadata",
)  # fmt: skip

ALONE_TIMES_MAX = 1.1
"""How many times as long as a direct append one in a group of one may take."""

_METADATA = '{"user": "user-0001"}'
# Every call a stream of its own, as the callers do. What is looked for comes as a value: a function that the
# server would have to call for each row would keep it from using the index.
_ARGUMENTS = {
    "tenant_id": "'tenant-' || :client_id", "aggregate_id": ":stream::text", "aggregate_type": "'Order'",
    "expected_version": "0", "event_ids": "array[gen_random_uuid()]", "event_types": "array['OrderPlaced']",
    "payloads": f"array[$payload$PAYLOAD$payload$::{DEFAULT_PAYLOAD}]",
    "metadatas": f"array['{_METADATA}'::{DEFAULT_PAYLOAD}]",
    "timestamps": "array[now()]", "payload_types": "array['OrderPlaced']", "payload_revisions": "array['1.0']",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """How many callers append, and whether in groups."""

    callers: int
    grouped: bool

    @property
    def name(self) -> str:
        how = " in groups" if self.grouped else ", direct"
        return f"append_events[1], {self.callers} caller{'s' * (self.callers > 1)}{how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    dsn: str
    schema: str
    kind: _Kind
    seconds: float
    seed: int


@dataclass(frozen=True, slots=True)
class _Round:
    """What callers measured: each one's latency, how long it took together, the client's health."""

    samples_ns: np.ndarray
    seconds: float
    cpu_s: float
    loop_lag_ms_p99: float

    @property
    def rate(self) -> float:
        """Appends per second of all callers."""
        return len(self.samples_ns) / self.seconds


DIRECT = _Kind(1, grouped=False)
KINDS = (DIRECT, *(_Kind(callers, grouped=True) for callers in CALLERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """What was measured: rounds of each kind; pgbench's appends/s right before each round, and COPY's rows/s."""

    rounds: dict[_Kind, list[_Round]]
    pgbench: list[float]
    copy: list[float]

    def operations(self) -> dict[str, OperationResult]:
        """By name, with pgbench's median rate as the floor."""
        return {kind.name: self._operation(kind) for kind in self.rounds}

    def section(self) -> Section:
        """Whether groups bring what is wanted of them, each round held against what was measured next to it."""
        findings = [*map(self._throughput, TIMES_WANTED), self._alone()]
        verdict, _ = overall((finding.name, finding.verdict, "") for finding in findings)
        return Section(
            name="group-append", title="Group append", verdict=verdict, findings=findings,
            text=[
                "Callers of one process append one event each, every one to a new stream. Right before "
                f"each round, {RATE_CLIENTS} clients of pgbench run the same statement, each append a commit of its "
                f"own. Rates are held against pgbench's of the same round, {len(self.pgbench)} rounds.",
                f"In each round one client writes such events with COPY too, {COPY_ROWS:,} to a commit. "
                f"Compared with its rate: {self._against_copy()}.",
            ],
        )  # fmt: skip

    def _throughput(self, callers: int) -> Finding:
        wanted = TIMES_WANTED[callers]
        ratio = self._ratio(_Kind(callers, grouped=True), self.pgbench)
        verdict = Verdict.MET if ratio.low >= wanted else Verdict.INCONCLUSIVE
        if ratio.high < wanted:
            verdict = Verdict.BROKEN
        return Finding(
            name=f"throughput of {callers} callers", verdict=verdict,
            observed=f"{ratio} pgbench's single appends", expected=f"{wanted:g} × or more", timed=True,
        )  # fmt: skip

    def _against_copy(self) -> str:
        crowds = [kind for kind in self.rounds if kind.callers > 1]
        return ", ".join(f"{kind.callers} callers {self._ratio(kind, self.copy)}" for kind in crowds)

    def _ratio(self, kind: _Kind, floor: Sequence[float]) -> Ratio:
        return mean_ratio([turn.rate / rate for turn, rate in zip(self.rounds[kind], floor, strict=True)])

    def _alone(self) -> Finding:
        grouped, direct = self.rounds[_Kind(1, grouped=True)], self.rounds[DIRECT]
        ratio = mean_ratio(
            [
                float(np.median(group.samples_ns) / np.median(other.samples_ns))
                for group, other in zip(grouped, direct, strict=True)
            ]
        )
        verdict = Verdict.MET if ratio.high <= ALONE_TIMES_MAX else Verdict.INCONCLUSIVE
        if ratio.low > ALONE_TIMES_MAX:
            verdict = Verdict.BROKEN
        return Finding(
            name="p50 of a single caller", verdict=verdict, observed=f"{ratio} that of a direct append",
            expected=f"{ALONE_TIMES_MAX:g} × or less", timed=True,
        )  # fmt: skip

    def _operation(self, kind: _Kind) -> OperationResult:
        rounds = self.rounds[kind]
        floor_rate, copy_rate = float(np.median(self.pgbench)), float(np.median(self.copy))
        target = TARGETS.get(kind.callers)
        decided = None
        if target is None:
            throughput = self._throughput(kind.callers)
            decided = (throughput.verdict, f"{throughput.observed}, wanted {throughput.expected}")
        rate = float(np.median([turn.rate for turn in rounds]))
        return judged_operation(
            [turn.samples_ns for turn in rounds], target, np.random.default_rng(1), mode="throughput",
            throughput_per_s=round(rate, 1),
            client=client_of(
                sum(turn.cpu_s for turn in rounds) / sum(turn.seconds for turn in rounds),
                loop_lag_ms_p99=max(turn.loop_lag_ms_p99 for turn in rounds),
            ),
            verdict=decided,
            floors=[
                Floor(
                    tool=f"pgbench, {RATE_CLIENTS} clients", statistic="single appends", value=round(floor_rate, 1),
                    unit="appends/s", ratio=round(floor_rate / rate, 4), statement="rate",
                ),
                Floor(
                    tool=f"COPY, {COPY_ROWS:,} rows to a commit", statistic="rows", value=round(copy_rate, 1),
                    unit="rows/s", ratio=round(copy_rate / rate, 4), statement="rate",
                ),
            ],
        )  # fmt: skip


class GroupAppend(Experiment):
    """Group append measured on the job's server."""

    name: ClassVar[str] = "group append"

    seeds: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        profile = run.job.profile.name

        def keep(grouped: Grouped) -> None:
            run.so_far = lambda: _findings(grouped)
            run.progress("measure", len(grouped.pgbench), ROUNDS[profile])

        with run.phase("measure"):
            grouped = measure_group_append(
                run.job.server, scratch_name(run.job.schema, SCHEMA_SUFFIX), seconds=SECONDS[profile],
                rounds=ROUNDS[profile], seed=run.job.corpus.seed, keep=keep,
            )  # fmt: skip
        return _findings(grouped)


def _findings(grouped: Grouped) -> Findings:
    return Findings(operations=grouped.operations(), sections=[grouped.section()])


def measure_group_append(
    server: Server,
    schema: str,
    *,
    seconds: float = SECONDS["standard"],
    rounds: int = 3,
    seed: int = 1,
    keep: Callable[[Grouped], None] = lambda _: None,
) -> Grouped:
    """Appends of one event by 1, 64 and 256 concurrent callers of one process, each to a new stream.

    One caller appends directly as well: a group of one must cost no more. ``schema`` is made anew and
    dropped. ``keep`` is given what there is after each round. Raises ``CannotRunError``.
    """
    measured: dict[_Kind, list[_Round]] = {kind: [] for kind in KINDS}
    pgbench: list[float] = []
    copy: list[float] = []
    on_loop(make_scratch_schema(server.dsn, schema))
    try:
        for number in range(rounds):
            pgbench.append(_pgbench_rate(server, schema, seconds, seed + number))
            task = _Task(dsn=server.dsn, schema=schema, kind=DIRECT, seconds=seconds, seed=seed + number)
            for kind, turns in measured.items():
                with worker_processes(1, fresh=True) as executor:
                    turns.append(call(executor, _run_callers, replace(task, kind=kind)))
            with worker_processes(1, fresh=True) as executor:
                copy.append(call(executor, _copy, task))
            rounds_by_kind = {kind: list(turns) for kind, turns in measured.items()}
            keep(Grouped(rounds=rounds_by_kind, pgbench=list(pgbench), copy=list(copy)))
    finally:
        ask(server.dsn, drop_scratch, schema)
    return Grouped(rounds=measured, pgbench=pgbench, copy=copy)


async def _run_callers(task: _Task) -> _Round:
    """Warm up for a quarter of the time, then measure. Appends are made beforehand, as a caller has them."""
    store = await PostgresEventStore.connect(task.dsn, schema=task.schema, pool_max=3, notify=False)
    async with store, GroupAppender(store) as appender:
        append = appender.append_events if task.kind.grouped else store.append_events
        samples: list[int] = []
        source = _appends(task.seed)
        stock: list[tuple[StreamId, NewEvent]] = []

        async def call(over_s: float) -> None:
            while time.monotonic() < over_s:
                stream, event = stock.pop() if stock else next(source)
                began_ns = time.perf_counter_ns()
                await append(stream, [event], expected_version=0)
                samples.append(time.perf_counter_ns() - began_ns)

        async def run(seconds: float) -> None:
            over_s = time.monotonic() + seconds
            await asyncio.gather(*(call(over_s) for _ in range(task.kind.callers)))

        await run(warm_s := task.seconds / 4)
        wanted = int(len(samples) / warm_s * task.seconds * STOCK_AHEAD)
        stock += islice(source, min(wanted, STOCK_MAX))
        samples.clear()
        gc.collect()
        gc.freeze()
        async with LoopLag() as lag:
            began_s, cpu_began_s = time.monotonic(), time.process_time()
            await run(task.seconds)
            seconds, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_began_s
        return _Round(np.array(samples, np.int64), seconds, cpu_s, lag.p99_ms)


async def _copy(task: _Task) -> float:
    """Rows per second of one client's COPY, a commit for each. Rows are made beforehand."""
    source = _appends(task.seed)
    seconds, rows = 0.0, 0
    async with connection_to(task.dsn) as connection:
        while seconds < task.seconds:
            records = [_record(*append) for append in islice(source, COPY_ROWS)]
            began_s = time.perf_counter()
            await connection.copy_records_to_table(
                "domain_events", schema_name=task.schema, columns=COPY_COLUMNS, records=records
            )
            seconds, rows = seconds + time.perf_counter() - began_s, rows + len(records)
    return rows / seconds


def _record(stream: StreamId, event: NewEvent) -> tuple[Any, ...]:
    """An event's row, in the order of ``COPY_COLUMNS``."""
    return (
        1, 0, event.timestamp, event.event_id, stream.tenant_id, f"{stream.aggregate_type}:{stream.aggregate_id}",
        stream.aggregate_type, stream.aggregate_id, event.event_type, event.payload_type, event.payload_revision,
        event.payload, event.metadata,
    )  # fmt: skip


def _appends(seed: int) -> Iterator[tuple[StreamId, NewEvent]]:
    """Appends without end, each the first of a new stream."""
    payloads = example_payloads(PAYLOADS, np.random.default_rng(seed), "small")
    for number in count():
        event = NewEvent(
            event_id=uuid4(), event_type="OrderPlaced", payload=payloads[number % PAYLOADS], metadata=_METADATA,
            timestamp=datetime.now(UTC), payload_type="OrderPlaced",
        )  # fmt: skip
        yield (
            StreamId(
                tenant_id=f"tenant-{number % 32}", aggregate_type="Order", aggregate_id=event.event_id.hex
            ),
            event,
        )


def _pgbench_rate(server: Server, schema: str, seconds: float, seed: int) -> float:
    """Appends per second of pgbench's clients, prepared, each append a transaction of its own."""
    statement = HORIZON.statements()["append_events"]
    (payload,) = example_payloads(1, np.random.default_rng(seed), "small")
    text = re.sub(
        r"(?<![:\w]):([a-z_]+)",
        lambda match: _ARGUMENTS.get(match[1], match[0]).replace("PAYLOAD", payload),
        re.sub(r"--[^\n]*", "", statement.pgbench_sql(schema)),
    )
    script = "\\set stream random(1, 9000000000000000000)\n" + text + ";\n"
    return pgbench_rate(server, [script], seconds=seconds)
