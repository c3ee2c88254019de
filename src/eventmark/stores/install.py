"""A store's schema on a server: created, every statement prepared, and opened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from eventmark.engine import PostgresEventStore
from eventmark.engine.orderings import HORIZON
from eventmark.engine.pool import Observer
from eventmark.engine.schema import Marker, Purpose, create_marked_schema
from eventmark.engine.statements import Statement, quoted_schema
from eventmark.engine.store import POLL_INTERVAL_S
from eventmark.errors import CannotRunError, EventmarkError, StoreDefinitionError
from eventmark.results.targets import is_own
from eventmark.server.search_path import confine
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.distributed import refuse_distributed
from eventmark.stores.outside import Watched, outside, read_surroundings, refuse_dependencies
from eventmark.stores.parameters import PER_EVENT_PARAMETERS
from eventmark.stores.scratch import drop_scratch, run_id, scratch_name
from eventmark.stores.script import ScriptStatement, check_operation, store_scripts
from eventmark.stores.shape import check_shape, line_of, read_shape
from eventmark.stores.sql_store import SqlEventStore
from eventmark.stores.staging import SEEDED, staging_of
from eventmark.workload import Naming

_GRAMMAR = 18  # the release whose grammar reads every script before a server does
_NEW_FUNCTIONS = ("uuidv7", "uuidv4")  # of that release

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the metrics library's own

# What Eventmark passes in, by operation. A statement that asks for anything else is wrong.
_STREAM = ("tenant_id", "aggregate_id", "aggregate_type", "stream_id")
PARAMETERS = {
    "append_events": (
        *_STREAM, "expected_version", "event_count", "sequence_numbers", "event_ids", "event_types", "payloads",
        "metadatas", "timestamps", "payload_types", "payload_revisions", *PER_EVENT_PARAMETERS,
    ),
    "load_aggregate": ("tenant_id", "aggregate_id", "from_sequence"),
    "stream_events": ("transaction_id", "global_sequence", "batch_size"),
    "stream_tenant_events": ("tenant_id", "transaction_id", "global_sequence", "batch_size"),
    "create_head_token": (),
    "create_token_at": ("instant",),
    "store_snapshot": (
        *_STREAM, "sequence_number", "timestamp_utc", "payload", "payload_type", "payload_revision",
    ),
    "read_snapshot": ("tenant_id", "aggregate_id"),
    "stream_version": ("tenant_id", "aggregate_id"),
}  # fmt: skip

# What each result must hold for Eventmark to read it.
_RESULT_COLUMNS = {
    "load_aggregate": ("sequence_number", "event_type", "payload"),
    "stream_events": ("global_sequence_id", "event_type", "payload"),
    "stream_tenant_events": ("global_sequence_id", "event_type", "payload"),
    "read_snapshot": ("sequence_number", "payload"),
}


async def open_store(
    definition: StoreDefinition,
    dsn: str,
    *,
    schema: str,
    pool_min: int = 1,
    pool_max: int = 20,
    notify: bool = True,
    poll_interval_s: float = POLL_INTERVAL_S,
    marked: bool = True,
    tenant_pool_max: int | None = None,
) -> PostgresEventStore | SqlEventStore:
    """The store in ``schema``, connected, with the engine its definition names.

    ``notify`` and ``poll_interval_s`` are our engine's; a store of SQL files has no notifications. Tables of SQL files
    that Eventmark did not make are not ``marked``; the engine's always are. ``tenant_pool_max`` bounds the connections
    of one tenant while another one is present, None for no bound.
    Where ``METRICS_VARIABLE`` is set, in a worker of a run whose metrics are served, its calls are counted.
    """
    store: PostgresEventStore | SqlEventStore
    if definition.engine:
        store = await PostgresEventStore.connect(
            dsn,
            schema=schema,
            pool_min=pool_min,
            pool_max=pool_max,
            notify=notify,
            poll_interval_s=poll_interval_s,
            tenant_pool_max=tenant_pool_max,
        )
        store.pool.add(
            {name: statement.sql(schema) for name, statement in definition.statements.items() if is_own(name)}
        )
    else:
        store = await SqlEventStore.connect(
            dsn, definition, schema=schema, pool_min=pool_min, pool_max=pool_max, marked=marked,
            tenant_pool_max=tenant_pool_max,
        )  # fmt: skip
    if METRICS_VARIABLE in os.environ:
        store.pool.observer = _process_metrics()
    return store


def naming_of(store: object) -> Naming:
    """How an open store names what is put into it."""
    return store.naming if isinstance(store, SqlEventStore) else Naming()


@lru_cache
def _process_metrics() -> Observer:
    """This process' own counters: the library writes them where the variable says."""
    from prometheus_client import CollectorRegistry

    from eventmark.engine.metrics import OperationMetrics

    return OperationMetrics(CollectorRegistry())


