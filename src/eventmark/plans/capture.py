"""A statement's plan, as the server runs it: with real parameters, custom or generic, leaving nothing behind.

EXPLAIN with bind parameters always plans with their values, whatever ``plan_cache_mode`` says; only
``EXPLAIN EXECUTE`` of a prepared statement shows the plan that is reused for all values. EXECUTE takes
no bind parameters, so each value is turned into a literal by the server itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement

STATEMENT_TIMEOUT_S = 60  # no statement of an event store may take nearly as long
LOCK_TIMEOUT_S = 5  # an examination must not queue behind a schema change, and others behind it

_EXPLAIN = "explain (analyze, buffers, settings, wal, format json)"
_numbers = count(1)


async def explain(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    *,
    generic: bool,
) -> dict[str, Any]:
    """Run ``statement`` and return the root node of its plan, with the document's other keys beside it.

    ``arguments`` are in the order of ``statement.parameters``. Parameter types are left to the server, as
    drivers leave them. The transaction is rolled back: rows are gone, but a sequence has moved on, a
    transaction id is used up and vacuum finds a few dead rows. Values in TOAST are not fetched, because
    EXPLAIN sends no rows. Raises what the server raises.
    """
    name = f"eventmark_plan_{next(_numbers)}"
    mode = "force_generic_plan" if generic else "force_custom_plan"
    transaction = connection.transaction()
    await transaction.start()
    prepared = False
    try:
        await connection.execute(
            f"set local plan_cache_mode = {mode}; set local statement_timeout = '{STATEMENT_TIMEOUT_S}s';"
            f" set local lock_timeout = '{LOCK_TIMEOUT_S}s'"
        )
        literals = await _literals(connection, statement, arguments)
        # fetch() and not execute(): the extended protocol takes one statement, so that a file with a
        # second one after a semicolon fails here instead of running
        await connection.fetch(f"prepare {name} as {statement.sql(schema)}")
        prepared = True
        call = f"execute {name}({', '.join(literals)})" if literals else f"execute {name}"
        document = await connection.fetchval(f"{_EXPLAIN} {call}")
    finally:
        await _undo(connection, transaction, name if prepared else "")
    return _root(document)


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
