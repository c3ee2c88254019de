"""Whether all that is in a corpus is Eventmark's own: only then is it appended to, aged or dropped.

The ledger accounts for the seeded batches, for the tables that the store's files made, and for what measuring
appends: ``appending`` names the run that is at it, ``appended`` is how many events it left when it ended. A run that
was killed leaves its name: what lies behind the corpus is taken for its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.schema import LEDGER_TABLE, Purpose, drop_schema, in_use, purpose_of
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.seeding.indexes import after_the_corpus
from eventmark.seeding.ledger import RELATIONS, Stage
from eventmark.stores import run_id

_CORPORA = """
select n.nspname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relname = $1 and c.relkind = 'r' and has_schema_privilege(n.oid, 'usage')
    and has_table_privilege(c.oid, 'update')
    and exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'appending' and not a.attisdropped
    )
order by 1
"""
_SIZE = """
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind in ('r', 'm')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A corpus that stays on the server: events, those that measuring appended included, and bytes on disk."""

    schema: str
    events: int
    size_bytes: int


async def check_usable(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Raises ``CannotRunError`` for a schema that a run must not write to: foreign, in use, or with others' events."""
    purpose = await purpose_of(connection, schema)
    if purpose is Purpose.IN_USE:
        raise in_use(schema)
    if purpose is Purpose.CORPUS:
        await check_accounts(connection, schema)


async def drop_corpus(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Drop what was seeded in ``schema``, if anything is there and all of it is accounted for.

    Anything else is refused (``CannotRunError``).
    """
    async with connection.transaction():
        if await purpose_of(connection, schema) is Purpose.CORPUS:
            await check_accounts(connection, schema, locked=True)
        await drop_schema(connection, schema, purposes={Purpose.CORPUS, Purpose.SCRATCH}, owner=run_id())


async def check_accounts(connection: asyncpg.Connection[Any], schema: str, *, locked: bool = False) -> None:
    """Raises ``CannotRunError`` where a corpus holds tables or events that its ledger does not account for.

    With ``locked`` nobody can add any until the transaction ends.
    """
    ledger = await _ledger(connection, schema)
    known = set(ledger["relations"]) if ledger is not None else set()
    relations = {row["name"] for row in await connection.fetch(RELATIONS.format(schema="$1"), schema)}
    if ledger is None:  # killed before it was made: nothing was loaded then
        filled = [name for name in sorted(relations) if await _holds_rows(connection, schema, name)]
        if filled:
            raise _refusal(schema, f"rows in table {filled[0]!r}")
        return
    if foreign := sorted(relations - known):
        raise _refusal(schema, f"{foreign[0]!r}" + (f" and {len(foreign) - 1} more" if foreign[1:] else ""))
    if ledger["events_table"] not in relations:
        return
    if locked:
        table = f'{quoted_schema(schema)}."{ledger["events_table"]}"'
        await connection.execute(f"lock table {table} in share mode")
    unknown = await _unaccounted_events(connection, schema, ledger)
    if unknown > 0:
        raise _refusal(schema, f"{unknown:,} events")


async def is_appended_to(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Whether measuring has left events behind the corpus."""
    ledger = await _ledger(connection, schema)
    return ledger is not None and await _events_behind(connection, schema, ledger) > 0


async def begin_appending(connection: asyncpg.Connection[Any], schema: str) -> None:
    """From now on what lies behind the corpus is this run's, until ``settle``."""
    await connection.execute(f"update {_table(schema)} set appending = $1", run_id())


async def settle(connection: asyncpg.Connection[Any], schema: str) -> list[Kept]:
    """Account for what this run has appended to each corpus that it worked on.

    Those that stay; one in ``schema`` also where it was only read.
    """
    kept = []
    for row in await connection.fetch(_CORPORA, LEDGER_TABLE):
        name: str = row[0]
        ledger = await _ledger(connection, name)
        if ledger is None or (ledger["appending"] != run_id() and name != schema):
            continue
        appended = int(ledger["appended"])
        if ledger["appending"] == run_id():
            appended = await _events_behind(connection, name, ledger)
            await connection.execute(f"update {_table(name)} set appending = null, appended = $1", appended)
        size_bytes = await connection.fetchval(_SIZE, name)
        kept.append(
            Kept(schema=name, events=await _seeded(connection, name) + appended, size_bytes=size_bytes)
        )
    return kept


async def _ledger(connection: asyncpg.Connection[Any], schema: str) -> asyncpg.Record | None:
    """Its row; None where none was written. Raises ``CannotRunError`` for one of an older release."""
    if await connection.fetchval("select to_regclass($1)", _table(schema)) is None:
        return None
    row = await connection.fetchrow(f"select * from {_table(schema)}")
    if row is not None and row.get("relations") is None:
        raise CannotRunError(
            f"schema {schema!r} was seeded by an older release, which did not note what may be in it",
            remedy=f'check that nothing of yours is in it, then: drop schema "{schema}" cascade',
        )
    return row


async def _unaccounted_events(
    connection: asyncpg.Connection[Any], schema: str, ledger: asyncpg.Record
) -> int:
    if Stage(ledger["stage"]) in (Stage.LOADING, Stage.INDEXING):  # without indexes: all are counted
        table = f'{quoted_schema(schema)}."{ledger["events_table"]}"'
        there: int = await connection.fetchval(f"select count(*) from {table}")
        return there - await _seeded(connection, schema)
    if ledger["appending"] is not None:
        return 0
    return await _events_behind(connection, schema, ledger) - int(ledger["appended"])


async def _events_behind(connection: asyncpg.Connection[Any], schema: str, ledger: asyncpg.Record) -> int:
    """How many events lie behind the corpus."""
    condition = await after_the_corpus(
        connection, schema, ledger["events"], ledger["events_table"], ledger["position_column"],
        ledger["transaction_column"],
    )  # fmt: skip
    table = f'{quoted_schema(schema)}."{ledger["events_table"]}"'
    behind: int = await connection.fetchval(f"select count(*) from {table} where {condition}")
    return behind


async def _seeded(connection: asyncpg.Connection[Any], schema: str) -> int:
    """The events of all batches that were loaded."""
    seeded: int = await connection.fetchval(
        f"select coalesce(sum(events), 0)::bigint from {quoted_schema(schema)}.eventmark_seed_batches"
    )
    return seeded


async def _holds_rows(connection: asyncpg.Connection[Any], schema: str, relation: str) -> bool:
    holds: bool = await connection.fetchval(
        f'select exists (select from {quoted_schema(schema)}."{relation}")'
    )
    return holds


def _refusal(schema: str, what: str) -> CannotRunError:
    return CannotRunError(
        f"schema {schema!r} was seeded by Eventmark and now holds {what} that it did not put there: left alone",
        remedy="name another with --schema",
    )


def _table(schema: str) -> str:
    return f"{quoted_schema(schema)}.{LEDGER_TABLE}"
