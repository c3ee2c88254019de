"""From a DSN to a pool whose connections know a store's statements, everything checked that can be beforehand."""

from __future__ import annotations

import logging
from typing import Any

import asyncpg

from eventmark.engine.fence import check_fence, fenced
from eventmark.engine.isolation import check_tenant_functions, tenant_sql
from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.parameters import checked_count, unreadable_dsn
from eventmark.engine.payloads import stored_payload_type
from eventmark.engine.pool import Pool
from eventmark.engine.records import EventRecord
from eventmark.engine.roles import check_runtime_role
from eventmark.engine.schema import Marker, check_transaction_ids, read_marker
from eventmark.engine.sessions import one_server
from eventmark.engine.translation import DRIVER_ERRORS, translated_read_error
from eventmark.errors import CannotRunError

log = logging.getLogger(__name__)

# A hint needs no disk: it must not make an append's flush wait for its own.
_NOTIFY = "select pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.pg_notify($1, '')"

# What a statement reads, without the documents: where they cannot be written out, it tells whose they are.
_READS = ("load_part", "stream_events", "stream_tenant_events")
_LOCATE = """
select event_id, tenant_id, aggregate_id, sequence_number, global_sequence_id from ({}) as batch
where event_id is not null
"""


async def open_pool(
    dsn: str,
    schema: str,
    *,
    pool_min: int,
    pool_max: int,
    acquire_timeout_s: float,
    operation_timeout_s: float,
    transaction_pooling: bool,
    tenant_pool_max: int | None = None,
) -> tuple[Pool, Marker, bool]:
    """The pool, the store's marker, and whether the role reads every tenant's events.

    Raises ``CannotRunError`` where there is no store that this release can serve to this role,
    ``StoreUnavailableError`` where there is no server, ``UsageError`` for a DSN that cannot be read.
    """
    checked_count(pool_min, "pool_min", lowest=0)
    sql = {"notify": _NOTIFY}
    pool = Pool(
        dsn,
        sql,
        record_class=EventRecord,
        size_max=pool_max,
        acquire_timeout_s=acquire_timeout_s,
        operation_timeout_s=operation_timeout_s,
        transaction_pooling=transaction_pooling,
        tenant_max=tenant_pool_max,
        application_name="eventmark",
    )
    try:
        session = await pool.acquire()
        try:
            async with one_server(session.connection, transaction_pooling):
                marker, every_tenant = await _checked_store(session.connection, schema, sql)
            if session.connection.has_weak_default:
                log.warning(
                    "synchronous_commit is off for this role, database or server: the event store sets it to on for "
                    "its own statements, so that what it acknowledges survives a crash"
                )
        finally:
            pool.release(session)
        await pool.fill(pool_min)
    except BaseException as error:
        await pool.close()
        if isinstance(error, ValueError):  # the driver's on a DSN; it may quote a part of the password
            raise unreadable_dsn() from None
        if isinstance(error, DRIVER_ERRORS):
            raise translated_read_error(error) from error
        raise
    return pool, marker, every_tenant


async def _checked_store(
    connection: asyncpg.Connection[Any], schema: str, sql: dict[str, str]
) -> tuple[Marker, bool]:
    """The marker and who may be read; ``sql`` is given the store's statements."""
    marker = await read_marker(connection, schema)
    if marker is None:
        raise CannotRunError(
            f"there is no event store in schema {schema!r}",
            remedy="create one with eventmark seed or install_schema, or name another schema",
        )
    ordering = ORDERINGS[marker.ordering]
    statements = ordering.statements(await stored_payload_type(connection, schema))
    await check_fence(connection, schema, marker.fence)
    texts = {name: statement.typed_sql(schema) for name, statement in statements.items()}
    every_tenant = True
    if marker.row_level_security:
        every_tenant = await check_runtime_role(connection, schema)
        await check_tenant_functions(connection, schema, statements)
        texts |= tenant_sql(statements, schema)
    if ordering.by_transaction_id:  # elsewhere it does not matter, and no index answers it
        await check_transaction_ids(connection, schema, sees_every_event=not marker.row_level_security)
    sql |= {name: fenced(text, schema, marker.fence) for name, text in texts.items()}
    sql |= {f"locate_{name}": _LOCATE.format(sql[name]) for name in _READS if name in sql}
    return marker, every_tenant
