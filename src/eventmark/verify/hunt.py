"""One store hunted: writers and consumers in processes, then everything that happened is checked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.results.results import OrderingResult
from eventmark.seeding.progress import Progress, no_progress
from eventmark.server.loop import on_loop
from eventmark.server.search_path import confined_dsn
from eventmark.stores import drop_scratch_schema, naming_of, open_store
from eventmark.verify.checker import check
from eventmark.verify.consumers import LATER, ConsumerTask, run_consumers
from eventmark.verify.forced import Forced, force
from eventmark.verify.history import Consumption, History, WriterLog, joined
from eventmark.verify.price import FullSpeed, ordering_result
from eventmark.verify.refusals import FOLLOWS
from eventmark.verify.stored import StoredTable, count_damaged, read_stored, replay_differences
from eventmark.verify.subject import Subject
from eventmark.verify.writers import WriterTask, run_writer
from eventmark.workers import Clock, Crew, doubt_ns
from eventmark.workers.cluster import ClusterWorkers, taken_workers

WRITERS = 3
CONSUMER_PROCESSES = 2
PACED_RATE_PER_S = 200.0
LOOK_EVERY_S = 0.25
LATER_SHARE = 0.3  # of the events; then the consumers begin that do not begin at the tail


@dataclass(frozen=True, slots=True, kw_only=True)
class HuntPlan:
    """What a hunt is made of. It ends after ``events``, or after ``seconds`` at full speed, or when for ``gives_up_s``
    every append failed.

    ``paced_s``: how long single appends at a steady rate come first, for the latencies. ``held_s``: how long
    one transaction keeps its events back, longer than any timeout.
    """

    subject: Subject
    events: int
    seconds: float
    seed: int = 1
    paced_s: float = 5.0
    held_s: float = 5.0
    gives_up_s: float = 10.0


def hunt(
    dsn: str, schema: str, plan: HuntPlan, *, replay: str = "", keep_history: Path | None = None,
    cluster: ClusterWorkers | None = None, progress: Progress = no_progress,
) -> OrderingResult:  # fmt: skip
    """Hunt the plan's subject in ``schema``, which is made anew and dropped.

    Writers and consumers are processes of this machine, or of ``cluster``'s, its workers in turn; their times are put
    on one clock. ``keep_history`` names the file for the history of a hunt that found something. Raises
    ``CannotRunError``.
    """
    dsn = confined_dsn(dsn, schema)
    plan, forced, history, full_speed = on_loop(_hunted(dsn, schema, plan, cluster, progress))
    faults = check(history)
    if faults and keep_history is not None:
        history.save(keep_history)
    return ordering_result(plan.subject, history, faults, full_speed, forced=forced, replay=replay)


async def _hunted(
    dsn: str, schema: str, plan: HuntPlan, cluster: ClusterWorkers | None, progress: Progress
) -> tuple[HuntPlan, Forced, History, FullSpeed]:
    """First step by step, then by writers and consumers at once; the plan as the first look has made it."""
    await plan.subject.make(dsn, schema)
    try:
        forced = await force(dsn, schema, plan.subject)
        await plan.subject.make(dsn, schema)
        plan = replace(plan, subject=replace(plan.subject, idles=FOLLOWS not in forced.left))
        return plan, forced, *await _run(dsn, schema, plan, cluster, progress)
    finally:
        await drop_scratch_schema(dsn, schema)


async def _run(
    dsn: str, schema: str, plan: HuntPlan, cluster: ClusterWorkers | None, progress: Progress
) -> tuple[History, FullSpeed]:
    """Writers at work, paced at first and then at full speed, under the eyes of consumers."""
    store = plan.subject.store
    consumers = [
        ConsumerTask(dsn=dsn, store=store, schema=schema, starts=starts) for starts in plan.subject.starts
    ]
    with taken_workers(cluster, WRITERS + CONSUMER_PROCESSES) as executor:
        async with Crew(executor, run_consumers, consumers) as consuming:
            await consuming.ready()
            consuming.start()
            async with Crew(executor, run_writer, [_paced_task(dsn, schema, plan)]) as pacing:
                await pacing.ready()
                pacing.start()
                async for _ in pacing.at_work(LOOK_EVERY_S):
                    consuming.check()
                logs, clocks = await pacing.results(), pacing.clocks
            async with Crew(executor, run_writer, list(_tasks(dsn, schema, plan))) as writing:
                await writing.ready()
                writing.start()
                await _watch(dsn, schema, plan, writing, consuming, progress)
                logs, clocks = logs + await writing.results(), clocks + writing.clocks
            progress(f"catch up {plan.subject.name}", 0, 1)
            consuming.tell(await _bound(dsn))
            consumptions = await consuming.results()
            progress(f"catch up {plan.subject.name}", 1, 1)
            seen = _on_one_clock(logs, clocks, consumptions, consuming.clocks)
    progress(f"check {plan.subject.name}", 0, 1)
    history = await _history(dsn, schema, plan.subject, logs, *seen)
    progress(f"check {plan.subject.name}", 1, 1)
    return history, _full_speed(logs)


def _on_one_clock(
    logs: list[WriterLog], writers: list[Clock], consumptions: list[list[Consumption]], consumers: list[Clock]
) -> tuple[list[Consumption], int]:
    """All consumptions, every time that workers wrote down moved to this machine's clock; and how wrong two such
    times may be to each other. ``now_ns`` and ``time.monotonic_ns`` are one clock.
    """
    for log, clock in zip(logs, writers, strict=True):
        for name in ("invoked_ns", "commit_ns", "ended_ns"):
            log.attempts[name][log.attempts[name] != 0] -= clock.ticks_correction_ns  # 0: no commit was sent
    for seen, clock in zip(consumptions, consumers, strict=True):
        for consumption in seen:
            consumption.made_ns -= clock.ticks_correction_ns
            for name in ("at_ns", "handled_ns"):
                consumption.delivered[name] -= clock.ticks_correction_ns
    return [consumption for seen in consumptions for consumption in seen], doubt_ns(*writers, *consumers)


def _full_speed(logs: list[WriterLog]) -> FullSpeed:
    """Until the last writer had its share; the transaction held open may go on after that."""
    return FullSpeed(
        paced=len(logs[0].attempts),
        seconds=max(log.seconds for log in logs[1:]),
        cpu_s=sum(log.cpu_s for log in logs[1:]),
    )


def _paced_task(dsn: str, schema: str, plan: HuntPlan) -> WriterTask:
    return WriterTask(
        dsn=dsn, store=plan.subject.store, schema=schema, number=0, seed=plan.seed, seconds=plan.paced_s,
        gives_up_s=plan.gives_up_s, rate_per_s=PACED_RATE_PER_S, events=int(plan.paced_s * PACED_RATE_PER_S) + 1,
    )  # fmt: skip


def _tasks(dsn: str, schema: str, plan: HuntPlan) -> Iterator[WriterTask]:
    for number in range(1, WRITERS + 1):
        yield WriterTask(
            dsn=dsn, store=plan.subject.store, schema=schema, number=number, seed=plan.seed, seconds=plan.seconds,
            events=-(-plan.events // WRITERS), held_s=plan.held_s if number == 1 else 0.0,
            gives_up_s=plan.gives_up_s, contends=plan.subject.contends, idles=plan.subject.idles,
        )  # fmt: skip


async def _watch(
    dsn: str,
    schema: str,
    plan: HuntPlan,
    writing: Crew[WriterLog],
    consuming: Crew[list[Consumption]],
    progress: Progress,
) -> None:
    """Until the writers end: say how far they are, and let the later consumers begin."""
    connection = await asyncpg.connect(dsn)
    began_s = time.monotonic()
    try:
        last_number = await _last_number_query(connection, schema, plan.subject)
        async for _ in writing.at_work(LOOK_EVERY_S):
            consuming.check()
            drawn = await connection.fetchval(last_number)
            drawn = drawn if isinstance(drawn, int) else 0  # a store's numbers may be anything
            share = min(max(drawn / plan.events, (time.monotonic() - began_s) / plan.seconds), 1.0)
            progress(f"verify {plan.subject.name}", share, 1.0)
            if share >= LATER_SHARE:
                consuming.tell(LATER)
        progress(f"verify {plan.subject.name}", 1.0, 1.0)
    finally:
        await connection.close()


async def _last_number_query(connection: asyncpg.Connection[Any], schema: str, subject: Subject) -> str:
    """Asks for the last number given to an event: of the table's sequence, where it has one."""
    definition = subject.definition
    table = f'{quoted_schema(schema)}."{definition.events_table}"'
    column = definition.columns["global_sequence_id"]
    sequence = await connection.fetchval("select pg_get_serial_sequence($1, $2)", table, column)
    if sequence is not None:
        return f"select last_value from {sequence}"
    return f'select coalesce(max("{column}"), 0) from {table}'


async def _bound(dsn: str) -> int:
    """A transaction id above all that were given out."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("select pg_current_xact_id()"))
    finally:
        await connection.close()


async def _history(
    dsn: str, schema: str, subject: Subject, logs: list[WriterLog], consumptions: list[Consumption], in_doubt_ns: int
) -> History:  # fmt: skip
    connection = await asyncpg.connect(dsn)
    try:
        table = await StoredTable.of(connection, schema, subject.definition)
        stored = await read_stored(connection, table)
        damaged = await count_damaged(connection, table)
    finally:
        await connection.close()
    differences = 0
    if subject.has_snapshots:
        async with await open_store(subject.definition, dsn, schema=schema) as store:
            differences = await replay_differences(store, stored, naming_of(store))
    attempts, written = joined(logs)
    return History(
        total_order=subject.total_order,
        by_number=not subject.by_transaction_id,
        has_transaction_ids="transaction_id" in subject.definition.columns,
        attempts=attempts,
        written=written,
        stored=stored,
        consumptions=consumptions,
        doubt_ns=in_doubt_ns,
        damaged=damaged,
        replay_differences=differences,
        errors=[error for log in logs for error in log.errors],
        refused=next((log.refused for log in reversed(logs) if log.refused), ""),
    )
