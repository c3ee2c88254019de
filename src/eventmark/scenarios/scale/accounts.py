"""Single calls accounted for: after each, how many pages the server read for it, and how long that took.

The server's statistics of statements are looked at between the calls, outside of what is measured; so the calls come
less closely than in a fork, and their latencies are compared with each other alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError, EventStoreError
from eventmark.measure.clock import now_ns
from eventmark.scenarios.core.forks import ForkTask
from eventmark.scenarios.core.operation import Operation
from eventmark.scenarios.core.operations import OPERATIONS
from eventmark.scenarios.core.work import own_statements
from eventmark.scenarios.scale.steps import Account
from eventmark.server.statistics import read_time_column, statements_snapshot
from eventmark.stores import find_store, open_store
from eventmark.workers import loop_factory

WARM_CALLS = 12
"""Enough for the server to settle on a plan, whose making is not counted then, and to tell whose statements count."""

_COUNTS = """
select coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint, coalesce(sum(shared_blks_read), 0)::bigint,
    coalesce(sum({read_time}), 0)::float8
from pg_stat_statements(false)
where queryid = any($1::bigint[]) and dbid = (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTask:
    """What travels to a worker: a fork's task, and how many calls are accounted for."""

    fork: ForkTask
    calls: int


def run_accounted(task: AccountTask) -> Account | None:
    """Run in a worker process; None where the server has no statistics of statements. Raises ``CannotRunError``."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(task))


async def _run(task: AccountTask) -> Account | None:
    fork = task.fork
    try:
        store = await open_store(find_store(fork.store), fork.dsn, schema=fork.schema, pool_max=2)
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    connection = await asyncpg.connect(fork.dsn)
    try:
        operation = OPERATIONS[fork.operation](
            store, fork.sample, np.random.default_rng([fork.seed, *fork.operation.encode()])
        )
        await operation.prepare()
        ids = await _own_statement_ids(operation, connection)
        return None if ids is None else await _accounted(operation, connection, ids, task.calls)
    finally:
        await connection.close()
        await store.close()


async def _own_statement_ids(operation: Operation, connection: asyncpg.Connection[Any]) -> list[int] | None:
    """The statements that the operation runs at every call."""
    before = await statements_snapshot(connection)
    for _ in range(WARM_CALLS):
        await _call(operation)
    after = await statements_snapshot(connection)
    if before is None or after is None:
        return None
    return [int(one.statement_id) for one in own_statements(before, after, WARM_CALLS)]


async def _accounted(
    operation: Operation, connection: asyncpg.Connection[Any], ids: list[int], calls: int
) -> Account:
    counts = await connection.prepare(_COUNTS.format(read_time=read_time_column(connection)))
    rows = []
    before = await counts.fetchrow(ids)
    for _ in range(calls):
        latency_ns = await _call(operation)
        after = await counts.fetchrow(ids)
        if latency_ns is not None and before is not None and after is not None:
            rows.append(
                (latency_ns, after[0] - before[0], after[1] - before[1], round((after[2] - before[2]) * 1e6))
            )
        before = after
    table = np.array(rows, np.int64).reshape(len(rows), 4)
    return Account(*(np.ascontiguousarray(table[:, column]) for column in range(4)))


async def _call(operation: Operation) -> int | None:
    """One call's nanoseconds; None where it went wrong."""
    arguments = operation.draw()
    began_ns = now_ns()
    try:
        answer = await operation.call(arguments)
    except EventStoreError:
        return None
    took_ns = now_ns() - began_ns
    return took_ns if operation.is_right(arguments, answer) else None
