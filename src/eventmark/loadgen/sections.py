"""A load shown: the accounts, where the time went, the generator's health, and series over time."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eventmark.judgement.operation import CORE_FULL
from eventmark.loadgen.outcome import LATE_MS_MAX, GeneratorHealth, LoadOutcome, OperationLoad, step_s
from eventmark.loadgen.plan import WIRE
from eventmark.operations.catalogue import STREAM_BATCH_EVENTS
from eventmark.results.results import (
    Chart,
    Column,
    Figure,
    Finding,
    OperationResult,
    Point,
    Row,
    Section,
    Series,
    Table,
    Verdict,
    columns,
)
from eventmark.workers import Clock
from eventmark.workload.arrivals import Arrivals

PACING_MS_MAX = 1.0
"""Through the client: an arrival later than this, at p99, is a good part of the shortest operations' time."""

LOOP_LAG_MS_MAX = 5.0
GC_SHARE_MAX = 0.05
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def load_section(outcome: LoadOutcome, operations: Mapping[str, OperationResult]) -> Section:
    """What was offered and what became of it, and the parts of each operation's time."""
    shown = {name: operation for name, operation in outcome.operations.items() if operation.offered}
    return Section(
        name="load",
        title=f"Load, {outcome.mode}",
        text=list(_text(outcome)),
        tables=[_accounts(outcome, shown), *_stages(outcome), _times(shown), *_failures(shown)],
        charts=[_parts_chart(shown)],
    )


def generator_section(outcome: LoadOutcome) -> Section:
    """Whether what was measured is the store, or whoever measured it. An unfit generator decides nothing."""
    health, seconds = outcome.health, outcome.seconds
    ended = sum(
        operation.succeeded + operation.conflicted + operation.failed
        for operation in outcome.operations.values()
    )
    collections = sum(worker.gc_count for worker in health.workers)
    pacing_ms_max = LATE_MS_MAX if outcome.plan.through == WIRE else PACING_MS_MAX
    findings = [
        _finding(
            "CPU of the busiest worker", f"{health.cpu_share:.0%} of a core", health.cpu_share < CORE_FULL,
            f"below {CORE_FULL:.0%}", "name more workers, where there are cores for them",
        ),
        _finding(
            "pacing", f"woke up to {health.pacing_ms_p99:.3g} ms late at p99", health.pacing_ms_p99 < pacing_ms_max,
            f"below {pacing_ms_max:g} ms", "give the generator a core of its own",
        ),
        _finding(
            "event loop", f"late by {health.loop_lag_ms_p99:.3g} ms at p99",
            health.loop_lag_ms_p99 < LOOP_LAG_MS_MAX, f"below {LOOP_LAG_MS_MAX:g} ms",
            "name more workers, or smaller batches",
        ),
        _finding(
            "garbage collection", f"{health.gc_total_ms / seconds / 1e3:.2%} of the time, {health.gc_max_ms:.3g} ms "
            f"the longest, {collections / max(ended, 1) * 1e5:.0f} collections per 100,000 operations",
            health.gc_total_ms < GC_SHARE_MAX * seconds * 1e3,
            f"below {GC_SHARE_MAX:.0%} of the time", "let fewer operations be under way at once",
        ),
    ]  # fmt: skip
    return Section(
        name="generator",
        title="The generator's own health",
        text=[
            "Latency counts from when an operation was due. The generator's own delays are listed here; "
            + (
                "on the wire they are known for each call (how late it was sent, how long its answer lay on the "
                "machine), and an operation is judged without them."
                if outcome.plan.through == WIRE
                else "through the client they are part of the latency."
            )
        ],
        findings=findings,
        tables=[_workers(health), *_clocks(outcome.clocks)],
    )


def load_series(outcome: LoadOutcome, origin_s: float) -> list[Series]:
    """Rates and p95 of each operation over time, and how many were under way; ``origin_s`` is the load's start."""
    width = step_s(outcome.seconds)
    series = []
    for name, operation in outcome.operations.items():
        if operation.succeeded:
            ended_s = operation.at_s + operation.latency_ns / 1e9
            at_s, rates = _rate(ended_s, width)
            series.append(_series(name, "operations/s, succeeded", at_s + origin_s, rates))
            at_s, p95 = _p95(operation, width)
            series.append(_series(f"{name} p95", "ms from the due time, p95", at_s + origin_s, p95))
    series.append(
        _series(
            "in flight", "operations under way", outcome.in_flight_at_s + origin_s,
            outcome.in_flight.astype(np.float64),
        )
    )  # fmt: skip
    return series


def _arrivals(arrivals: Arrivals) -> str:
    if arrivals.stages:
        return f"Arrivals at random in stages, up to {arrivals.peak_per_s:g} operations/s,"
    return f"{arrivals.schedule.capitalize()} arrivals at {arrivals.rate_per_s:g} operations/s" + (
        "" if arrivals.is_steady else f", up to {arrivals.peak_per_s:g}"
    )


