"""admin: look after a store that is in use, and remove what Eventmark seeded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import asyncpg
from cyclopts import App, Parameter

from eventmark.cli.options import ServerOptions
from eventmark.cli.session import console, running_server, screen
from eventmark.engine import read_marker
from eventmark.engine.isolation import enable_row_level_security
from eventmark.engine.migrations import migrate_schema
from eventmark.engine.payload_change import PayloadCost, change_payload_type, payload_cost
from eventmark.engine.payloads import DEFAULT_PAYLOAD
from eventmark.engine.rebase import rebase_store
from eventmark.engine.redaction import redact_event
from eventmark.engine.roles import grant_roles
from eventmark.engine.schema import schema_exists
from eventmark.errors import CannotRunError, UsageError
from eventmark.redaction import is_dsn
from eventmark.seeding import drop_corpus
from eventmark.server.loop import ask
from eventmark.stores import claimed

STORE_SCHEMA = "eventmark"  # where the library's stores are; a corpus of the command line's is elsewhere

admin = App(
    name="admin",
    help="Migrate a store's schema, make its roles, rebase it after a restore, redact an event; drop a corpus.",
)
store = App(name="store", help="The old name of eventmark admin.")

_Answer = TypeVar("_Answer")
_Dsn = Annotated[str | None, Parameter(help="The same as --server with a DSN.")]


@admin.command(name="migrate")
def migrate(
    *,
    payload: Annotated[
        Literal["json", "jsonb"] | None,
        Parameter(help="Convert every document to this type. Rewrites the tables; appends and reads wait."),
    ] = None,
    dsn: _Dsn = None,
    options: ServerOptions | None = None,
) -> int:
    """Bring the schema to this release's version, and show what another type of payloads would cost."""

    async def convert(connection: asyncpg.Connection[Any], schema: str) -> bool:
        assert payload
        return await change_payload_type(connection, schema, payload)

    before, after = _on_server(dsn, options, migrate_schema)
    screen.print(f"version {before} already" if before == after else f"version {before} to {after}")
    if payload:
        changed = _on_server(dsn, options, convert)
        screen.print(f"payloads are {payload} {'now' if changed else 'already'}")
        return 0
    cost = _on_server(dsn, options, payload_cost)
    if cost is not None:
        screen.print(_offer(cost))
    return 0


def _offer(cost: PayloadCost) -> str:
    """The other type of payloads, and what it costs to have it."""
    if cost.payload == DEFAULT_PAYLOAD:
        return "payloads are json; --payload jsonb converts them, for operators and indexes on documents"
    size = f"{cost.bytes_rewritten / 2**20:,.0f} MiB"
    return (
        "payloads are jsonb; as json they are read in half the time. --payload json converts them in one transaction:"
        f" it rewrites {size} of tables and indexes, needs three times as much free disk (WAL included), and stops"
        f" appends and reads for about {max(cost.seconds, 1):,.0f} s. Stop all clients first"
    )


@admin.command(name="rebase")
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


@admin.command(name="redact")
def redact(
    event_id: UUID,
    *,
    tenant: Annotated[str, Parameter(help="The tenant whose event it is.")],
    reason: Annotated[str, Parameter(help="The reason, kept in the event's metadata.")],
    dsn: _Dsn = None,
    options: ServerOptions | None = None,
) -> int:
    """Take the content out of one event, such as one that cannot be read; its place and its ids stay."""

    async def take_out(connection: asyncpg.Connection[Any], schema: str) -> int:
        return await redact_event(connection, schema, tenant_id=tenant, event_id=event_id, reason=reason)

    number = _on_server(dsn, options, take_out)
    screen.print(f"event {event_id}, number {number} of its stream, has no content any more")
    return 0


@admin.command(name="roles")
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


@admin.command(name="drop")
def drop(*, dsn: _Dsn = None, options: ServerOptions | None = None) -> int:
    """Drop the schema that Eventmark seeded, the corpus in it and all. A store in use is refused."""

    async def remove(connection: asyncpg.Connection[Any], schema: str) -> str:
        if not await schema_exists(connection, schema):
            return f"there is no schema {schema!r}"
        await drop_corpus(connection, schema)
        return f"schema {schema!r} is dropped"

    screen.print(_on_server(dsn, options, remove, schema=None))
    return 0


def _on_server(
    dsn: str | None,
    options: ServerOptions | None,
    action: Callable[[asyncpg.Connection[Any], str], Awaitable[_Answer]],
    *,
    schema: str | None = STORE_SCHEMA,
) -> _Answer:
    """``await action(connection, schema)`` on a server that is in use: one of our own is made for a run alone.

    ``schema`` is the verb's default; None: that of every run.
    """
    given = options or ServerOptions()
    defaults = {"schema": schema} if schema else None
    settings = given.settings(defaults, **({"server": dsn} if dsn else {}))
    if not is_dsn(settings.server):
        raise UsageError("which server?", remedy="name it: --dsn postgresql://user@host/database")
    with running_server(settings) as (server, _), claimed(server.dsn, settings.schema):
        return ask(server.dsn, action, settings.schema)


def _by_its_old_name(verb: Callable[..., int]) -> Callable[..., int]:
    @wraps(verb)
    def renamed(*arguments: Any, **named: Any) -> int:
        console.print(
            "eventmark store is called eventmark admin now; the old name goes with the next version"
        )
        return verb(*arguments, **named)

    return renamed


for _verb in (migrate, rebase, roles):
    store.command(_by_its_old_name(_verb), name=_verb.__name__)
