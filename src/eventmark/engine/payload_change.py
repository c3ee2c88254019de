"""The type of a store's payloads changed: what it costs, and doing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.fence import refuse_clients
from eventmark.engine.isolation import create_tenant_functions, drop_tenant_functions
from eventmark.engine.migrations import ENGINE_STORES
from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.payloads import STORAGE, schema_script, stored_payload_type
from eventmark.engine.schema import OTHER_SCHEMA, read_marker, schema_digest
from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import quoted_schema
from eventmark.engine.translation import reason_of
from eventmark.errors import CannotRunError

LOCK_TIMEOUT = "10s"
REWRITTEN_MIB_PER_S = 10
"""Of tables and indexes, measured on a busy machine: see docs/adr/0026-payloads-are-json.md. A quiet one is quicker."""

_SIZE = """
select pg_catalog.sum(pg_catalog.pg_total_relation_size(oid))::bigint from pg_class
where oid = pg_catalog.to_regclass($1)::oid or oid = pg_catalog.to_regclass($2)::oid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadCost:
    """The type of a store's payloads, and the bytes of tables and indexes that another type would rewrite."""

    payload: str
    bytes_rewritten: int

    @property
    def seconds(self) -> float:
        return self.bytes_rewritten / REWRITTEN_MIB_PER_S / 2**20


async def payload_cost(connection: asyncpg.Connection[Any], schema: str) -> PayloadCost | None:
    """What a change would cost; None where the tables are not the engine's."""
    marker = await read_marker(connection, schema)
    if marker is None or marker.store_name not in ENGINE_STORES:
        return None
    events, snapshots = _tables(schema)
    return PayloadCost(
        payload=await stored_payload_type(connection, schema),
        bytes_rewritten=await connection.fetchval(_SIZE, events, snapshots),
    )


async def change_payload_type(connection: asyncpg.Connection[Any], schema: str, payload: str) -> bool:
    """Convert every document to ``payload`` in one transaction that locks the store; False where all are already.

    Raises ``CannotRunError`` while clients are connected, for a store of other tables than the engine's, where
    something depends on the old type, and for a document that the new one does not take: nothing is changed then.
    """
    script = schema_script(payload)
    marker = await read_marker(connection, schema)
    if marker is None or marker.store_name not in ENGINE_STORES:
        raise CannotRunError(f"schema {schema!r} has no tables of the engine", remedy=OTHER_SCHEMA)
    quoted, (events, snapshots) = quoted_schema(schema), _tables(schema)
    try:
        async with owner_transaction(connection):
            await connection.execute(f"set local lock_timeout to '{LOCK_TIMEOUT}'")
            await connection.execute(
                f"lock table {quoted}.eventmark_store, {events}, {snapshots} in access exclusive mode"
            )
            await refuse_clients(connection, "change the type")
            before = await stored_payload_type(connection, schema)
            if before == payload:
                return False
            if marker.row_level_security:
                await drop_tenant_functions(connection, schema, marker.ordering)
            await _convert(connection, events, snapshots, payload)
            if marker.row_level_security:
                await create_tenant_functions(connection, schema, marker.ordering)
            indexes = ORDERINGS[marker.ordering].indexes_path.read_text()
            # what other files made stays of other files
            await connection.execute(
                f"update {quoted}.eventmark_store set digest = $1 where digest = $2",
                schema_digest(script, indexes), schema_digest(schema_script(before), indexes),
            )  # fmt: skip
    except asyncpg.LockNotAvailableError as error:
        raise CannotRunError(
            f"a transaction has held the tables of schema {schema!r} for more than {LOCK_TIMEOUT}",
            remedy="end it, or try again",
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not change the tables of schema {schema!r}: {reason_of(error)}",
            remedy=f"connect as the schema's owner, or grant {schema}_owner to this role",
        ) from error
    except asyncpg.DataError as error:
        raise CannotRunError(
            f"a document cannot be converted to {payload}: {reason_of(error)}",
            remedy="redact the event that another program stored; on PostgreSQL 16 and later"
            f" where not pg_catalog.pg_input_is_valid(payload::text, '{payload}') finds it",
        ) from error
    except (asyncpg.FeatureNotSupportedError, asyncpg.SyntaxOrAccessError) as error:
        raise CannotRunError(
            f"something depends on the type of the documents: {reason_of(error)}",
            remedy="drop the index, view or constraint, change the type, and make it again as the new type allows",
        ) from error
    await connection.execute(f"analyze {events}")
    return True


async def _convert(connection: asyncpg.Connection[Any], events: str, snapshots: str, payload: str) -> None:
    columns = [
        f"alter column {name} type {payload} using {name}::{payload}" for name in ("payload", "metadata")
    ]
    options = STORAGE[payload].removeprefix("with ")
    storage = f"set {options}" if options else "reset (toast_tuple_target)"
    await connection.execute(f"alter table {events} {', '.join(columns)}, {storage}")
    await connection.execute(f"alter table {snapshots} {columns[0]}")


def _tables(schema: str) -> tuple[str, str]:
    quoted = quoted_schema(schema)
    return f"{quoted}.domain_events", f"{quoted}.aggregate_snapshots"
