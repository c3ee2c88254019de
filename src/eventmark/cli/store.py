"""store: look after a store that is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import asyncpg
from cyclopts import App, Parameter

from eventmark.cli.options import ServerOptions
from eventmark.cli.session import running_server, screen
from eventmark.engine import read_marker
from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import migrate_schema
from eventmark.engine.rebase import rebase_store
from eventmark.engine.redaction import redact_event
from eventmark.engine.roles import grant_roles
from eventmark.errors import CannotRunError, UsageError
from eventmark.redaction import is_dsn

store = App(
    name="store", help="Migrate a store's schema, make its roles, rebase it after a restore, redact an event."
)

_Answer = TypeVar("_Answer")
_Dsn = Annotated[str | None, Parameter(help="The same as --server with a DSN.")]


@store.command(name="migrate")
def migrate(*, dsn: _Dsn = None, options: ServerOptions | None = None) -> int:
    """Bring the schema to this release's version."""
    before, after = _on_server(dsn, options, migrate_schema)
    screen.print(f"version {before} already" if before == after else f"version {before} to {after}")
    return 0


@store.command(name="rebase")
def rebase(*, dsn: _Dsn = None, options: ServerOptions | None = None) -> int:
    """Begin a new epoch after a restore or a failover: stored events come before new ones, old tokens are refused."""
    done = _on_server(dsn, options, rebase_store)
    screen.print(
        f"epoch {done.epoch}, {done.events_moved} events moved, {done.segments_carried} segments of processors carried"
        " over; tokens kept elsewhere are refused"
    )
    if done.refused_processors:
        screen.print(
            f"tokens of an older epoch: {', '.join(done.refused_processors)}; reset them with EventProcessor.reset"
        )
    return 0


@store.command(name="redact")
def redact(
    event_id: UUID,
    *,
    tenant: Annotated[str, Parameter(help="The tenant whose event it is.")],
    reason: Annotated[str, Parameter(help="Why; it is kept in the event's metadata.")],
    dsn: _Dsn = None,
    options: ServerOptions | None = None,
) -> int:
    """Take the content out of one event, such as one that cannot be read; its place and its ids stay."""

    async def take_out(connection: asyncpg.Connection[Any], schema: str) -> int:
        return await redact_event(connection, schema, tenant_id=tenant, event_id=event_id, reason=reason)

    number = _on_server(dsn, options, take_out)
    screen.print(f"event {event_id}, number {number} of its stream, has no content any more")
    return 0


@store.command(name="roles")
def roles(
    *,
    rls: Annotated[bool, Parameter(negative=(), help="Switch row-level security on as well.")] = False,
    dsn: _Dsn = None,
    options: ServerOptions | None = None,
) -> int:
    """Make the roles SCHEMA_owner, SCHEMA_appender and SCHEMA_reader, to be granted to those that log in."""

    async def make(connection: asyncpg.Connection[Any], schema: str) -> None:
        marker = await read_marker(connection, schema)
        if marker is None:
            raise CannotRunError(
                f"there is no event store in schema {schema!r}", remedy="name another with --schema"
            )
        if rls:
            await enable_row_level_security(connection, schema, marker.ordering)
        else:
            await grant_roles(connection, schema)

    _on_server(dsn, options, make)
    screen.print("roles are made" + (", row-level security is on" if rls else ""))
    return 0


def _on_server(
    dsn: str | None,
    options: ServerOptions | None,
    action: Callable[[asyncpg.Connection[Any], str], Awaitable[_Answer]],
) -> _Answer:
    """``await action(connection, schema)`` on a server that is in use: one of our own is made for a run alone."""
    settings = (options or ServerOptions()).settings(**({"server": dsn} if dsn else {}))
    if not is_dsn(settings.server):
        raise UsageError("which server?", remedy="name it: --dsn postgresql://user@host/database")

    async def run(address: str) -> _Answer:
        connection = await asyncpg.connect(address)
        try:
            return await action(connection, settings.schema)
        finally:
            await connection.close()

    with running_server(settings) as (server, _):
        return asyncio.run(run(server.dsn))