def _stages(outcome: LoadOutcome) -> Iterator[Table]:
    """What became of the operations that were due in each stage."""
    arrivals = outcome.plan.arrivals
    if arrivals is None or not arrivals.stages:
        return
    starts_s, before = [0.0, *arrivals.stage_ends_s], 0.0
    due_s = np.concatenate([operation.at_s for operation in outcome.operations.values()])
    latency_ns = np.concatenate([operation.latency_ns for operation in outcome.operations.values()])
    rows: list[Row] = []
    for number, stage in enumerate(arrivals.stages):
        own = latency_ns[(due_s >= starts_s[number]) & (due_s < starts_s[number + 1])]
        p95_ms = float(np.quantile(own, 0.95)) / 1e6 if len(own) else None
        rate = f"{before:g} to {stage.rate_per_s:g}"
        rows.append([f"{number + 1}", stage.seconds, rate, len(own) / stage.seconds, p95_ms])
        before = stage.rate_per_s
    yield Table(
        title="By stage: operations due in it that succeeded",
        columns=columns("stage", "length|s", "rate, operations/s", "succeeded|1/s", "latency p95|ms"),
        rows=rows,
    )  # fmt: skip


def _text(outcome: LoadOutcome) -> Iterator[str]:
    plan = outcome.plan
    if plan.arrivals is not None:
        yield (
            _arrivals(plan.arrivals)
            + f" for {plan.seconds:g} s, by {_counted(plan.worker_count, 'worker')} over "
            f"{_counted(plan.pool_max, 'connection')}."
        )
    else:
        thinking = f", thinking for {plan.think_s:g} s between calls" if plan.think_s else ""
        yield (
            f"{_counted(plan.users, 'user')} for {plan.seconds:g} s{thinking}, by "
            f"{_counted(plan.worker_count, 'worker')} over {_counted(plan.pool_max, 'connection')}."
        )
    yield (
        f"{outcome.offered_per_s:,.1f} operations/s were offered, and {outcome.achieved_per_s:,.1f} operations/s were "
        "answered in that time."
    )
    if plan.through == WIRE:
        yield (
            "The load is sent through libpq: statements are prepared once per connection, parameters are encoded "
            "beforehand, and of an answer only what the verdict needs is read. What an application's client adds "
            "(decoding, checks, group append) is left out; --through client includes it."
        )
        for name in outcome.transactions:
            yield (
                f"{name} is one statement for each event, sent at once in one transaction, and committed when all "
                "were answered: two round trips."
            )
    else:
        yield "The load is sent through the store's own client, with its pool, checks and decoding."
    for name, statement in plan.mix.own.items():
        if name in plan.mix.shares:
            yield f"{name} is a statement of your own: {statement.path}, SHA-256 of its text {statement.sha256[:12]}."
    if plan.tenants:
        yield f"Only {', '.join(plan.tenants)} were worked on."
    if plan.contended_share:
        yield (
            f"{plan.contended_share:.0%} of the appends went to {_counted(plan.contended_streams, 'stream')} that "
            "every worker appends to."
        )


def _accounts(outcome: LoadOutcome, shown: Mapping[str, OperationLoad]) -> Table:
    rows: list[Row] = [
        [
            name, float(operation.offered), float(operation.succeeded), float(operation.conflicted),
            float(operation.failed),
            float(operation.skipped), operation.completed_within(outcome.seconds) / outcome.seconds,
        ]
        for name, operation in shown.items()
    ]  # fmt: skip
    return Table(
        title="Accounts",
        columns=columns("operation", "offered", "succeeded", "conflicted", "failed", "skipped", "answered|/s"),
        rows=rows,
        note="Offered = succeeded + conflicted + failed + skipped. In a conflict, another writer appended first.",
    )  # fmt: skip


def _times(shown: Mapping[str, OperationLoad]) -> Table:
    rows: list[Row] = []
    for name, operation in shown.items():
        if operation.succeeded:
            latency, service = _ms(operation.latency_ns), _ms(operation.service_ns)
            rows.append(
                [
                    name, *latency, *service, _ms(operation.pool_wait_ns)[1], _ms(operation.schedule_lag_ns)[1],
                    float(operation.schedule_lag_ns.max()) / 1e6,
                    None if operation.answer_lag_ns is None else _ms(operation.answer_lag_ns)[1],
                ]
            )  # fmt: skip
    names = [f"{part} {q}" for part in ("latency", "service") for q, _ in _QUANTILES]
    return Table(
        title="Where the time went",
        columns=[
            Column(name="operation"), *(Column(name=name, unit="ms") for name in names),
            Column(name="pool wait p95", unit="ms"), Column(name="schedule lag p95", unit="ms"),
            Column(name="schedule lag max", unit="ms"), Column(name="answer lag p95", unit="ms"),
        ],
        rows=rows,
        note="Latency is from when it was due: schedule lag, wait for a connection, and service, which is the "
        "operation with its connection. Answer lag is the last part of the service: the answer had reached this "
        "machine and was not read yet.",
    )  # fmt: skip


