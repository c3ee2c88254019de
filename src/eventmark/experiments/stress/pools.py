"""Pools: too small for their callers, exhausted, and refused by a server that is full."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, ClassVar

import asyncpg

from eventmark.errors import CannotRunError, EventStoreError, StoreUnavailableError
from eventmark.experiments.stress.callers import Calls, append_alone
from eventmark.experiments.stress.case import CaseReport, met
from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.judgement.bottleneck import find_bottleneck
from eventmark.results.results import Figure, Finding, Row, Table, columns
from eventmark.server import Watch
from eventmark.stores import PooledStore

CALLERS = 32
SMALL_POOL = 1
FITTING_POOL = 8
ACQUIRE_TIMEOUT_S = 0.25
LATE_S = 1.0
"""How much longer than its timeout a refusal may take: a busy machine wakes sleepers late."""

REFUSED_CALLS = 20
CONNECTIONS_MAX = 1000
"""No server of ours allows more; one that does is not filled up."""


class PoolTooSmall:
    """The same callers with a pool of one connection and with one that fits."""

    name: ClassVar[str] = "pool-too-small"
    title: ClassVar[str] = "Pool too small"

    def missing(self, job: Job) -> str:
        return ""

    async def run(self, stage: Stage) -> CaseReport:
        rows: list[Row] = []
        by_size: dict[int, Calls] = {}
        for size in (SMALL_POOL, FITTING_POOL):
            async with stage.store(size, pool_min=size) as store, Watch(stage.job.server) as watch:
                calls = by_size[size] = await append_alone(stage, store, CALLERS, stage.step_s)
            evidence = watch.evidence(calls.times)
            if size == SMALL_POOL:
                small = evidence
            share = calls.times.pool_wait_s / calls.times.total_s if calls.times.total_s else None
            rows.append([
                f"{size}", calls.per_s, calls.quantile_ms(0.5), calls.quantile_ms(0.95), share,
                find_bottleneck(evidence).limit.value,
            ])  # fmt: skip
        gain = by_size[FITTING_POOL].per_s / by_size[SMALL_POOL].per_s if by_size[SMALL_POOL].per_s else 0.0
        return CaseReport(
            text=[f"{CALLERS} callers, each appending one event after the other to a stream of its own."],
            findings=[_nothing_failed(by_size.values())],
            tables=[
                Table(
                    title="By the pool's size",
                    columns=columns(
                        "connections", "rate|appends/s", "p50|ms", "p95|ms", "waiting for a connection|share",
                        "limited by",
                    ),
                    rows=rows,
                )
            ],
            figures={"pool_gain": Figure(value=round(gain, 3), unit="times")},
            evidence=small,
        )  # fmt: skip


class PoolExhausted:
    """Every connection is taken and not given back: callers are refused in time, by a typed error."""

    name: ClassVar[str] = "pool-exhausted"
    title: ClassVar[str] = "Pool exhausted"

    def missing(self, job: Job) -> str:
        return ""

    async def run(self, stage: Stage) -> CaseReport:
        async with stage.store(2) as store:
            pool = store.pool
            pool.acquire_timeout_s = ACQUIRE_TIMEOUT_S
            held = [await pool.acquire() for _ in range(2)]
            try:
                refused, waits_s = await _refusals(stage, store, REFUSED_CALLS)
            finally:
                for session in held:
                    pool.release(session)
            pool.acquire_timeout_s = 10.0
            after = await append_alone(stage, store, 4, stage.step_s / 4)
        longest_s = max(waits_s)
        in_time = longest_s < ACQUIRE_TIMEOUT_S + LATE_S
        return CaseReport(
            text=[
                f"Both connections of a pool of 2 were held while {REFUSED_CALLS} callers asked for one, each waiting "
                f"for at most {ACQUIRE_TIMEOUT_S:g} s."
            ],
            findings=[
                _all_refused(refused),
                Finding(
                    name="refused in time", verdict=met(in_time),
                    observed=f"the longest wait was {longest_s:.3f} s", expected=f"about {ACQUIRE_TIMEOUT_S:g} s",
                    remedy="" if in_time else "look for what kept the client's loop from waking its callers",
                ),
                _serves_again(after),
            ],
            tables=[_refusals_table(refused)],
        )  # fmt: skip


class ConnectionsRefused:
    """The server has no connection left: a store cannot be opened, one that is open keeps its own."""

    name: ClassVar[str] = "connections-refused"
    title: ClassVar[str] = "Connections refused"

    def missing(self, job: Job) -> str:
        if job.server.directory is None:
            return "it takes every connection of the server, which is done only on servers of Eventmark's own"
        return ""

    async def run(self, stage: Stage) -> CaseReport:
        async with stage.store(10) as store:
            await append_alone(stage, store, 1, 0.05)  # it has a connection or two, and room for others
            taken = await _take_all(stage)
            try:
                opening = await _open_refused(stage)
                refused, _ = await _refusals(stage, store, 1, beside=store.pool.open)
                kept = await append_alone(stage, store, 1, stage.step_s / 4)
            finally:
                await asyncio.gather(*(connection.close() for connection in taken))
            after = await append_alone(stage, store, 4, stage.step_s / 4)
        typed = opening == StoreUnavailableError.__name__
        return CaseReport(
            text=[f"{len(taken)} connections were opened until the server refused one more."],
            findings=[
                Finding(
                    name="a store that is opened", verdict=met(typed),
                    observed=opening or "it was opened", expected=StoreUnavailableError.__name__,
                    remedy="" if typed else "translate the driver's error where stores are opened",
                ),
                _all_refused(refused),
                Finding(
                    name="connections that were there", verdict=met(bool(kept.took_ns) and not kept.failures),
                    observed=f"{len(kept.took_ns)} appends, failed {_counted(kept.failures)}",
                    expected="they go on",
                ),
                _serves_again(after),
            ],
            tables=[_refusals_table(refused)],
        )  # fmt: skip


async def _take_all(stage: Stage) -> list[asyncpg.Connection[Any]]:
    """Every connection that the server still gives."""
    taken: list[asyncpg.Connection[Any]] = []
    try:
        while len(taken) < CONNECTIONS_MAX:
            taken.append(await stage.connect())
    except (asyncpg.TooManyConnectionsError, asyncpg.CannotConnectNowError):
        return taken
    except BaseException:
        await asyncio.gather(*(connection.close() for connection in taken))
        raise
    await asyncio.gather(*(connection.close() for connection in taken))
    raise CannotRunError(f"the server still gave connections after {CONNECTIONS_MAX}")


async def _open_refused(stage: Stage) -> str:
    """The class of the error that opening another store ends with, empty where it ends with none."""
    try:
        async with stage.store(1):
            return ""
    except Exception as error:
        return type(error).__name__


async def _refusals(
    stage: Stage, store: PooledStore, callers: int, *, beside: int = 0
) -> tuple[Counter[str], list[float]]:
    """What so many callers at once are answered who cannot have a connection, and how long each waited.

    ``beside``: so many more that keep the connections busy which there are.
    """
    answers: Counter[str] = Counter()
    waits_s: list[float] = []

    async def append() -> None:
        began_s = time.monotonic()
        try:
            await stage.book.append(store, stage.book.new_stream(), 1, 0)
            answers["answered"] += 1
        except EventStoreError as error:
            answers[type(error).__name__] += 1
        waits_s.append(time.monotonic() - began_s)

    held = [await store.pool.acquire() for _ in range(beside)]
    try:
        await asyncio.gather(*(append() for _ in range(callers)))
    finally:
        for session in held:
            store.pool.release(session)
    return answers, waits_s


def _all_refused(answers: Counter[str]) -> Finding:
    only = set(answers) == {StoreUnavailableError.__name__}
    return Finding(
        name="refused by a typed error", verdict=met(only), observed=_counted(answers),
        expected=f"{StoreUnavailableError.__name__} for every caller",
        remedy="" if only else "translate the driver's error, and let no caller wait for ever",
    )  # fmt: skip


def _serves_again(calls: Calls) -> Finding:
    fine = bool(calls.took_ns) and not calls.failures
    return Finding(
        name="served again", verdict=met(fine),
        observed=f"{len(calls.took_ns)} appends, failed {_counted(calls.failures)}",
        expected="callers are served as soon as connections are free",
    )  # fmt: skip


def _nothing_failed(calls_made: Any) -> Finding:
    failures = sum((calls.failures for calls in calls_made), Counter[str]())
    return Finding(
        name="every call answered", verdict=met(not failures), observed=f"failed {_counted(failures)}",
        expected="callers wait, and none fails",
    )  # fmt: skip


def _refusals_table(answers: Counter[str]) -> Table:
    return Table(
        title="What callers were answered", columns=columns("answer", "callers"),
        rows=[[name, float(count)] for name, count in sorted(answers.items())],
    )  # fmt: skip


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
