"""Transactions that wait for each other, on purpose: the server ends one of them, and both statements are named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import asyncpg

from eventmark.domain import StreamId
from eventmark.experiments.stress.book import Attempt
from eventmark.experiments.stress.case import CaseReport, met
from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.results.results import Block, Figure, Finding, Verdict
from eventmark.stores import append_beside
from eventmark.verify import Outcome

DEADLOCKS = 3
DEADLOCK_TIMEOUT_MS = 200
DETECTED_WITHIN_S = 30.0
LOOK_EVERY_S = 0.01

_WAITING = """
select pid, query, pg_blocking_pids(pid) as blockers from pg_stat_activity
where pid = any($1::int[]) and wait_event_type = 'Lock'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlock:
    """One deadlock as it was seen: who waited for whom, in which statements, and how it was resolved.

    ``statements`` are by process id, as the server shows them, without values. ``waits`` are the lines of the
    error's detail.
    """

    victim: int
    waits: tuple[str, ...]
    statements: dict[int, str]
    seconds: float


class Deadlocks:
    """Pairs of transactions that append to two streams in opposite order."""

    name: ClassVar[str] = "deadlock"
    title: ClassVar[str] = "Deadlocks"

    def missing(self, job: Job) -> str:
        return ""

    async def run(self, stage: Stage) -> CaseReport:
        before = await _counted(stage)
        attempts = [await _make_deadlock(stage) for _ in range(DEADLOCKS)]
        deadlocks = [deadlock for deadlock in attempts if deadlock is not None]
        counted = await _counted_at_least(stage, before + len(deadlocks)) - before
        both = [
            deadlock
            for deadlock in deadlocks
            if len(deadlock.statements) == 2 and all(deadlock.statements.values())
        ]
        if not deadlocks:
            return CaseReport(
                text=["Two transactions appended to two streams in opposite order, and none waited for the other."],
                findings=[
                    Finding(
                        name="deadlocks", verdict=Verdict.INCONCLUSIVE, observed="none could be made",
                        expected="appends that wait for each other",
                        remedy="check that a unique key refuses a second event at one place in a stream",
                    )
                ],
            )  # fmt: skip
        slowest_s = max(deadlock.seconds for deadlock in deadlocks)
        return CaseReport(
            text=[
                f"{DEADLOCKS} pairs of transactions each appended to two streams, in opposite order. The server ends "
                "one of each pair; here is who waited for whom, and in which statements."
            ],
            findings=[
                Finding(
                    name="deadlocks detected", verdict=met(len(deadlocks) == DEADLOCKS),
                    observed=f"{len(deadlocks)} of {DEADLOCKS}, each within {slowest_s:.2f} s",
                    expected="all, and one of each pair commits",
                ),
                Finding(
                    name="deadlocks counted", verdict=met(counted == len(deadlocks)),
                    observed=f"pg_stat_database counts {counted}", expected=f"{len(deadlocks)}",
                ),
                Finding(
                    name="both statements named", verdict=met(len(both) == len(deadlocks)),
                    observed=f"of {len(both)} deadlocks", expected=f"of all {len(deadlocks)}",
                ),
            ],
            blocks=[_block(number, deadlock) for number, deadlock in enumerate(deadlocks, 1)],
            figures={"deadlock_detected_s": Figure(value=round(slowest_s, 3), unit="s", better="less")},
        )  # fmt: skip


@dataclass(slots=True)
class _Side:
    """One of the two transactions."""

    connection: asyncpg.Connection[Any]
    attempt: Attempt = field(default_factory=Attempt)
    error: asyncpg.DeadlockDetectedError | None = None


async def _make_deadlock(stage: Stage) -> Deadlock | None:
    """None where neither transaction waited for the other until both were done."""
    streams = (stage.book.new_stream(), stage.book.new_stream())
    began_s = time.monotonic()
    async with stage.connection() as first, stage.connection() as other, stage.connection() as witness:
        sides = (_Side(first), _Side(other))
        for side in sides:
            await _set_timeouts(side.connection)
        seen: dict[int, str] = {}
        watching = asyncio.create_task(_witness(witness, sides, seen))
        try:
            await asyncio.gather(*(_append_both(stage, side, order) for side, order in zip(
                sides, (streams, streams[::-1]), strict=True)))  # fmt: skip
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        pids = [side.connection.get_server_pid() for side in sides]
    victims = [index for index, side in enumerate(sides) if side.error is not None]
    if len(victims) != 1:
        return None
    (victim,) = victims
    error = sides[victim].error
    assert error is not None
    return Deadlock(
        victim=pids[victim], waits=tuple((error.detail or "").splitlines()),
        statements=seen, seconds=time.monotonic() - began_s,
    )  # fmt: skip


async def _set_timeouts(connection: asyncpg.Connection[Any]) -> None:
    """Detect sooner, where the role may say so; and never wait for longer than is left to wait for."""
    with suppress(asyncpg.InsufficientPrivilegeError):  # then it is a second, as the server has it
        await connection.execute(f"set deadlock_timeout = {DEADLOCK_TIMEOUT_MS}")
    await connection.execute(f"set lock_timeout = {int(DETECTED_WITHIN_S * 1000)}")


async def _append_both(stage: Stage, side: _Side, order: Sequence[StreamId]) -> None:
    """Append to both streams in one transaction; the other side has its first by the time of our second."""
    transaction = side.connection.transaction()
    await transaction.start()
    outcome = Outcome.FAILED
    try:
        for stream in order:
            events = stage.book.events(side.attempt, stream, 1, 0)
            await append_beside(side.connection, stage.job.definition, stage.job.schema, stream, events)
            await asyncio.sleep(0.1)
        await transaction.commit()
        outcome = Outcome.OK
    except asyncpg.DeadlockDetectedError as error:
        side.error = error
        await transaction.rollback()
    except asyncpg.UniqueViolationError:  # the other came first, without a deadlock
        await transaction.rollback()
        outcome = Outcome.CONFLICT
    finally:
        stage.book.settle(side.attempt, outcome)


async def _witness(connection: asyncpg.Connection[Any], sides: Sequence[_Side], seen: dict[int, str]) -> None:
    """The statements in which both wait, looked at until both do."""
    pids = [side.connection.get_server_pid() for side in sides]
    while len(seen) < 2:
        for row in await connection.fetch(_WAITING, pids):
            if set(row["blockers"]) & set(pids):
                seen[row["pid"]] = row["query"].strip()
        await asyncio.sleep(LOOK_EVERY_S)


async def _counted(stage: Stage) -> int:
    async with stage.connection() as connection:
        count: int = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        return count


async def _counted_at_least(stage: Stage, least: int) -> int:
    """Sessions add what they count when they end, and that takes a moment."""
    for _ in range(100):
        if await _counted(stage) >= least:
            break
        await asyncio.sleep(0.1)
    return await _counted(stage)


def _block(number: int, deadlock: Deadlock) -> Block:
    statements = "\n\n".join(
        f"-- process {pid}, {'ended by the server' if pid == deadlock.victim else 'went on and committed'}\n{text}"
        for pid, text in sorted(deadlock.statements.items(), key=lambda item: item[0] != deadlock.victim)
    )
    waits = "\n".join(f"-- {line}" for line in deadlock.waits)
    return Block(title=f"Deadlock {number}", text=f"{waits}\n\n{statements}", language="sql")