def _failures(shown: Mapping[str, OperationLoad]) -> Iterator[Table]:
    rows: list[Row] = [
        [name, failure, float(count), operation.messages.get(failure, "")]
        for name, operation in shown.items()
        for failure, count in sorted(operation.failures.items(), key=lambda item: -item[1])
    ]
    if rows:
        columns = [Column(name=name) for name in ("operation", "failure", "count", "first message")]
        yield Table(title="Failures", columns=columns, rows=rows)


def _parts_chart(shown: Mapping[str, OperationLoad]) -> Chart:
    points = [
        Point(x=name, y=max(_ms(samples)[1], 1e-3), series=label)
        for name, operation in shown.items()
        if operation.succeeded
        for label, samples in (("from the due time", operation.latency_ns), ("service", operation.service_ns))
    ]
    return Chart(
        title="p95 from the due time, and of the service alone", mark="bar", x="", y="ms", points=points
    )


def _workers(health: GeneratorHealth) -> Table:
    rows: list[Row] = [
        [
            f"worker {number}", worker.cpu_share, worker.pacing_ms["p50"], worker.pacing_ms["p99"],
            worker.loop_lag_ms_p50, worker.loop_lag_ms_p99, worker.loop_lag_ms_max, float(worker.gc_count),
            worker.gc_total_ms, worker.gc_max_ms, worker.peak_rss_mib,
        ]
        for number, worker in enumerate(health.workers, 1)
    ]  # fmt: skip
    return Table(
        title="Workers",
        columns=columns(
            "worker", "CPU|share", "pacing p50|ms", "pacing p99|ms", "loop lag p50|ms", "loop lag p99|ms",
            "loop lag max|ms", "GC runs", "GC time|ms", "longest GC|ms", "memory|MiB",
        ),
        rows=rows,
    )  # fmt: skip


def _clocks(clocks: Sequence[Clock]) -> Iterator[Table]:
    """Where the workers are on more than one machine, or on one whose clock is not this one's."""
    if any(clock.machine != platform.node() or clock.correction_ns for clock in clocks):
        yield Table(
            title="Machines",
            columns=columns("worker", "machine", "clock ahead by|ms", "uncertainty|ms"),
            rows=[
                [f"worker {number}", clock.machine, clock.offset_ns / 1e6, clock.uncertainty_ns / 1e6]
                for number, clock in enumerate(clocks, 1)
            ],
            note="The start that workers have in common is corrected by this. Every latency is measured by one clock.",
        )  # fmt: skip


def _finding(name: str, observed: str, fit: bool, expected: str, remedy: str) -> Finding:
    return Finding(
        name=name, verdict=Verdict.MET if fit else Verdict.INCONCLUSIVE, observed=observed, expected=expected,
        remedy="" if fit else remedy,
    )  # fmt: skip


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _ms(samples_ns: NDArray[np.int64]) -> list[float]:
    values: list[float] = (np.quantile(samples_ns, [q for _, q in _QUANTILES]) / 1e6).tolist()
    return values


def _rate(at_s: NDArray[np.float64], width_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    counts = np.bincount((at_s / width_s).astype(np.int64)).astype(np.float64)
    return np.arange(len(counts), dtype=np.float64) * width_s, counts / width_s


def _p95(load: OperationLoad, width_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p95 of each step by due time; steps without an operation are left out."""
    steps = (load.at_s / width_s).astype(np.int64)
    distinct, first = np.unique(steps, return_index=True)  # ascending, as what is due ascends
    parts = np.split(load.latency_ns, first[1:])
    return distinct.astype(np.float64) * width_s, np.array([np.quantile(part, 0.95) / 1e6 for part in parts])


def _series(name: str, unit: str, at_s: NDArray[np.float64], values: NDArray[np.float64]) -> Series:
    return Series(name=name, unit=unit, at_s=np.round(at_s, 3).tolist(), values=np.round(values, 4).tolist())


APPENDED_EVENTS = {"append_events[1]": 1, "append_events[10]": 10, "append_events[100]": 100}
_STREAM = "stream_events[1000]"


def load_figures(outcome: LoadOutcome, counted: Mapping[str, float] | None = None) -> dict[str, Figure]:
    """Rates that were answered: appends and appended events, events streamed, operations in all.

    ``counted`` is the share of an operation's calls that counts, by name; all of them where it is not given.
    """
    answered = {
        name: operation.completed_within(outcome.seconds) / outcome.seconds * (counted or {}).get(name, 1.0)
        for name, operation in outcome.operations.items()
    }
    rates = {
        "operations_per_s": (sum(answered.values()), "operations/s"),
        "appends_per_s": (sum(answered.get(name, 0.0) for name in APPENDED_EVENTS), "appends/s"),
        "appended_events_per_s": (
            sum(events * answered.get(name, 0.0) for name, events in APPENDED_EVENTS.items()), "events/s",
        ),
        "streamed_events_per_s": (STREAM_BATCH_EVENTS * answered.get(_STREAM, 0.0), "events/s"),
    }  # fmt: skip
    return {
        name: Figure(value=round(value, 1), unit=unit, better="more")
        for name, (value, unit) in rates.items()
        if value
    }