async def install_store(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    schema: str,
    *,
    with_indexes: bool = True,
    purpose: Purpose = Purpose.SCRATCH,
) -> Marker:
    """Create the store's schema, all or nothing, for this run to measure on.

    Raises ``StoreDefinitionError`` with file and line for SQL the server refuses, ``CannotRunError`` for a
    schema that is there already, and for a table that is distributed and streamed whole.
    """
    statements = store_scripts(definition, schema, with_indexes=with_indexes)
    surroundings = await read_surroundings(connection, schema)
    for statement in statements:
        surroundings.refuse_names(statement.sql, str(statement.path), statement.line)
    watched = Watched(connection, schema)
    create = partial(_create, connection, definition, schema, purpose)
    try:
        async with _alone(connection):
            await confine(connection, schema, local=True)
            await watched.begin()
            marker = await create([statement.sql for statement in statements])
            await refuse_distributed(connection, definition, schema)
            if await watched.reached() is not None:
                raise _ReachedOutsideError
    except asyncpg.PostgresError as error:
        major = connection.get_server_version().major
        raise _script_error(error, statements, major) from error
    except _ReachedOutsideError:
        raise await _blamed(connection, schema, statements, create) from None
    return marker


class _ReachedOutsideError(Exception):
    """Rolls a transaction back."""


def _alone(connection: asyncpg.Connection[Any]) -> Transaction:
    """A transaction that sees no changes of others, or part of one that is such."""
    return connection.transaction(isolation=None if connection.is_in_transaction() else "repeatable_read")


async def _create(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    schema: str,
    purpose: Purpose,
    scripts: list[str],
) -> Marker:
    return await create_marked_schema(
        connection,
        schema,
        scripts,
        store_name=definition.name,
        ordering=HORIZON.name if definition.engine else definition.ordering,
        purpose=purpose,
        owner=run_id(),
        digest=definition.schema_sha256,
    )


async def _blamed(
    connection: asyncpg.Connection[Any],
    schema: str,
    statements: Sequence[ScriptStatement],
    create: Callable[[list[str]], Awaitable[Marker]],
) -> StoreDefinitionError:
    """The error for the statement that reaches outside, found by running one after the other once more."""
    watched = Watched(connection, schema)
    reached, blamed = None, statements[0]
    with suppress(_ReachedOutsideError):
        async with _alone(connection):
            await confine(connection, schema, local=True)
            await watched.begin()
            await create([])
            for blamed in statements:
                await connection.execute(blamed.sql)
                if (reached := await watched.reached()) is not None:
                    break
            raise _ReachedOutsideError
    assert reached is not None
    name = await watched.name_again(reached)
    return outside(reached.verb, name, str(blamed.path), blamed.line)


