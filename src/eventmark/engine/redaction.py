"""The way out for a stored event that cannot be read: its content is taken out, its place and its name stay."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.engine.schema import read_marker
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError

REASON_LENGTH_MAX = 500
LOCK_TIMEOUT = "10s"
METADATA_BYTES_KEPT = 2**20
REDACTED_KEY = "eventmark_redacted"

_KEPT = """
select metadata::jsonb::text from {table}
where tenant_id = $1 and event_id = $2 and pg_catalog.octet_length(metadata::text) <= $3
"""
_REDACT = """
update {table} set payload = '{{}}', metadata = coalesce($3::jsonb, '{{}}') || pg_catalog.jsonb_build_object(
    $5::text, pg_catalog.jsonb_build_object(
        'at', pg_catalog.now(), 'by', session_user, 'reason', $4::text,
        'payload_bytes', pg_catalog.pg_column_size(payload),
        'metadata_kept', $3::jsonb is not null
    )
)
where tenant_id = $1 and event_id = $2
returning sequence_number
"""


async def redact_event(
    connection: asyncpg.Connection[Any], schema: str, *, tenant_id: str, event_id: UUID, reason: str
) -> int:
    """Replace an event's payload by ``{}``, note in its metadata who did so, when and why; return its sequence number.

    Ids, type, place and timestamp stay, so that no stream gets a gap and consumers see the same order. The rest of the
    metadata is kept where it can be read and is at most ``METADATA_BYTES_KEPT``. Needs the owner of the store; appends
    wait for the moment it takes. Raises ``CannotRunError``, ``UsageError``.
    """
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise UsageError(f"a reason of 1 to {REASON_LENGTH_MAX} characters is needed")
    marker = await read_marker(connection, schema)
    if marker is None:
        raise CannotRunError(f"there is no event store in schema {schema!r}", remedy="name another schema")
    table = f"{quoted_schema(schema)}.domain_events"
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout to '{LOCK_TIMEOUT}'")
            await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
            if marker.row_level_security:  # an owner whom the policies bind would find no row
                await connection.execute(f"alter table {table} no force row level security")
            kept = await _metadata(connection, table, tenant_id, event_id)
            number: int | None = await connection.fetchval(
                _REDACT.format(table=table), tenant_id, event_id, kept, reason, REDACTED_KEY
            )
            if number is None:
                raise CannotRunError(f"tenant {tenant_id!r} has no event {event_id}")
            if marker.row_level_security:
                await connection.execute(f"alter table {table} force row level security")
            await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not redact events of schema {schema!r}: {error}",
            remedy=f"connect as the schema's owner, or grant {schema}_owner to this role",
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise CannotRunError(
            f"a transaction has locked the events of schema {schema!r} for more than {LOCK_TIMEOUT}",
            remedy="end it, or try again",
        ) from error
    return number


async def _metadata(
    connection: asyncpg.Connection[Any], table: str, tenant_id: str, event_id: UUID
) -> str | None:
    """What can be kept; None where the server cannot write it out, it is no jsonb, or it is too large."""
    with suppress(
        asyncpg.ProgramLimitExceededError,
        asyncpg.OutOfMemoryError,
        asyncpg.InternalServerError,
        asyncpg.DataError,
    ):
        async with connection.transaction():
            kept: str | None = await connection.fetchval(
                _KEPT.format(table=table), tenant_id, event_id, METADATA_BYTES_KEPT
            )
            return kept
    return None
