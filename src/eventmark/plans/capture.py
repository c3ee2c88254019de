"""A statement's plan, as the server runs it: with real parameters, custom or generic, leaving nothing behind.

EXPLAIN with bind parameters always plans with their values, whatever ``plan_cache_mode`` says; only
``EXPLAIN EXECUTE`` of a prepared statement shows the plan that is reused for all values. EXECUTE takes
no bind parameters, so each value is turned into a literal by the server itself.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.plans.work import ROWS_WRITTEN
from eventmark.server.read_only import limit
from eventmark.server.search_path import confine
from eventmark.stores import would_scan

STATEMENT_TIMEOUT_S = 60  # no statement of an event store may take nearly as long
LOCK_TIMEOUT_S = 5  # an examination must not queue behind a schema change, and others behind it
EXECUTIONS_BEFORE_CHOICE = 5  # as many custom plans the server makes before it thinks of a generic one

_WRITING = ("append_events", "store_snapshot")
# With what is not yet handed in of earlier transactions: only differences mean anything
_COUNTS = (
    "select relid, n_tup_ins + n_tup_upd + n_tup_del as written"
    " from pg_stat_xact_all_tables where schemaname = $1"
)
_ESTIMATE = "explain (format json)"
_OPTIONS = "analyze, buffers, settings, wal, format json"
_SERIALIZING = 17  # the release from which on EXPLAIN can write the answer out
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is otherwise for one examination, and is undone with it: settings, and statements run before it.

    A session's own limit that is lower than ``timeout_s`` holds. ``large`` are tables that must not be read whole.
    ``read_write`` lets what appends write in a read-only session, to be rolled back.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    statements: Sequence[str] = ()
    timeout_s: float = STATEMENT_TIMEOUT_S
    large: frozenset[str] = frozenset()
    read_write: bool = False


NO_CHANGES = Changes()


class WholeTableError(Exception):
    """A statement would read a whole ``table`` that is too large for it, and was not run."""

    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.table = table


async def explain(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    *,
    generic: bool,
    changes: Changes = NO_CHANGES,
) -> dict[str, Any]:
    """Run ``statement`` and return the root node of its plan, together with the document's other keys.

    ``arguments`` are in the order of ``statement.parameters``. Parameter types are left to the server, as
    drivers leave them. The transaction is rolled back: rows are gone, but a sequence has moved on, a
    transaction id is used up and vacuum finds a few dead rows. From PostgreSQL 17 on, the answer is written out as it
    would be sent, values in TOAST fetched; before, EXPLAIN leaves that out. Of a statement that writes,
    ``ROWS_WRITTEN`` is what it wrote in the table it wrote most to, which the plan of a call of a function does not
    show. Raises what the server raises, and ``WholeTableError``.
    """
    mode = "force_generic_plan" if generic else "force_custom_plan"
    async with _prepared(connection, statement, schema, arguments, mode, changes) as (_, call):
        await _refuse_scan(connection, call, changes)
        return await _explained(connection, statement, schema, call)


async def whole_table_of(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    large: frozenset[str],
) -> str:
    """The large table that the statement would read whole, planned for its values or for all; it is not run."""
    for mode in ("force_custom_plan", "force_generic_plan"):
        async with _prepared(connection, statement, schema, arguments, mode, NO_CHANGES) as (_, call):
            if table := await would_scan(connection, large, call):
                return table
    return ""


async def explain_sixth(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    *,
    changes: Changes = NO_CHANGES,
) -> tuple[dict[str, Any], bool]:
    """The plan of a prepared statement's sixth execution, and whether the server has gone over to the generic one.

    The five before it are planned for the same values and not run: planning them is what the server counts.
    """
    async with _prepared(connection, statement, schema, arguments, "auto", changes) as (name, call):
        for _ in range(EXECUTIONS_BEFORE_CHOICE):
            await connection.fetchval(f"{_ESTIMATE} {call}")
        await _refuse_scan(connection, call, changes)
        plan = await _explained(connection, statement, schema, call)
        generic_plans = await connection.fetchval(
            "select generic_plans from pg_prepared_statements where name = $1", name
        )
        return plan, generic_plans > 0


async def _refuse_scan(connection: asyncpg.Connection[Any], call: str, changes: Changes) -> None:
    if table := await would_scan(connection, changes.large, call):
        raise WholeTableError(table)


async def _explained(
    connection: asyncpg.Connection[Any], statement: Statement, schema: str, call: str
) -> dict[str, Any]:
    before = await _written(connection, statement, schema)
    plan = _root(await connection.fetchval(f"{_explain(connection)} {call}"))
    after = await _written(connection, statement, schema)
    written = max((count - before.get(table, 0) for table, count in after.items()), default=0)
    return {**plan, ROWS_WRITTEN: written} if written else plan


async def _written(connection: asyncpg.Connection[Any], statement: Statement, schema: str) -> dict[int, int]:
    if statement.name not in _WRITING:
        return {}
    return {row["relid"]: row["written"] for row in await connection.fetch(_COUNTS, schema)}


def _explain(connection: asyncpg.Connection[Any]) -> str:
    newer = ", serialize binary, memory" if connection.get_server_version().major >= _SERIALIZING else ""
    return f"explain ({_OPTIONS}{newer})"


@asynccontextmanager
async def _prepared(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    mode: str,
    changes: Changes,
) -> AsyncIterator[tuple[str, str]]:
    """The statement prepared in a transaction that is rolled back: its name, and the EXECUTE with its arguments."""
    name = f"eventmark_plan_{next(_numbers)}"
    transaction = connection.transaction()
    await transaction.start()
    prepared = False
    try:
        if changes.read_write and statement.name in _WRITING:
            await connection.execute("set transaction read write")
        settings = {"plan_cache_mode": mode, **changes.settings}
        await limit(connection, "statement_timeout", changes.timeout_s)
        await limit(connection, "lock_timeout", LOCK_TIMEOUT_S)
        await connection.execute("; ".join(f"set local {key} = {value}" for key, value in settings.items()))
        await confine(connection, schema, local=True)
        for change in changes.statements:
            await connection.execute(change)
        literals = await _literals(connection, statement, arguments)
        # fetch() and not execute(): the extended protocol takes one statement, so that a file with a
        # second one after a semicolon fails here instead of running
        await connection.fetch(f"prepare {name} as {statement.sql(schema)}")
        prepared = True
        yield name, f"execute {name}({', '.join(literals)})" if literals else f"execute {name}"
    finally:
        await _undo(connection, transaction, name if prepared else "")


async def _literals(
    connection: asyncpg.Connection[Any], statement: Statement, arguments: Sequence[object]
) -> list[str]:
    """The arguments as SQL literals, made by the server from the values a driver would send."""
    if len(arguments) != len(statement.parameters):
        raise ValueError(
            f"{statement.name} takes {len(statement.parameters)} arguments, got {len(arguments)}"
        )
    if not arguments:
        return []
    quoted = ", ".join(
        f"quote_nullable((${number}::{parameter.sql_type})::text)"
        for number, parameter in enumerate(statement.parameters, 1)
    )
    row = await connection.fetchrow(f"select {quoted}", *arguments)
    assert row is not None
    return list(row)


async def _undo(connection: asyncpg.Connection[Any], transaction: Any, prepared: str) -> None:
    if connection.is_closed():
        return
    await transaction.rollback()
    if prepared:  # belongs to the session: the rollback has left it
        await connection.execute(f"deallocate {prepared}")


def _root(document: Any) -> dict[str, Any]:
    parsed = json.loads(document) if isinstance(document, str | bytes) else document
    whole: dict[str, Any] = parsed[0]
    root: dict[str, Any] = whole.pop("Plan")
    return {**root, **whole}
