"""The engine's pool beside asyncpg's: client CPU of acquire, fetch and release (docs/adr/0002).

``python -m tools.studies.pool docs/adr/0002-own-connection-pool.json``: in turns A B C D D C B A, in one process and
one event loop, on a server of its own. CPU time, as other processes may be at work on the machine; wall time beside it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.pool import Pool
from eventmark.server import provision
from eventmark.stats.ratios import paired_ratio
from eventmark.workers import loop_factory

SQL = "select $1::bigint as number"
SIZE = 10
CALLERS = (1, 64)
ROUNDS = 60  # each measures every way twice
CALLS = 512  # of a turn
OWN, HOOK, DEFAULT, BARE = (
    "engine.pool", "asyncpg.Pool, reset hook", "asyncpg.Pool", "a prepared statement, without a pool",
)  # fmt: skip

Call = Callable[[int], Awaitable[object]]


async def no_reset(_: asyncpg.Connection[Any]) -> None:
    """What the hook does that replaces the round trip of a reset."""


def by_own(pool: Pool) -> Call:
    async def call(number: int) -> object:
        session = await pool.acquire()
        try:
            return await session.fetch("number", number)
        finally:
            pool.release(session)

    return call


def by_driver(pool: asyncpg.Pool[Any]) -> Call:
    async def call(number: int) -> object:
        connection = await pool.acquire()
        try:
            return await connection.fetch(SQL, number)
        finally:
            await pool.release(connection)

    return call


async def ways(dsn: str, stack: AsyncExitStack) -> dict[str, Call]:
    own = Pool(
        dsn, {"number": SQL}, record_class=asyncpg.Record, size_max=SIZE, acquire_timeout_s=60,
        application_name="pool study", operation_timeout_s=60,
    )  # fmt: skip
    await own.fill(SIZE)
    stack.push_async_callback(own.close)
    found = {OWN: by_own(own)}
    for name, hook in ((HOOK, {"reset": no_reset}), (DEFAULT, {})):
        pool = await asyncpg.create_pool(dsn, min_size=SIZE, max_size=SIZE, command_timeout=60, **hook)
        stack.push_async_callback(pool.close)
        found[name] = by_driver(pool)
    connection = await asyncpg.connect(dsn, command_timeout=60)
    stack.push_async_callback(connection.close)
    prepared = await connection.prepare(SQL)
    return {**found, BARE: prepared.fetch}


async def spent_us(call: Call, callers: int) -> tuple[float, float]:
    """CPU and wall microseconds of a call, ``callers`` at a time."""

    async def caller(calls: int) -> None:
        for number in range(calls):
            await call(number)

    gc.collect()
    began, cpu_began = time.perf_counter_ns(), time.process_time_ns()
    await asyncio.gather(*(caller(CALLS // callers) for _ in range(callers)))
    cpu, wall = time.process_time_ns() - cpu_began, time.perf_counter_ns() - began
    calls = CALLS // callers * callers
    return cpu / calls / 1e3, wall / calls / 1e3


async def measure(dsn: str) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        calls = await ways(dsn, stack)
        return {str(callers): await measured(calls, callers) for callers in CALLERS}


async def measured(calls: dict[str, Call], callers: int) -> dict[str, Any]:
    names = [name for name in calls if callers == 1 or name != BARE]  # one connection serves one caller
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(-1, ROUNDS):  # the first is to warm up
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for name in [*names, *reversed(names)]:
            turns[name].append(await spent_us(calls[name], callers))
        for name, ((cpu, wall), (cpu_after, wall_after)) in turns.items() if number >= 0 else ():
            rounds[name].append(((cpu + cpu_after) / 2, (wall + wall_after) / 2))
    own_cpu = [cpu for cpu, _ in rounds[OWN]]
    return {name: described(spent, own_cpu) for name, spent in rounds.items()}


def described(spent: list[tuple[float, float]], own_cpu: list[float]) -> dict[str, Any]:
    cpu, wall = zip(*spent, strict=True)
    ratio = paired_ratio(cpu, own_cpu)
    return {
        "cpu_us": round(float(np.median(cpu)), 1),
        "wall_us": round(float(np.median(wall)), 1),
        "cpu_times_the_engines": [round(one, 3) for one in (ratio.value, ratio.low, ratio.high)],
        "cpu_us_by_round": [round(one, 1) for one in cpu],
    }


def main(path: Path) -> None:
    with (
        provision("embedded", durable=False) as server,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        found = runner.run(measure(server.dsn))
        document = {
            "server": server.version, "asyncpg": asyncpg.__version__, "python": sys.version.split()[0],
            "connections": SIZE, "calls_of_a_turn": CALLS, "rounds": ROUNDS, "by_callers": found,
        }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