async def make_scratch_store(dsn: str, definition: StoreDefinition, schema: str) -> None:
    """The store, empty and with its indexes, in place of one that is left in ``schema`` from before.

    Raises as ``install_store`` does.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await drop_scratch(connection, schema)
        await install_store(connection, definition, schema)
    finally:
        await connection.close()


async def check_store(connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str) -> None:
    """Try the whole store in a schema of its own, in a transaction that is rolled back, before anything is seeded.

    Raises ``StoreDefinitionError`` naming file and line: SQL that fails, columns of the mapping that are
    not in the tables, parameters Eventmark does not know, results that lack a column, anything outside the schema.
    """
    trial = scratch_name(schema, f"_trial_{secrets.token_hex(4)}")
    for statement in definition.statements.values():
        check_operation(statement, trial)
        if not is_own(statement.name):  # which ``own`` has checked
            check_parameters(statement)
    with suppress(_TriedError):
        async with _alone(connection):
            await install_store(connection, definition, trial)
            await check_columns(connection, definition, trial)
            if not definition.engine:
                check_shape(definition, await read_shape(connection, definition, trial))
                await _check_seeding(connection, definition, trial)
            surroundings = await read_surroundings(connection, trial)
            for statement in definition.statements.values():
                surroundings.refuse_names(statement.sql(trial), statement.path, statement.first_line)
                await _check_statement(connection, definition, statement, trial)
            raise _TriedError


class _TriedError(Exception):
    """Everything is right; the transaction is rolled back all the same."""


def check_parameters(statement: Statement) -> None:
    known = PARAMETERS[statement.name]
    for parameter in statement.parameters:
        if parameter.name not in known:
            raise StoreDefinitionError(
                f"{statement.name} has no parameter {parameter.name!r}",
                path=statement.path,
                remedy=f"it may use {', '.join(known) or 'none'}",
            )


async def _check_statement(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, statement: Statement, schema: str
) -> None:
    try:
        prepared = await connection.prepare(statement.sql(schema))
        oids = [parameter.oid for parameter in prepared.get_parameters()]
        await refuse_dependencies(connection, schema, statement, oids)
    except asyncpg.PostgresError as error:
        raise statement_error(statement, schema, error) from error
    check_answer(definition, statement, [attribute.name for attribute in prepared.get_attributes()])


def statement_error(statement: Statement, schema: str, error: asyncpg.PostgresError) -> StoreDefinitionError:
    """What the server refused of a statement, by file and line."""
    return StoreDefinitionError(
        _first_line(error),
        path=statement.path,
        line=statement.first_line + _lines_before(statement.sql(schema), error),
        remedy=error.hint or "mend the statement",
    )


def check_answer(definition: StoreDefinition, statement: Statement, columns: Sequence[str]) -> None:
    """Raises ``StoreDefinitionError`` where an answer with these ``columns`` lacks one that is read."""
    needed = _RESULT_COLUMNS.get(statement.name, ())
    if definition.ordering == "transaction-id" and statement.name.startswith("stream_") and needed:
        needed = (*needed, "transaction_id")
    for column in needed:
        if column not in columns:
            raise StoreDefinitionError(
                f"the result of {statement.name} has no column {column!r}",
                path=statement.path,
                line=statement.first_line,
                remedy=f"name it so: select your_column as {column}",
            )


async def _check_seeding(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    """seed.sql and the expressions of ``[seeded_columns]``, tried on no events."""
    shape = await read_shape(connection, definition, schema)
    staging = staging_of(definition, shape, schema)
    surroundings = await read_surroundings(connection, schema)
    for statement in staging.before:
        surroundings.refuse_names(statement.sql, str(statement.path), statement.line)
    for sql in staging.prepare:
        await connection.execute(sql)
    watched = Watched(connection, schema)
    await watched.begin()
    for statement in staging.before:
        try:
            await connection.execute(statement.sql)
        except asyncpg.PostgresError as error:
            raise _script_error(error, [statement]) from error
        if (reached := await watched.reached()) is not None:
            raise outside(reached.verb, reached.name, str(statement.path), statement.line)
    toml = definition.directory / "store.toml"
    for column, expression in definition.seeded_columns.items():
        line = line_of(toml, expression)
        surroundings.refuse_names(expression, str(toml), line)
        try:
            await connection.execute(f"select ({expression}) from {SEEDED}")
        except asyncpg.PostgresError as error:
            raise StoreDefinitionError(
                f"seeded_columns, {column!r}: {_first_line(error)}", path=str(toml), line=line,
                remedy=f"write an SQL expression over the columns of {SEEDED}, which bear Eventmark's names",
            ) from error  # fmt: skip


async def check_columns(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    for table, columns in (
        (definition.events_table, definition.columns),
        (definition.snapshots_table, definition.snapshot_columns),
    ):
        if table is None:
            continue
        rows = await connection.fetch(
            "select attname from pg_attribute where attrelid = to_regclass($1) and attnum > 0",
            f'{quoted_schema(schema)}."{table}"',
        )
        there = {row["attname"] for row in rows}
        for name, column in columns.items():
            if column not in there:
                what = f"no column {column!r} (for {name})" if there else "no such table"
                path = definition.directory / "store.toml"
                raise StoreDefinitionError(
                    f"table {table!r}: {what}",
                    path=str(path),
                    line=line_of(path, column if there else table),
                    remedy="correct [tables], [columns] or [snapshot_columns]",
                )


def _script_error(
    error: asyncpg.PostgresError, statements: Sequence[ScriptStatement], major: int = _GRAMMAR
) -> EventmarkError:
    """By the query that the driver quotes: the server tells the place within it, not where it stands."""
    query = getattr(error, "query", None)
    for statement in statements:
        if query == statement.sql:
            line = statement.line + _lines_before(statement.sql, error)
            return StoreDefinitionError(
                _first_line(error),
                path=str(statement.path),
                line=line,
                remedy=_needs_newer(error, major) or error.hint or "mend the statement",
            )
    return CannotRunError(_first_line(error), remedy="look into the server's log")


def _needs_newer(error: asyncpg.PostgresError, major: int) -> str:
    """The remedy where a server that is older than the grammar does not understand what the grammar does."""
    is_new_function = isinstance(error, asyncpg.UndefinedFunctionError) and any(
        f"{name}(" in str(error) for name in _NEW_FUNCTIONS
    )
    if major >= _GRAMMAR or not (is_new_function or isinstance(error, asyncpg.PostgresSyntaxError)):
        return ""
    return f"PostgreSQL {_GRAMMAR} understands it, and the server is {major}: use a newer one"


def _lines_before(text: str, error: asyncpg.PostgresError) -> int:
    position = getattr(error, "position", None)
    return text[: int(position) - 1].count("\n") if position else 0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
