"""Single calls accounted for: after each, how many pages the server read for it, and how long that took.

The server's statistics of statements are looked at between the calls, outside of what is measured; so the calls come
less closely than in a round, and their latencies are compared with each other alone.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import EventStoreError
from eventmark.experiments.scale.rounds import RoundTask
from eventmark.experiments.scale.steps import Account, AccountPair
from eventmark.instruments.clock import now_ns
from eventmark.operations.forks import ForkTask, ready_operation
from eventmark.operations.operation import Operation
from eventmark.operations.work import own_statements
from eventmark.server.extensions import extension_schema
from eventmark.server.statistics import read_time_column, statements_snapshot

WARM_CALLS = 12
"""Enough for the server to settle on a plan, whose making is not counted then, and to tell whose statements count."""

_COUNTS = """
select coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint, coalesce(sum(shared_blks_read), 0)::bigint,
    coalesce(sum({read_time}), 0)::float8
from {place}.pg_stat_statements(false)
where queryid = any($1::bigint[]) and dbid = (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTask:
    """What travels to a worker: the two sides, and how many calls of each are accounted for."""

    sides: RoundTask
    calls: int


async def run_accounted(task: AccountTask) -> AccountPair | None:
    """Run in a worker process; None where the server has no statistics of statements. Raises ``CannotRunError``."""
    async with AsyncExitStack() as stack:
        books = [await _open_book(side, stack) for side in (task.sides.small, task.sides.large)]
        if None in books:
            return None
        small, large = (book for book in books if book is not None)
        for number in range(task.calls):
            for book in (small, large) if number % 2 else (large, small):
                await book.account_for_one()
        return AccountPair(small=small.account(), large=large.account())


@dataclass(slots=True)
class _Book:
    """The calls of one side, each with what the server's statistics say of it."""

    operation: Operation
    ids: list[int]  # the statements that the operation runs at every call
    counts: Any  # the prepared statement that reads their statistics
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)

    async def account_for_one(self) -> None:
        """Looked at right before and right after: the same statement on another corpus may count as this one."""
        before = await self.counts.fetchrow(self.ids)
        latency_ns = await _call(self.operation)
        after = await self.counts.fetchrow(self.ids)
        if latency_ns is not None:
            pages, reads, read_ms = (after[index] - before[index] for index in range(3))
            self.rows.append((latency_ns, pages, reads, round(read_ms * 1e6)))

    def account(self) -> Account:
        table = np.array(self.rows, np.int64).reshape(len(self.rows), 4)
        return Account(*(np.ascontiguousarray(table[:, column]) for column in range(4)))


async def _open_book(fork: ForkTask, stack: AsyncExitStack) -> _Book | None:
    operation = await stack.enter_async_context(ready_operation(fork))
    connection: asyncpg.Connection[Any] = await asyncpg.connect(fork.dsn)
    stack.push_async_callback(connection.close)
    before = await statements_snapshot(connection)
    for _ in range(WARM_CALLS):
        await _call(operation)
    after = await statements_snapshot(connection)
    if before is None or after is None:
        return None
    ids = [int(statement.statement_id) for statement in own_statements(before, after, WARM_CALLS)]
    schema = await extension_schema(connection, "pg_stat_statements")
    counts = _COUNTS.format(read_time=read_time_column(connection), place=schema)
    return _Book(operation, ids, await connection.prepare(counts))


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
